"""HDR films (PQ and HLG): luma is divided in the curve of SDR, and comes back into the film's own.

The light is learned from photographs, whose values mean brightness by sRGB's curve. A table brings each
value of an HDR film's luma into that curve: 1 is diffuse white there, and what is brighter lies above. It is
divided there as luma of other films is, and the nearest value of the film's own curve takes its place.

Chroma stays in the film's curve. With z(v) a value v of the film in sRGB's curve, and q the factor that luma
gets there, v becomes v', where z(v') = q z(v). Red less luma is a multiple of one chroma plane, and blue less
luma of the other. So each plane is scaled by the slope in the middle m between luma and red, or blue:

    dv' / dv = q (dz / dv)(m) / (dz / dv)(m')
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.errors import PhotoError
from rave_runtime.films.plane_format import Plane, PlaneFormat, luma_weights, reduced_frame
from rave_runtime.photos.codecs.hdr import PQ, sdr_values
from rave_runtime.photos.headers.colour_codes import (
    BT2020,
    HDR,
    PRIMARIES,
    SRGB,
    UNSPECIFIED,
    primaries_xyz,
    srgb_encoded,
    srgb_light,
)

_NOT_RGB: Final = (14, 15)
"""The numbers in ITU-T H.273 of the matrices ICtCp and IPT-PQ-C2, whose planes are no sums of red, green and
blue."""

_BLACK: Final = 512
"""The value of black in sRGB's curve; below it is room for values below black."""

_FLOOR: Final = 1 / 255
"""Where the curve is darker than this, its slope is taken to be that of this place: there chroma is noise."""

_OPTIONS: Final = {
    "libx264": ("x264-params", "mastering-display", "cll"),
    "libx265": ("x265-params", "master-display", "max-cll"),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light"),
}
"""By encoder: FFmpeg's option for its own parameters, and those of the screen and of the brightest light."""

_NO_PLAYER: Final = (
    "is an HDR film whose colours only players with Dolby Vision show: convert it to HDR10 or SDR first"
)


class HdrCurve:
    """Brings a film's luma into sRGB's curve and back.

    Attributes:
        layout: how the luma in sRGB's curve is stored: 16 bits, of which white takes a part.

    Args:
        transfer: the number of the film's transfer function in ITU-T H.273: 16 (PQ) or 18 (HLG).
        primaries: the number of its primaries there.
        layout: how the film stores its values.
        weights: the weights of red, green and blue in luma.
    """

    def __init__(
        self, transfer: int, primaries: int, layout: PlaneFormat, weights: tuple[float, float, float]
    ) -> None:
        self._transfer = transfer
        low, high = layout.chroma_bounds
        # Halfway from luma to blue and to red, in steps of luma, for each step of chroma.
        half_ways = [(1 - weight) * layout.luma_span / (high - low) for weight in (weights[2], weights[0])]
        self._half_ways = np.array(half_ways, np.float32)[:, None, None]
        codes = np.arange(2**layout.bits)
        sdr = sdr_values((codes - layout.black) / layout.luma_span, transfer)
        span = math.floor((2**16 - 1 - _BLACK - len(codes)) / sdr[-1])
        self.layout = layout._replace(bits=16, levels=(float(_BLACK), float(span)))
        # Each value gets one of its own, so that what is not divided comes back as it was: values below black
        # are as dark as black in light, and those above all that PQ knows are as bright as the brightest.
        below = np.minimum(codes - layout.black, 0)
        ascending = np.round(_BLACK + sdr * span + below).astype(np.int64) - codes
        self._forward = (np.maximum.accumulate(ascending) + codes).astype(np.uint16)
        middles = (self._forward[1:].astype(np.int64) + self._forward[:-1]) / 2
        nearest = np.searchsorted(middles, np.arange(2**16))
        self._backward = nearest.astype(np.uint8 if layout.bits == 8 else np.uint16)
        slopes = np.gradient(sdr)
        first = int(np.argmax(sdr >= _FLOOR))
        slopes = np.maximum(slopes, slopes[first] * 1e-3)
        slopes[:first] = slopes[first]
        self._slopes = slopes.astype(np.float32)
        self._to_srgb = _to_srgb(primaries)

    def to_sdr(self, luma: Plane) -> NDArray[np.uint16]:
        """Returns rows of luma in sRGB's curve, stored as `layout` says."""
        rows: NDArray[np.uint16] = self._forward.take(luma, mode="clip")
        return rows

    def from_sdr(self, luma: NDArray[np.uint16], rows: Plane) -> None:
        """Writes rows of luma that are in sRGB's curve into rows of the film."""
        rows[...] = self._backward[luma]

    def scale_chroma(self, chroma: Array, luma: Array, factor: Array) -> None:
        """Scales chroma by what becomes of it in the film's own curve, in place.

        Args:
            chroma: [2, h, w] float32, blue and red difference in the film's steps, 0 without colour.
            luma: [h, w] float32 before the division, in sRGB's curve, in which 1 is white.
            factor: [h, w] float32, what luma is multiplied by there.
        """
        middle = self._half_ways * chroma + self._backward[self._stored(luma)].astype(np.float32)
        old = np.clip(middle, 0, len(self._forward) - 1).astype(np.uint16)
        lifted = (self._forward[old] - np.float32(_BLACK)) * factor
        lifted += np.float32(_BLACK)
        new = self._backward[np.clip(lifted, 0, 2**16 - 1).astype(np.uint16)]
        chroma *= factor * self._slopes[old] / self._slopes[new]

    def _stored(self, luma: Array) -> NDArray[np.uint16]:
        """Returns luma in which 1 is white, as `layout` stores it."""
        values = luma * np.float32(self.layout.luma_span) + np.float32(_BLACK + 0.5)
        stored: NDArray[np.uint16] = np.clip(values, 0, 2**16 - 1).astype(np.uint16)
        return stored

    def shown(self, rgb: Array) -> NDArray[np.uint8]:
        """Returns a picture of the film as a photograph has it: sRGB, in which what is above white is white.

        Args:
            rgb: [h, w, 3] float32, red, green and blue in the film's own curve, from 0 to 1.
        """
        light = srgb_light(sdr_values(rgb, self._transfer)) @ self._to_srgb.T
        return np.round(255 * srgb_encoded(np.clip(light, 0, 1))).astype(np.uint8)

    def guide(self, luma: Array) -> Array:
        """Returns luma of the film's own curve, from 0 to 1, in sRGB's curve: float32, 1 is white."""
        return np.asarray(sdr_values(luma, self._transfer), np.float32)


def seen_frame(
    frame: Any, long_side_px: int, conversion: dict[str, int], curve: HdrCurve | None
) -> tuple[NDArray[np.uint8], Array]:
    """Returns what the network sees of a frame, and the luma to which the light is fitted, both reduced.

    Args:
        frame: a frame of PyAV.
        long_side_px: the long side of both.
        conversion: options of PyAV's conversion.
        curve: the curve of an HDR film; None for others.

    Returns:
        [h', w', 3] uint8 in sRGB's curve, and [h', w'] float32, in which 1 is white.
    """
    weights = np.array(luma_weights(frame), np.float32)
    if curve is None:
        pixels = reduced_frame(frame, long_side_px, conversion)
        return pixels, (pixels @ weights / np.float32(255)).astype(np.float32)
    values = reduced_frame(frame, long_side_px, conversion, "rgb48le") / np.float32(65535)
    return curve.shown(values), curve.guide(values @ weights)


class HdrFacts(NamedTuple):
    """What an HDR film says about itself.

    Attributes:
        transfer: the number of its transfer function in ITU-T H.273: 16 (PQ) or 18 (HLG).
        mastering: the screen on which it was graded: x and y of its red, green, blue and white, and its
            greatest and least light in cd/m2; empty where the film does not say.
        brightest: the greatest light of a pixel and of a whole frame, in cd/m2; None where it does not say.
        notes: what its result does not hold, for the user.
    """

    transfer: int
    mastering: tuple[float, ...] = ()
    brightest: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()


def hdr_facts(frame: Any, stated_transfer: int) -> HdrFacts | None:
    """Returns what a film's first frame says about HDR; None if it is no HDR film.

    Args:
        frame: the frame, of PyAV.
        stated_transfer: the transfer function that the container states, by its number in ITU-T H.273; the
            frame's own counts more.

    Raises:
        PhotoError: only players with Dolby Vision show its colours.
    """
    own_transfer = int(frame.color_trc)
    transfer = stated_transfer if own_transfer == UNSPECIFIED else own_transfer

    def said(name: str) -> bytes:
        return bytes(frame.side_data.get(name) or b"")

    has_vision = bool(said("DOVI_METADATA") or said("DOVI_RPU_BUFFER"))
    if int(frame.colorspace) in _NOT_RGB or (has_vision and transfer == UNSPECIFIED):
        raise PhotoError(_NO_PLAYER)
    if transfer not in HDR:
        return None
    kinds = ["Dolby Vision"] * has_vision + ["HDR10+"] * bool(said("DYNAMIC_HDR_PLUS"))
    shown = "HDR10" if transfer == PQ else HDR[transfer]
    notes = tuple(f"its {kind} data were left out: players show the result as {shown}" for kind in kinds)
    return HdrFacts(
        transfer,
        _mastering(said("MASTERING_DISPLAY_METADATA")),
        _brightest(said("CONTENT_LIGHT_LEVEL")),
        notes,
    )


def state_hdr(frame: Any, facts: HdrFacts) -> None:
    """Has a frame of an HDR film state its curve, and BT.2020 where it states no primaries or no matrix."""
    frame.color_trc = facts.transfer
    if int(frame.color_primaries) == UNSPECIFIED:
        frame.color_primaries = BT2020
    if int(frame.colorspace) == UNSPECIFIED:
        frame.colorspace = BT2020


def curve_of(frame: Any, facts: HdrFacts, layout: PlaneFormat) -> HdrCurve:
    """Returns the curve of a film from a frame that `state_hdr` has seen."""
    return HdrCurve(facts.transfer, int(frame.color_primaries), layout, luma_weights(frame))


def encoder_metadata(facts: HdrFacts, encoder: str) -> dict[str, str]:
    """Returns options by which an encoder writes what a film says about the screen on which it was graded.

    Args:
        facts: what the film says.
        encoder: an encoder of FFmpeg; others than x264, x265 and SVT-AV1 get none.
    """
    if encoder not in _OPTIONS:
        return {}
    option, mastering, brightest = _OPTIONS[encoder]
    words = []
    if facts.mastering:
        red, green, blue, white, light = (facts.mastering[at : at + 2] for at in range(0, 10, 2))
        # SVT-AV1 takes the numbers as they are, the others in steps of 0.00002, and light in steps of 0.0001.
        place, level = (1, 1) if encoder == "libsvtav1" else (50000, 10000)
        parts = {"G": (green, place), "B": (blue, place), "R": (red, place), "WP": (white, place)}
        parts["L"] = light, level
        digits = 4 if encoder == "libsvtav1" else 0
        pairs = (
            f"{name}({x * steps:.{digits}f},{y * steps:.{digits}f})"
            for name, ((x, y), steps) in parts.items()
        )
        words.append(f"{mastering}={''.join(pairs)}")
    if facts.brightest is not None:
        words.append(f"{brightest}={facts.brightest[0]},{facts.brightest[1]}")
    return {option: ":".join(words)} if words else {}


def _mastering(data: bytes) -> tuple[float, ...]:
    """Returns the screen on which a film was graded, as `HdrFacts` has it.

    Args:
        data: FFmpeg's AVMasteringDisplayMetadata, ten fractions and two truth values; or nothing.
    """
    if len(data) < 88:
        return ()
    numbers = struct.unpack_from("=22i", data)
    if not all(numbers[20:]) or not all(numbers[1:20:2]):
        return ()
    fractions = [numbers[at] / numbers[at + 1] for at in range(0, 20, 2)]
    is_real = all(0 <= each <= 1 for each in fractions[:8]) and 0 <= fractions[8] < fractions[9] <= 10000
    return (*fractions[:8], fractions[9], fractions[8]) if is_real else ()


def _brightest(data: bytes) -> tuple[int, int] | None:
    """Returns the two numbers of FFmpeg's AVContentLightMetadata; None without them."""
    if len(data) < 8:
        return None
    most, mean = struct.unpack_from("=2I", data)
    return (most, mean) if most or mean else None


def _to_srgb(primaries: int) -> NDArray[np.float64]:
    """Returns the matrix [3, 3] from linear light of primaries, by their number in ITU-T H.273, to sRGB's."""
    own = primaries_xyz(PRIMARIES.get(primaries, PRIMARIES[BT2020]))
    return np.asarray(np.linalg.solve(primaries_xyz(SRGB), own), np.float64)
