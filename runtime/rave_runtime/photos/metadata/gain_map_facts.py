"""How a gain map stores its stops: by Adobe's words in XMP, or by ISO's numbers in a segment.

Sources: Adobe's gain map specification 1.0; ISO 21496-1, annex C; libultrahdr's reader of it.
"""

from __future__ import annotations

import math
import struct
from typing import Final, NamedTuple

import numpy as np

from rave_runtime.arrays import Array
from rave_runtime.photos.jpeg import GAIN_MAP_SEGMENT, XMP_SEGMENT, jpeg_segments
from rave_runtime.photos.metadata.description import add_description
from rave_runtime.photos.metadata.packet import Element, Packet, read_packet

_MANY: Final = 0x80
_BACKWARD: Final = 0x04
_COMMON: Final = 0x08
_MAX_STOPS: Final = 30.0


class GainMapFacts(NamedTuple):
    """How stops are stored, for each of one or three channels.

    Attributes:
        least: stops of the value 0.
        most: stops of the value 1.
        gamma: power of the stored values.
        base_offset: what is added to the first picture's linear light before the gain.
    """

    least: tuple[float, ...]
    most: tuple[float, ...]
    gamma: tuple[float, ...]
    base_offset: float

    def stops_of(self, values: Array) -> Array:
        """Returns the stops, [h, w, channels] float32, of stored values in [0, 1]."""
        least, most, gamma = self._arrays()
        return np.asarray(least + (most - least) * values ** (1 / gamma), np.float32)

    def values_of(self, stops: Array) -> Array:
        """Returns the stored values in [0, 1] of stops; stops out of range are clipped."""
        least, most, gamma = self._arrays()
        share = (stops - least) / np.maximum(most - least, np.float32(1e-6))
        return np.asarray(np.clip(share, 0, 1) ** gamma, np.float32)

    def _arrays(self) -> tuple[Array, Array, Array]:
        least, most, gamma = (np.array(each, np.float32) for each in (self.least, self.most, self.gamma))
        return least, most, gamma


def read_facts(jpeg: bytes) -> GainMapFacts | None:
    """Reads how the JPEG of a gain map stores its stops; None where it does not say so."""
    facts = None
    for marker, payload in jpeg_segments(jpeg):
        try:
            if marker == 0xE2 and payload.startswith(GAIN_MAP_SEGMENT):
                facts = facts or _iso(payload[len(GAIN_MAP_SEGMENT) :])
            elif marker == 0xE1 and payload.startswith(XMP_SEGMENT):
                facts = facts or _adobe(payload[len(XMP_SEGMENT) :])
        except (ValueError, struct.error, ZeroDivisionError):
            continue
    return facts


def stating_segments(facts: GainMapFacts) -> tuple[tuple[int, bytes], ...]:
    """Returns marker and payload of the segments in which a new map of one channel states the facts."""
    least, most, gamma, offset = facts.least[0], facts.most[0], facts.gamma[0], facts.base_offset
    words = {
        "Version": "1.0",
        "GainMapMin": f"{least:g}",
        "GainMapMax": f"{most:g}",
        "Gamma": f"{gamma:g}",
        "OffsetSDR": offset,
    }
    words |= {"OffsetHDR": offset, "HDRCapacityMin": "0", "HDRCapacityMax": f"{most:g}"}
    words |= {"BaseRenditionIsHDR": "False"}
    fields = " ".join(f'hdrgm:{name}="{value}"' for name, value in words.items())
    packet = add_description(None, f'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" {fields}/>')
    assert packet is not None
    low, top, small = round(least * 1000), round(most * 1000), round(offset * 1000000)
    iso = struct.pack(">HHBIIII", 0, 0, 0, 0, 1, top, 1000)
    iso += struct.pack(">iIiIII", low, 1000, top, 1000, round(gamma * 1000), 1000)
    iso += struct.pack(">iIiI", small, 1000000, small, 1000000)
    return (0xE1, XMP_SEGMENT + packet), (0xE2, GAIN_MAP_SEGMENT + iso)


def read_iso_numbers(numbers: bytes) -> GainMapFacts | None:
    """Reads ISO's numbers as a segment or a tone map item holds them; None where they make no sense."""
    try:
        return _iso(numbers)
    except (ValueError, struct.error, ZeroDivisionError):
        return None


def read_adobe_words(xmp: bytes) -> GainMapFacts | None:
    """Reads Adobe's words in a packet; None where there are none, or they make no sense."""
    try:
        return _adobe(xmp)
    except ValueError:
        return None


def _checked(least: list[float], most: list[float], gamma: list[float], offset: float) -> GainMapFacts | None:
    count = max(map(len, (least, most, gamma)))
    rows = [each * count if len(each) == 1 else each for each in (least, most, gamma)]
    numbers = [number for row in rows for number in row]
    is_sane = count in (1, 3) and all(len(row) == count for row in rows) and math.isfinite(offset)
    is_sane = is_sane and all(math.isfinite(number) and abs(number) <= _MAX_STOPS for number in numbers)
    if not is_sane or min(rows[2]) <= 0.01 or not 0 <= offset <= 1:
        return None
    if any(low > high for low, high in zip(rows[0], rows[1], strict=True)):
        return None
    return GainMapFacts(tuple(rows[0]), tuple(rows[1]), tuple(rows[2]), offset)


def _adobe(xmp: bytes) -> GainMapFacts | None:
    """Reads Adobe's words; None without them, and where the file's first picture is the HDR one."""
    packet = read_packet(xmp)
    for element in packet.top.walk():
        numbers = {
            name: _numbers(packet, element, f"hdrgm:{name}")
            for name in ("GainMapMin", "GainMapMax", "Gamma", "OffsetSDR")
        }
        if not numbers["GainMapMax"]:
            continue
        span = packet.fields(element).get("hdrgm:BaseRenditionIsHDR")
        if span is not None and packet.text(span).lower() == "true":
            return None
        offset = (numbers["OffsetSDR"] or [1 / 64])[0]
        return _checked(
            numbers["GainMapMin"] or [0.0], numbers["GainMapMax"], numbers["Gamma"] or [1.0], offset
        )
    return None


def _numbers(packet: Packet, element: Element, name: str) -> list[float]:
    """Returns the values under a name: one in an attribute or element, or several in a sequence."""
    span = packet.fields(element).get(name)
    if span is not None:
        return [float(packet.text(span))]
    child = next((each for each in element.children if each.name == name), None)
    if child is None:
        return []
    items = [each for each in child.walk() if each.name == "rdf:li"]
    return [float(packet.text(packet.trimmed(each.inner))) for each in items]


def _iso(data: bytes) -> GainMapFacts | None:
    """Reads ISO's numbers; None for the segment of a file's first picture, which has only the versions."""
    if len(data) < 5 or struct.unpack_from(">H", data)[0] != 0:
        return None
    flags, at = data[4], 5
    if flags & _BACKWARD:
        return None
    channels = 3 if flags & _MANY else 1
    ratios: list[list[float]] = []
    if flags & _COMMON:
        (below,) = struct.unpack_from(">I", data, at)
        at += 12
        for _ in range(channels):
            ratios.append([number / below for number in struct.unpack_from(">iiIii", data, at)])
            at += 20
    else:
        at += 16
        for _ in range(channels):
            parts = struct.unpack_from(">iIiIIIiIiI", data, at)
            ratios.append([above / below for above, below in zip(parts[::2], parts[1::2], strict=True)])
            at += 40
    least, most, gamma, offsets, _ = (list(each) for each in zip(*ratios, strict=True))
    return _checked(least, most, gamma, offsets[0])
