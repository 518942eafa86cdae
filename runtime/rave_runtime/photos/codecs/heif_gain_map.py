"""The gain map of a HEIC or AVIF, read so that a JPEG can carry one that fits the enhanced picture.

There are three kinds: that of ISO 21496-1, which a tone map item names; Samsung's, an auxiliary picture whose
XMP has Adobe's words; and Apple's, an auxiliary picture whose numbers stand in its XMP or in the camera's own
notes. Nothing here can write any of them.

Sources: ISO 21496-1; ISO/IEC 23008-12, amendment on tone maps; Adobe's gain map specification 1.0; Apple's
"Applying Apple HDR effect to your photos".
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from PIL import Image

from rave_runtime.arrays import Array
from rave_runtime.photos.decoders import decoding, open_picture
from rave_runtime.photos.exif import EXIF_HEADER
from rave_runtime.photos.headers.boxes import photograph_data, photograph_properties
from rave_runtime.photos.headers.items import Items, read_items
from rave_runtime.photos.metadata.directories import EXIF_IFD, MAKER_NOTE, DirectoryReader, Value
from rave_runtime.photos.metadata.gain_map_facts import (
    GainMapFacts,
    read_adobe_words,
    read_iso_numbers,
)

_APPLE: Final = b"urn:com:apple:photo:2020:aux:hdrgainmap\0"
_AUXILIARY: Final = re.compile(rb"\0{4}urn:[\x21-\x7e]{1,100}:aux:hdrgainmap\0")
_HEADROOM: Final = re.compile(rb"""HDRGainMapHeadroom(?:\s*=\s*["']|>)\s*([0-9.]{1,20})""")
_APPLE_NOTE: Final = b"Apple iOS\0"
_APPLE_DIRECTORY_AT: Final = 14
_SIGNED_RATIO: Final = 10
_TURNS: Final = (b"irot", b"imir")
_ROTATIONS: Final = {
    b"\1": Image.Transpose.ROTATE_90,
    b"\2": Image.Transpose.ROTATE_180,
    b"\3": Image.Transpose.ROTATE_270,
}
"""Transpositions by HEIF's number of quarter turns counterclockwise."""

_MAX_HEADROOM: Final = 64.0


@dataclass(frozen=True)
class HeifGainMap:
    """Where a gain map is, and how it stores its stops.

    Attributes:
        file: a copy of the photograph's file in which the map is the primary picture.
        facts: how stops are stored, in shares of the pixels' range; None where they are stored Apple's way.
        headroom: how many times brighter than white Apple's map makes white.
        turn: the transposition that makes its pixels upright where the file turns the photograph but not
            the map.
    """

    file: bytes
    facts: GainMapFacts | None
    headroom: float = 1.0
    turn: Image.Transpose | None = None


def find_heif_gain_map(content: bytes, exif: bytes | None) -> HeifGainMap | None:
    """Looks for the gain map of a HEIC or AVIF; None where there is none that can be understood.

    Args:
        content: the file.
        exif: its EXIF block, with or without `Exif` in front.
    """
    items = read_items(content)
    if items is None:
        return None
    gain_map = _by_tone_map(content, items) or _by_auxiliary(content, items, exif)
    if gain_map is None:
        return None
    map_turns, photograph_turns = _turns(gain_map.file), _turns(content)
    if map_turns == photograph_turns:
        return gain_map
    kind, data = photograph_turns[0] if len(photograph_turns) == 1 and not map_turns else (b"", b"")
    return replace(gain_map, turn=_ROTATIONS[data]) if kind == b"irot" and data in _ROTATIONS else None


def read_stops(
    gain_map: HeifGainMap, turn: Image.Transpose | None, max_pixels: int
) -> tuple[Array, GainMapFacts] | None:
    """Decodes a gain map; None where it cannot be decoded.

    Args:
        gain_map: what `find_heif_gain_map` returned.
        turn: the transposition that makes its decoded pixels upright; None changes nothing.
        max_pixels: a map with more pixels counts as none.

    Returns:
        [h, w, 1] float32, stops by which the HDR picture is brighter, and how to store them in one channel.
    """
    try:
        with decoding, open_picture(gain_map.file) as image:
            if image.size[0] * image.size[1] > max_pixels:
                return None
            plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
            values = np.asarray(plain if turn is None else plain.transpose(turn), np.float32)
    except Exception:  # a map that cannot be read counts as none
        return None
    values = values.reshape(*values.shape[:2], -1) / np.float32(255)
    if gain_map.facts is None:
        linear = np.where(values < 0.081, values / 4.5, ((values + 0.099) / 1.099) ** (1 / 0.45))
        stops = np.log2(1 + (gain_map.headroom - 1) * linear.mean(2, keepdims=True))
        return stops.astype(np.float32), GainMapFacts((0.0,), (math.log2(gain_map.headroom),), (1.0,), 0.0)
    if len(gain_map.facts.most) == 1:
        values = values.mean(2, keepdims=True)
    elif values.shape[2] == 1:
        values = np.repeat(values, 3, 2)
    stops = gain_map.facts.stops_of(values).mean(2, keepdims=True)
    low, high = min(gain_map.facts.least), max(gain_map.facts.most)
    return stops, GainMapFacts((low,), (high,), (1.0,), gain_map.facts.base_offset)


def _by_tone_map(content: bytes, items: Items) -> HeifGainMap | None:
    """Returns the map that a tone map applies to the photograph."""
    for item, kind in items.kinds.items():
        parts = items.named_by(b"dimg", item)
        if kind != b"tmap" or len(parts) != 2 or parts[0] != items.primary or parts[1] not in items.kinds:
            continue
        payload = photograph_data(items.with_primary(content, item, b"dimg"))
        facts = read_iso_numbers(payload[1:]) if payload[:1] == b"\0" else None
        if facts is not None and max(facts.most) > 0:
            return HeifGainMap(items.with_primary(content, parts[1], b"auxl"), facts)
    return None


def _by_auxiliary(content: bytes, items: Items, exif: bytes | None) -> HeifGainMap | None:
    """Returns the auxiliary picture that Apple's and Samsung's cameras write."""
    for item in items.naming(b"auxl", items.primary):
        if item not in items.kinds:
            continue
        file = items.with_primary(content, item, b"auxl")
        kinds = [data for kind, data in photograph_properties(file) if kind == b"auxC"]
        if not any(_AUXILIARY.match(kind) for kind in kinds):
            continue
        packet = _packet_of(content, items, item)
        if not any(kind.endswith(_APPLE) for kind in kinds):
            facts = None if packet is None else read_adobe_words(packet)
            return None if facts is None or max(facts.most) <= 0 else HeifGainMap(file, facts)
        headroom = _headroom_of_packet(packet) or _headroom_of_notes(exif)
        if headroom is not None and 1 < headroom <= _MAX_HEADROOM:
            return HeifGainMap(file, None, headroom)
    return None


def _turns(content: bytes) -> list[tuple[bytes, bytes]]:
    """Returns the properties that turn a file's photograph; a rotation by 0 turns nothing."""
    turns = [each for each in photograph_properties(content) if each[0] in _TURNS]
    return [each for each in turns if each != (b"irot", b"\0")]


def _packet_of(content: bytes, items: Items, item: int) -> bytes | None:
    """Returns the XMP that describes an item."""
    blocks = [block for block in items.naming(b"cdsc", item) if items.kinds.get(block) == b"mime"]
    return photograph_data(items.with_primary(content, blocks[0], b"")) if blocks else None


def _headroom_of_packet(packet: bytes | None) -> float | None:
    match = None if packet is None else _HEADROOM.search(packet)
    try:
        return None if match is None else float(match[1])
    except ValueError:
        return None


def _headroom_of_notes(exif: bytes | None) -> float | None:
    """Returns the headroom that two numbers in the notes of Apple's cameras give, by Apple's formula.

    A missing number counts as 0, as in other programs: older cameras write only the first.
    """
    if exif is None:
        return None
    reader = DirectoryReader(exif.removeprefix(EXIF_HEADER))
    inner = reader.read(reader.first).get(EXIF_IFD)
    note = inner.get(MAKER_NOTE) if isinstance(inner, dict) else None
    numbers = _apple_numbers(note.data) if isinstance(note, Value) else {}
    if not {33, 48} & numbers.keys():
        return None
    room, gain = numbers.get(33, 0.0), numbers.get(48, 0.0)
    if room < 1:
        stops = -20 * gain + 1.8 if gain <= 0.01 else -0.101 * gain + 1.601
    else:
        stops = -70 * gain + 3.0 if gain <= 0.01 else -0.303 * gain + 2.303
    return float(2 ** max(stops, 0.0))


def _apple_numbers(note: bytes) -> dict[int, float]:
    """Returns the ratios of Apple's notes by their numbers."""
    numbers: dict[int, float] = {}
    if not note.startswith(_APPLE_NOTE) or note[12:14] not in (b"MM", b"II"):
        return numbers
    reader = DirectoryReader(note)
    reader.order = ">" if note[12:14] == b"MM" else "<"
    for tag, kind, count, place in reader.entries(_APPLE_DIRECTORY_AT):
        if kind == _SIGNED_RATIO and count:
            above, below = struct.unpack_from(f"{reader.order}ii", note, place)
            if below:
                numbers[tag] = above / below
    return numbers
