"""What becomes of a photograph's HDR gain map while it is enhanced, and maps for photographs without one."""

from __future__ import annotations

from typing import Final

import numpy as np

from rave_runtime.arrays import Array, Pixels
from rave_runtime.photos.codecs.gain_map import (
    GainMap,
    fitted_gains,
    join_gains,
    light_for,
    read_gain_map,
)
from rave_runtime.photos.codecs.heif_gain_map import HeifGainMap, find_heif_gain_map, read_stops
from rave_runtime.photos.encode import Encoded
from rave_runtime.photos.jpeg import GAIN_MAP_SEGMENT
from rave_runtime.photos.metadata.gain_map_facts import GainMapFacts, stating_segments
from rave_runtime.photos.metadata.left_behind import GAIN_MAP_NOTE
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import TURNS

_NEW_SCALE: Final = 4
"""Largest ratio of a photograph's sides to those of a new map: coarser maps show halos at edges."""

_NEW_LONG_SIDE_PX: Final = 1024
"""Smallest long side of a new map, unless the photograph is smaller."""

_NEW_FACTS: Final = GainMapFacts((0.0,), (2.0,), (1.0,), 1 / 64)
_NEW_SEGMENTS: Final = stating_segments(_NEW_FACTS)
_NEW_PRIMARY: Final = ((0xE2, GAIN_MAP_SEGMENT + bytes(4)),)
_LEAST_GAIN: Final = 0.1
"""Stops below which a new map would show nothing."""

_BRIGHT: Final = (0.25, 0.75)
"""Linear luminance of the enhanced picture up to which nothing is brighter on HDR screens, and from which
everything may be."""


class HdrCare:
    """Carries a photograph's gain map over to its result. It must be made before the pixels change.

    Args:
        photo: the photograph.
        written_format: the name of the format that is written; only JPEG carries a map.
        hdr: whether a photograph without a map gets one.
        content: the photograph's file, for the maps of HEIC and AVIF; None leaves those behind.
    """

    def __init__(
        self, photo: Photo, written_format: str, hdr: bool = False, content: bytes | None = None
    ) -> None:
        self._map: GainMap | None = None
        self._jpeg_would_keep_it = False
        self._light_before: Array | None = None
        self._hdr_needs_jpeg = hdr and written_format != "JPEG"
        height, width = photo.pixels.shape[:2]
        if (
            photo.format == written_format == "JPEG"
            and photo.source is not None
            and GAIN_MAP_NOTE in photo.warnings
        ):
            self._map = read_gain_map(photo.source, TURNS.get(photo.orientation), height * width)
        elif photo.format in ("HEIF", "AVIF") and content is not None and GAIN_MAP_NOTE in photo.warnings:
            heif_map = find_heif_gain_map(content, photo.exif)
            self._jpeg_would_keep_it = heif_map is not None and written_format != "JPEG"
            if heif_map is not None and written_format == "JPEG":
                self._map = _from_heif(heif_map, photo)
        if self._map is None and hdr and written_format == "JPEG":
            scale = min(max(1, max(height, width) // _NEW_LONG_SIDE_PX), _NEW_SCALE)
            small = -(-height // scale), -(-width // scale)
            self._map = GainMap(np.zeros((*small, 1), np.float32), _NEW_FACTS, _NEW_SEGMENTS, _NEW_PRIMARY)
        if self._map is not None:
            self._light_before = light_for(self._map, photo.pixels)

    def carried(self, encoded: Encoded, pixels: Pixels) -> Encoded:
        """Returns the result with a gain map that fits it, without the note that the map was left behind."""
        if self._hdr_needs_jpeg:
            note = "--hdr writes gain maps into JPEG only: --format jpeg gives one"
            return Encoded(encoded.content, (*encoded.warnings, note))
        if self._jpeg_would_keep_it:
            notes = (each + ": --format jpeg keeps it" * (each == GAIN_MAP_NOTE) for each in encoded.warnings)
            return Encoded(encoded.content, tuple(notes))
        if self._map is None or self._light_before is None:
            return encoded
        light_after = light_for(self._map, pixels)
        if self._map.facts is _NEW_FACTS:
            gains = _new_gains(self._light_before, light_after)
            if gains.max() < _LEAST_GAIN:
                return encoded
        else:
            gains = fitted_gains(self._map, self._light_before, light_after)
        content = join_gains(encoded.content, self._map, gains)
        if content is None:
            return encoded
        return Encoded(content, tuple(note for note in encoded.warnings if note != GAIN_MAP_NOTE))


def _from_heif(heif_map: HeifGainMap, photo: Photo) -> GainMap | None:
    """Converts the gain map of a HEIC or AVIF for a JPEG; None where it does not fit the photograph."""
    height, width = photo.pixels.shape[:2]
    # HEIC's decoder turns by itself what the file turns; AVIF's does not.
    turn = TURNS.get(photo.orientation) if photo.format == "AVIF" else heif_map.turn
    stops_and_facts = read_stops(heif_map, turn, height * width)
    if stops_and_facts is None:
        return None
    stops, facts = stops_and_facts
    if (stops.shape[0] > stops.shape[1]) != (height > width):
        return None
    return GainMap(stops, facts, stating_segments(facts), _NEW_PRIMARY)


def _new_gains(light_before: Array, light_after: Array) -> Array:
    """Returns stops for a photograph that had no map: [h, w, 1] float32.

    Where the enhanced picture is nearly white, the HDR picture is the photograph as it was, brightened as a
    whole by as much as its shade was lifted: G = w * min(max(L - log2(g), 0), 2), with L the 90th percentile
    of log2(g) and w a smooth step over the enhanced picture's luminance.
    """
    brighter = np.log2((light_after + _NEW_FACTS.base_offset) / (light_before + _NEW_FACTS.base_offset))
    lift = np.float32(np.quantile(brighter, 0.9))
    t = np.clip((light_after - np.float32(_BRIGHT[0])) / np.float32(_BRIGHT[1] - _BRIGHT[0]), 0, 1)
    gains: Array = t * t * (3 - 2 * t) * np.clip(lift - brighter, 0, _NEW_FACTS.most[0])
    return gains[..., None].astype(np.float32)
