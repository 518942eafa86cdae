"""The gain map of an Ultra HDR JPEG, made to fit the enhanced picture.

Such a file is a JPEG for every screen, with a second, smaller one behind it that says how many stops
brighter each part is on an HDR screen: G. Enhancing makes the first one g times as bright, in linear light.
The HDR picture keeps what was bright there and follows the first picture elsewhere:

    G' = max(G - log2(g), min(G, 0)),    g = (Y' + k) / (Y + k)

with Y and Y' the linear luminance before and after, and k the offset that the file states for its gains. So a
sun or a lamp stays as bright as it was on HDR screens, nothing becomes darker there than on others, and what
was lifted out of the shade is seen as lifted on both.

Sources: Android's Ultra HDR image format 1.1; Adobe's gain map specification 1.0; ISO 21496-1; CIPA DC-007.
"""

from __future__ import annotations

import io
import struct
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from rave_runtime.arrays import Array, Pixels
from rave_runtime.photos.headers.bounded import bounded
from rave_runtime.photos.headers.colour_codes import LUMINANCE, srgb_light
from rave_runtime.photos.jpeg import GAIN_MAP_SEGMENT, XMP_SEGMENT, jpeg_segments, make_segment
from rave_runtime.photos.metadata.description import add_description
from rave_runtime.photos.metadata.gain_map_facts import GainMapFacts, read_facts
from rave_runtime.photos.metadata.left_behind import MULTI_PICTURE, indexed_pictures
from rave_runtime.photos.metadata.packet import Element, Packet
from rave_runtime.photos.metadata.regions import Edits
from rave_runtime.photos.xmp import without_names

_MPF_ENTRIES: Final = 0xB002
_PRIMARY: Final = 0x030000
_QUALITY: Final = 95
_MAX_SEGMENT: Final = 65533
_LUMA: Final = np.array(LUMINANCE, np.float32)
_STRIP_ROWS: Final = 256
_CONTAINER: Final = (
    'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
    'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    'xmlns:Item="http://ns.google.com/photos/1.0/container/item/" hdrgm:Version="1.0"><Container:Directory>'
    '<rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary" '
    'Item:Mime="image/jpeg"/></rdf:li><rdf:li rdf:parseType="Resource"><Container:Item '
    'Item:Semantic="GainMap" Item:Mime="image/jpeg" Item:Length="{length}"/></rdf:li></rdf:Seq>'
    "</Container:Directory></rdf:Description>"
)
"""What the first picture's XMP says of the second one."""


class GainMap(NamedTuple):
    """A gain map as a file holds it.

    Attributes:
        gains: [h, w, 1 or 3] float32, stops by which the HDR picture is brighter, upright.
        facts: how stops are stored, which enhancing does not change.
        segments: marker and payload of the segments of the map's JPEG that state the facts.
        primary_segments: marker and payload of the segments of the first picture, except XMP, that announce
            the map.
    """

    gains: Array
    facts: GainMapFacts
    segments: tuple[tuple[int, bytes], ...]
    primary_segments: tuple[tuple[int, bytes], ...]


def read_gain_map(jpeg: bytes, turn: Image.Transpose | None, max_pixels: int) -> GainMap | None:
    """Reads the gain map of an Ultra HDR JPEG; None where there is none that can be understood.

    Args:
        jpeg: the file.
        turn: the transposition that makes its pictures upright; None changes nothing.
        max_pixels: a map with more pixels counts as none.
    """
    for start, size in _further_pictures(jpeg):
        content = jpeg[start : start + size]
        facts = read_facts(content)
        if facts is None:
            continue
        try:
            with JpegImagePlugin.JpegImageFile(bounded(content)) as image:
                if image.size[0] * image.size[1] > max_pixels:
                    return None
                plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
                upright = plain if turn is None else plain.transpose(turn)
                values = np.asarray(upright, np.float32) / np.float32(255)
        except Exception:  # a map that cannot be read counts as none
            return None
        values = values[..., None] if values.ndim == 2 else values
        primary_segments = tuple(each for each in jpeg_segments(jpeg) if each[1].startswith(GAIN_MAP_SEGMENT))
        return GainMap(facts.stops_of(values), facts, _stating_segments(content), primary_segments)
    return None


def light_for(gain_map: GainMap, pixels: Pixels) -> Array:
    """Returns linear luminance of pixels, taken as sRGB, at a gain map's size: [h, w] float32, 0 to 1."""
    height, width = gain_map.gains.shape[:2]
    table = _linear(np.iinfo(pixels.dtype).max)
    light = np.empty(pixels.shape[:2], np.float32)
    weights = _LUMA if pixels.shape[2] == 3 else np.ones(1, np.float32)
    for top in range(0, len(pixels), _STRIP_ROWS):
        light[top : top + _STRIP_ROWS] = table[pixels[top : top + _STRIP_ROWS]] @ weights
    return np.asarray(Image.fromarray(light).resize((width, height), Image.Resampling.BOX))


def fitted_gains(gain_map: GainMap, light_before: Array, light_after: Array) -> Array:
    """Returns the photograph's gains as they fit the enhanced picture: [h, w, 1 or 3] float32, stops.

    The arguments are the photograph's map, and `light_for` of the photograph and of the enhanced picture.
    """
    offset = np.float32(gain_map.facts.base_offset)
    brighter = np.log2((light_after + offset + 1e-6) / (light_before + offset + 1e-6))[..., None]
    return np.maximum(gain_map.gains - brighter, np.minimum(gain_map.gains, 0))


def join_gains(jpeg: bytes, gain_map: GainMap, gains: Array) -> bytes | None:
    """Puts gains behind a picture.

    Args:
        jpeg: the picture, with all its metadata.
        gain_map: says how gains are stored; its own are not used.
        gains: [h, w, 1 or 3] float32, stops.

    Returns:
        The file; None where its XMP has no room to announce the map, or is damaged.
    """
    values = (gain_map.facts.values_of(gains) * 255 + np.float32(0.5)).astype(np.uint8)
    map_jpeg = _jpeg_of(values, gain_map.segments)
    packets = [data for kind, data in jpeg_segments(jpeg) if _is_xmp(kind, data)]
    packet = add_description(
        packets[-1].removeprefix(XMP_SEGMENT) if packets else None,
        _CONTAINER.format(length=len(map_jpeg)),
        _without_gain_map,
    )
    if packet is None or len(packet) + len(XMP_SEGMENT) > _MAX_SEGMENT:
        return None
    return _joined(jpeg, packet, len(packets), gain_map.primary_segments, map_jpeg)


def _further_pictures(jpeg: bytes) -> list[tuple[int, int]]:
    """Returns start and length, in bytes, of the pictures that a JPEG's index names behind its first one."""
    position = 2
    for marker, payload in jpeg_segments(jpeg):
        position = jpeg.find(payload, position) if payload else position
        if marker != 0xE2 or not payload.startswith(MULTI_PICTURE):
            continue
        base = position + len(MULTI_PICTURE)
        places = [(base + offset, size) for _, size, offset in indexed_pictures(payload) if offset]
        return [(start, size) for start, size in places if jpeg.startswith(b"\xff\xd8\xff", start)][:8]
    return []


def _stating_segments(content: bytes) -> tuple[tuple[int, bytes], ...]:
    """Returns the segments of a map's JPEG that say how its stops are stored."""
    return tuple(
        (marker, payload)
        for marker, payload in jpeg_segments(content)
        if _is_xmp(marker, payload) or (marker == 0xE2 and payload.startswith(GAIN_MAP_SEGMENT))
    )


def _jpeg_of(values: NDArray[np.uint8], segments: tuple[tuple[int, bytes], ...]) -> bytes:
    buffer = io.BytesIO()
    plain = values[..., 0] if values.shape[2] == 1 else values
    Image.fromarray(plain).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    content = buffer.getvalue()
    return content[:2] + b"".join(make_segment(*each) for each in segments) + content[2:]


def _joined(
    jpeg: bytes,
    packet: bytes,
    packet_count: int,
    primary_segments: tuple[tuple[int, bytes], ...],
    map_jpeg: bytes,
) -> bytes:
    """Writes the first picture with an index of both, and the second one behind it.

    A new XMP packet takes the place of the last one of the first picture, which has `packet_count`.
    """
    head, position = [jpeg[:2]], 2
    packet_segment = make_segment(0xE1, XMP_SEGMENT + packet)
    last = 1  # behind which the new segments go: JFIF, EXIF and XMP
    while jpeg[position] == 0xFF and jpeg[position + 1] in (*range(0xE0, 0xF0), 0xFE):
        stop = position + 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
        kind, payload = jpeg[position + 1], jpeg[position + 4 : stop]
        packet_count -= _is_xmp(kind, payload)
        if _is_xmp(kind, payload) and not packet_count:
            head.append(packet_segment)
            packet_segment = b""
        else:
            head.append(jpeg[position:stop])
        last = len(head) if kind in (0xE0, 0xE1) else last
        position = stop
    added = packet_segment + b"".join(make_segment(*each) for each in primary_segments)
    before = b"".join(head[:last]) + added
    after = b"".join(head[last:]) + jpeg[position:]
    first_bytes = len(before) + len(make_segment(0xE2, _index(0, 0, 0))) + len(after)
    base = len(before) + 4 + len(MULTI_PICTURE)
    return (
        before + make_segment(0xE2, _index(first_bytes, first_bytes - base, len(map_jpeg))) + after + map_jpeg
    )


def _index(first_bytes: int, second_at: int, second_bytes: int) -> bytes:
    """Returns CIPA's index of two pictures. Its places count from behind its first four bytes."""
    entries = struct.pack(">IIIHH", _PRIMARY, first_bytes, 0, 0, 0)
    entries += struct.pack(">IIIHH", 0, second_bytes, second_at, 0, 0)
    directory = struct.pack(">H", 3)
    directory += struct.pack(">HHI4s", 0xB000, 7, 4, b"0100")
    directory += struct.pack(">HHII", 0xB001, 4, 1, 2)
    directory += struct.pack(">HHII", _MPF_ENTRIES, 7, len(entries), 8 + 2 + 36 + 4)
    return MULTI_PICTURE + b"MM\0*\0\0\0\x08" + directory + bytes(4) + entries


def _is_xmp(marker: int, payload: bytes) -> bool:
    return marker == 0xE1 and payload.startswith(XMP_SEGMENT)


def _without_gain_map(packet: Packet, element: Element) -> Edits:
    """Returns the changes that remove what a packet said of pictures behind the first one."""
    del packet
    if element.name == "Container:Directory":
        return {element.whole: b""}
    return without_names(element, ("hdrgm:Version",))


def _linear(top: int) -> Array:
    return srgb_light(np.arange(top + 1) / top).astype(np.float32)
