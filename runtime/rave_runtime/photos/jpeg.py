"""What a photograph's file says beside its pixels, carried from file to file byte by byte.

Re-serialising metadata loses what the library does not know (maker notes, IPTC, extended XMP), so
JPEG segments are copied as they are; `rave_runtime.photos.png` does the same with PNG chunks. Only what would
be wrong afterwards changes: the orientation, which has been applied to the pixels, and places in the picture;
thumbnails, which show the old picture; the index of further pictures behind the first; credentials.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from rave_runtime.photos.exif import EXIF_HEADER, upright_exif
from rave_runtime.photos.metadata.credentials import credential_boxes
from rave_runtime.photos.metadata.photoshop import with_turned_resolution, without_thumbnails
from rave_runtime.photos.xmp import upright_xmp

_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_ALONE: Final = (0x00, 0x01, *range(0xD0, 0xD9))
"""Markers that have no length, and 0, which stands for no marker."""

FRAME_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers that begin a frame: what kind of JPEG it is, its size and its components."""

_PLAIN: Final = frozenset({*range(0xC0, 0xF0), 0xFE}) - {0xC8, *range(0xD0, 0xDA)}
"""Markers whose segments all decoders pass over by their length, if they do not read them."""

_END_PAIR: Final = 0xD9FF
"""The marker of a picture's end as a number whose lowest byte comes first."""

_MAX_MARKERS: Final = 100_000
"""Markers of a JPEG that are looked at, those of restarts aside; photographs have hundreds."""

_SAMPLINGS: Final[Mapping[tuple[float, float], str]] = {
    (1, 1): "4:4:4",
    (2, 1): "4:2:2",
    (2, 2): "4:2:0",
    (4, 1): "4:1:1",
    (1, 2): "4:4:0",
    (1, 4): "4:4:1",
    (4, 2): "4:1:0",
}
"""Names of how many values of brightness, across and down, there are for one of colour."""

XMP_SEGMENT: Final = b"http://ns.adobe.com/xap/1.0/\0"
GAIN_MAP_SEGMENT: Final = b"urn:iso:std:iso:ts:21496:-1\0"
PHOTOSHOP_SEGMENT: Final = b"Photoshop 3.0\0"
_EXTENSION_SEGMENT: Final = b"http://ns.adobe.com/xmp/extension/\0"
"""First bytes of segments, which tell what they hold."""

_OF_THE_CODER: Final = (b"JFIF\0", b"JFXX\0", b"AVI1", b"Adobe")
"""First bytes of segments that say how the source was coded, or hold its thumbnail: a result has its own."""


def photoshop_resources(jpeg: bytes) -> bytes | None:
    """Returns Photoshop's image resources of a JPEG, which hold captions and keywords, or None."""
    parts = [
        payload[len(PHOTOSHOP_SEGMENT) :]
        for marker, payload in jpeg_segments(jpeg)
        if marker == 0xED and payload.startswith(PHOTOSHOP_SEGMENT)
    ]
    return without_thumbnails(b"".join(parts)) or None


def add_photoshop_resources(jpeg: bytes, resources: bytes) -> bytes:
    """Puts image resources into a JPEG, behind its first segment, in as many segments as they need."""
    room = 65533 - len(PHOTOSHOP_SEGMENT)
    segments = [
        make_segment(0xED, PHOTOSHOP_SEGMENT + part)
        for part in (resources[at : at + room] for at in range(0, len(resources), room))
    ]
    (length,) = struct.unpack_from(">H", jpeg, 4)
    place = 4 + length if jpeg.startswith(b"\xff\xe0", 2) else 2
    return b"".join([jpeg[:place], *segments, memoryview(jpeg)[place:]])


def sampling_of(components: Sequence[tuple[int, int, int, int]]) -> tuple[str, int]:
    """Returns how a JPEG samples colour, and how Pillow can do so with about as many samples.

    Pillow writes 4:4:4, 4:2:2 and 4:2:0. What has as many samples as 4:2:2 becomes that; fewer become 4:2:0.

    Args:
        components: number, samples across and down, and table of each component, as Pillow has them.

    Returns:
        Its usual name, such as "4:1:1", and Pillow's number: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.
    """
    if len(components) != 3 or not all(across and down for _, across, down, _ in components):
        return "4:4:4", 0
    (_, wide, high, _), (_, across, down, _), _ = components
    name = _SAMPLINGS.get((wide / across, high / down), f"{wide}x{high} to {across}x{down}")
    fewer = wide * high / (across * down)
    return name, 0 if fewer < 2 else 1 if fewer < 4 else 2


def has_jpeg_credentials(jpeg: bytes) -> bool:
    """Tells whether a JPEG holds Content Credentials, which are not carried over."""
    return bool(_credentials_of(jpeg))


def _credentials_of(jpeg: bytes) -> frozenset[bytes]:
    return credential_boxes(payload for marker, payload in jpeg_segments(jpeg) if marker == 0xEB)


def jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the marker segments of a JPEG up to its first scan: marker (such as 0xE1) and payload."""
    position = 2
    for _ in range(_MAX_MARKERS):
        if position + 4 > len(content):
            return
        if content[position] != 0xFF:  # stray bytes, over which decoders go to the next marker
            position = content.find(b"\xff", position)
            if position < 0:
                return
            continue
        marker = content[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xDA:
            return
        if marker in _ALONE:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", content, position + 2)
        yield marker, content[position + 4 : position + 2 + length]
        position += 2 + length


class PlainHeader(NamedTuple):
    """A JPEG's header that any decoder reads in the same way.

    Attributes:
        segments: its marker segments: marker and payload; the last one begins the first scan.
        end: the place behind them, where coded pixels begin.
    """

    segments: tuple[tuple[int, bytes], ...]
    end: int

    @property
    def is_one_scan(self) -> bool:
        """Whether the first scan holds all components of a picture that is not progressive."""
        frames = [payload for marker, payload in self.segments if marker in FRAME_MARKERS]
        plain = [payload for marker, payload in self.segments if marker in (0xC0, 0xC1)]
        scan = self.segments[-1][1]
        return len(frames) == len(plain) == 1 and len(plain[0]) > 5 and scan[:1] == plain[0][5:6]


def plain_header(content: bytes) -> PlainHeader | None:
    """Returns a JPEG's header; None where it has bytes or markers at which decoders may go different ways."""
    segments, position = [], 2
    for _ in range(_MAX_MARKERS):
        if position + 4 > len(content) or content[position] != 0xFF:
            return None
        marker = content[position + 1]
        if marker not in _PLAIN:
            return None
        (length,) = struct.unpack_from(">H", content, position + 2)
        segments.append((marker, content[position + 4 : position + 2 + length]))
        position += 2 + length
        if marker == 0xDA:
            return PlainHeader(tuple(segments), position)
    return None


def count_scans(content: bytes, limit: int = 1 << 31) -> int:
    """Counts the scans of a JPEG's picture, not those of further pictures or films behind it.

    The count ends at `limit` + 1, which is also the answer for a file with too many markers for a photograph.
    """
    scans = 0
    for count, (marker, _) in enumerate(_markers(content)):
        scans += marker == 0xDA
        if scans > limit or count > _MAX_MARKERS:
            return limit + 1
    return scans


def end_of_jpeg(content: bytes) -> int:
    """Returns the place behind the end of a JPEG's picture; the end of the file where no marker says so.

    For a file with more markers than a photograph can have, it returns the end of the file.
    """
    header = plain_header(content)
    if header is not None and not _holds_end(content, header.end):
        return len(content)
    markers = itertools.islice(_markers(content), _MAX_MARKERS)
    return next((stop for marker, stop in markers if marker == 0xD9), len(content))


def _holds_end(content: bytes, start: int) -> bool:
    """Whether the marker of the end stands between a place and the last two bytes.

    numpy looks at all bytes several times as fast as a search of markers, and without Python's lock.
    """
    import numpy as np  # not with this module, which the parser needs before `fit_libraries` was called

    coded = np.frombuffer(content, np.uint8)[start:-2]
    for first in (0, 1):
        pairs = coded[first : first + (len(coded) - first) // 2 * 2].view("<u2")
        if (pairs == _END_PAIR).any():
            return True
    return coded[-1:].tobytes() + content[-2:-1] == b"\xff\xd9"


def _markers(content: bytes) -> Iterator[tuple[int, int]]:
    """Yields every marker up to the end of the picture, and the place behind it."""
    position = 2
    while match := _JPEG_MARKER.search(content, position):
        marker, position = match[0][1], match.end()
        yield marker, position
        if marker == 0xD9:
            return
        if marker not in (0x01, 0xD8) and position + 2 <= len(content):
            position += struct.unpack_from(">H", content, position)[0]


def carry_jpeg(
    source: bytes,
    target: bytes,
    width: int,
    height: int,
    *,
    keep_icc: bool,
    orientation: int = 1,
    xmp: bytes | None = None,
) -> bytes:
    """Gives a JPEG another one's metadata: EXIF, XMP, IPTC, comments, and its ICC profile if wanted.

    Args:
        source: the file whose APP and comment segments are taken.
        target: a freshly encoded JPEG; its own JFIF and Adobe segments stay, density excepted.
        width: the width of the target, in pixels.
        height: the height of the target, in pixels.
        keep_icc: whether the target's pixels are in the source's colour space.
        orientation: how the source's pixels were turned to become the target's, 1 to 8.
        xmp: a packet that takes the place of the source's; None keeps that.
    """
    segments = []
    source_jfif: bytes | None = None
    credentials = _credentials_of(source)
    sources = _with_upright_exif(list(jpeg_segments(source)), width, height, orientation)
    packets = sum(_is_packet(*each) for each in sources)
    for marker, payload in sources:
        if marker == 0xE0 and payload.startswith(b"JFIF\0"):
            source_jfif = payload
        of_the_coder = marker in (0xE0, 0xEE) and payload.startswith(_OF_THE_CODER)
        if of_the_coder or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            continue
        if marker == 0xE2 and payload.startswith((b"MPF\0", GAIN_MAP_SEGMENT)):
            continue
        if marker == 0xEB and payload.startswith(b"JP") and payload[2:4] in credentials:
            continue
        if marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0") and not keep_icc:
            continue
        if marker == 0xE1 and payload.startswith(_EXTENSION_SEGMENT) and orientation != 1:
            continue
        if _is_packet(marker, payload):
            packets -= 1
            packet = None if packets else xmp  # of several, Pillow reads the last one
            packet = packet or upright_xmp(payload[len(XMP_SEGMENT) :], width, height, orientation)
            xmp = xmp if packets else None
            if packet is None:
                continue
            payload = XMP_SEGMENT + packet
        elif marker == 0xED and payload.startswith(PHOTOSHOP_SEGMENT):
            start = len(PHOTOSHOP_SEGMENT)
            resources = with_turned_resolution(without_thumbnails(payload[start:]), orientation)
            payload = payload[:start] + resources
        segments.append(make_segment(marker, payload))
    if xmp is not None:  # the source has none
        exif = max((at + 1 for at, each in enumerate(segments) if each.startswith(EXIF_HEADER, 4)), default=0)
        segments.insert(exif, make_segment(0xE1, XMP_SEGMENT + xmp))
    target_jfif, after = b"", 2
    if target.startswith(b"\xff\xe0", 2):
        (length,) = struct.unpack_from(">H", target, 4)
        target_jfif, after = target[2 : 4 + length], 4 + length
        if source_jfif is not None and len(source_jfif) >= 12 and len(target_jfif) >= 16:
            unit, across, down = source_jfif[7:8], source_jfif[8:10], source_jfif[10:12]
            density = down + across if orientation >= 5 else across + down
            target_jfif = target_jfif[:11] + unit + density + target_jfif[16:]
    return b"".join([target[:2], target_jfif, *segments, memoryview(target)[after:]])


def _is_packet(marker: int, payload: bytes) -> bool:
    return marker == 0xE1 and payload.startswith(XMP_SEGMENT)


def _with_upright_exif(
    segments: Sequence[tuple[int, bytes]], width: int, height: int, orientation: int
) -> list[tuple[int, bytes]]:
    """Corrects EXIF among segments, also where it is larger than a segment and goes on in the next ones."""
    corrected, blocks = list(segments), list[list[int]]()
    for at, (marker, payload) in enumerate(segments):
        if marker == 0xE1 and payload.startswith(EXIF_HEADER):
            begins = payload.startswith((b"II*\0", b"MM\0*"), len(EXIF_HEADER))
            if begins or not blocks or blocks[-1][-1] != at - 1:
                blocks.append([at])
            else:
                blocks[-1].append(at)
    for block in blocks:
        parts = [segments[at][1][len(EXIF_HEADER) :] for at in block]
        exif = upright_exif(EXIF_HEADER + b"".join(parts), width, height, orientation)
        start = len(EXIF_HEADER)
        for at, part in zip(block, parts, strict=True):
            corrected[at] = (0xE1, EXIF_HEADER + exif[start : start + len(part)])
            start += len(part)
    return corrected


def make_segment(marker: int, payload: bytes) -> bytes:
    """Writes a segment: its marker, length and payload."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(payload) + 2) + payload
