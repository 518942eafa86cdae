"""What a photograph's file says beside its pixels, carried from file to file byte by byte.

Re-serialising metadata loses what the library does not know (maker notes, IPTC, extended XMP), so
JPEG segments are copied as they are, and PNG chunks likewise in `rave_runtime.photos.png`. Only what would
be wrong afterwards changes: the orientation, which has been applied to the pixels; thumbnails, which
show the old picture; the index of further pictures behind the first.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

from rave_runtime.photos.exif import EXIF_HEADER, upright_exif
from rave_runtime.photos.xmp import upright_xmp

_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_ALONE: Final = (0x00, 0x01, *range(0xD0, 0xD9))
"""Markers without a length, and no marker at all."""

_XMP_SEGMENT: Final = b"http://ns.adobe.com/xap/1.0/\0"


_GAIN_MAP_SEGMENT: Final = b"urn:iso:std:iso:ts:21496:-1\0"

_PHOTOSHOP_SEGMENT: Final = b"Photoshop 3.0\0"
_IPTC_RESOURCE: Final = b"8BIM\x04\x04"
_PHOTOSHOP_THUMBNAILS: Final = (0x0409, 0x040C)


def has_iptc(jpeg: bytes) -> bool:
    """Whether a JPEG holds captions and keywords as IPTC-IIM has them."""
    return any(
        marker == 0xED and payload.startswith(_PHOTOSHOP_SEGMENT) and _IPTC_RESOURCE in payload
        for marker, payload in jpeg_segments(jpeg)
    )


def without_thumbnails(resources: bytes) -> bytes:
    """Photoshop's image resources without their thumbnails; damaged ones come back unchanged."""
    kept, position = [], 0
    while resources.startswith(b"8BIM", position):
        name_length = resources[position + 6] if position + 6 < len(resources) else 0
        size_at = position + 6 + (name_length + 2) // 2 * 2
        if size_at + 4 > len(resources):
            return resources
        (number,) = struct.unpack_from(">H", resources, position + 4)
        (size,) = struct.unpack_from(">I", resources, size_at)
        stop = size_at + 4 + size + size % 2
        if stop > len(resources) + 1:  # the last one's padding may be left out
            return resources
        if number not in _PHOTOSHOP_THUMBNAILS:
            kept.append(resources[position:stop])
        position = stop
    return b"".join(kept) + resources[position:]


def jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The marker segments of a JPEG up to its first scan: marker (such as 0xE1) and payload."""
    position = 2
    while position + 4 <= len(content):
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


def count_scans(content: bytes) -> int:
    """Scans of a JPEG, which end where it does: a film may stand behind a photograph."""
    scans, position = 0, 2
    while found := _JPEG_MARKER.search(content, position):
        marker, position = found[0][1], found.end()
        if marker == 0xD9:
            break
        scans += marker == 0xDA
        if marker not in (0x01, 0xD8) and position + 2 <= len(content):
            position += struct.unpack_from(">H", content, position)[0]
    return scans


def carry_jpeg(source: bytes, target: bytes, width: int, height: int, *, keep_icc: bool) -> bytes:
    """A JPEG with another one's metadata: EXIF, XMP, IPTC, comments, and its ICC profile if wanted.

    Args:
        source: the file whose APP and comment segments are taken.
        target: a freshly encoded JPEG; its own JFIF and Adobe segments stay, density excepted.
        width, height: of the target, in pixels.
        keep_icc: whether the target's pixels are in the source's colour space.
    """
    kept = []
    jfif: bytes | None = None
    for marker, payload in jpeg_segments(source):
        if marker == 0xE0 and payload.startswith(b"JFIF\0"):
            jfif = payload
        if marker in (0xE0, 0xEE) or not (0xE1 <= marker <= 0xEF or marker == 0xFE):
            continue
        if marker == 0xE2 and payload.startswith((b"MPF\0", _GAIN_MAP_SEGMENT)):
            continue
        if marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0") and not keep_icc:
            continue
        if marker == 0xE1 and payload.startswith(EXIF_HEADER):
            payload = upright_exif(payload, width, height)
        elif marker == 0xE1 and payload.startswith(_XMP_SEGMENT):
            payload = upright_xmp(payload, width, height)
        elif marker == 0xED and payload.startswith(_PHOTOSHOP_SEGMENT):
            start = len(_PHOTOSHOP_SEGMENT)
            payload = payload[:start] + without_thumbnails(payload[start:])
        kept.append(b"\xff" + bytes([marker]) + struct.pack(">H", len(payload) + 2) + payload)
    own, after = b"", 2
    if target.startswith(b"\xff\xe0", 2):
        (length,) = struct.unpack_from(">H", target, 4)
        own, after = target[2 : 4 + length], 4 + length
        if jfif is not None and len(jfif) >= 12 and len(own) >= 16:
            own = own[:11] + jfif[7:12] + own[16:]  # density unit, x and y
    return b"".join([target[:2], own, *kept, memoryview(target)[after:]])
