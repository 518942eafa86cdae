"""What a photograph's file says beside its pixels, carried from file to file byte by byte.

Re-serialising metadata loses what the library does not know (maker notes, IPTC, extended XMP), so
JPEG segments and PNG chunks are copied as they are. Only what would be wrong afterwards changes: the
orientation, which has been applied to the pixels; thumbnails, which show the old picture; the index
of further pictures behind the first.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Final

from rave_runtime.exif import EXIF_HEADER, upright_exif

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR: Final = (b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_PNG_KEPT: Final = (*_PNG_COLOUR, b"eXIf", b"iTXt", b"tEXt", b"zTXt", b"pHYs", b"tIME")
PNG_PACKED: Final = (b"iCCP", b"iTXt", b"tEXt", b"zTXt")
_XMP_KEYWORD: Final = b"XML:com.adobe.xmp"
_MAX_UNPACKED: Final = 1 << 24
"""Bytes that a packed profile or XMP may unpack to."""

_XMP_SEGMENT: Final = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP_SEGMENT: Final = b"Photoshop 3.0\0"
_PHOTOSHOP_THUMBNAILS: Final = (0x0409, 0x040C)


def upright_xmp(xmp: bytes) -> bytes:
    """XMP whose `tiff:Orientation` is 1 and which has no thumbnail of the old picture."""
    xmp = re.sub(rb'(tiff:Orientation\s*=\s*["\'])\d(["\'])', rb"\g<1>1\g<2>", xmp)
    xmp = re.sub(rb"(<tiff:Orientation>)\s*\d\s*(</tiff:Orientation>)", rb"\g<1>1\g<2>", xmp)
    for name in (b"xmp:Thumbnails>", b"xap:Thumbnails>"):
        start, stop = xmp.find(b"<" + name), xmp.find(b"</" + name)
        if 0 <= start < stop:
            xmp = xmp[:start] + xmp[stop + len(name) + 2 :]
    return xmp


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
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xDA:
            return
        (length,) = struct.unpack_from(">H", content, position + 2)
        yield marker, content[position + 4 : position + 2 + length]
        position += 2 + length


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
        if marker == 0xE2 and payload.startswith(b"MPF\0"):
            continue
        if marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0") and not keep_icc:
            continue
        if marker == 0xE1 and payload.startswith(EXIF_HEADER):
            payload = upright_exif(payload, width, height)
        elif marker == 0xE1 and payload.startswith(_XMP_SEGMENT):
            payload = upright_xmp(payload)
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


def is_lossless_webp(content: bytes) -> bool:
    """Whether a WebP's first picture is coded without loss."""
    position = 12
    while position + 8 <= len(content):
        kind, (length,) = content[position : position + 4], struct.unpack_from("<I", content, position + 4)
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8L"
        position += 8 + (24 - 8 if kind == b"ANMF" else length + length % 2)
    return False


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG: type and data. Stops where the file does."""
    for start, stop in _png_spans(content):
        yield content[start + 4 : start + 8], content[start + 8 : stop - 4]


@dataclass(frozen=True)
class PngBlocks:
    """What is read of a PNG's metadata: each block unpacked, or None."""

    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None


def png_blocks(content: bytes) -> PngBlocks:
    """Profile, EXIF and XMP of a PNG. One that is damaged, or unpacks to over 16 MiB, counts as absent."""
    icc = exif = xmp = None
    for start, stop in _png_spans(content):
        kind = content[start + 4 : start + 8]
        if kind == b"iCCP" and icc is None:
            _, _, packed = content[start + 8 : stop - 4].partition(b"\0")
            icc = _unpack(packed[1:])
        elif kind == b"eXIf" and exif is None:
            exif = content[start + 8 : stop - 4]
        elif kind == b"iTXt" and xmp is None and content.startswith(_XMP_KEYWORD + b"\0", start + 8):
            xmp = _png_xmp(content[start + 8 : stop - 4])
    return PngBlocks(icc, exif, xmp)


def without_chunks(content: bytes, kinds: Container[bytes] = PNG_PACKED) -> bytes:
    """A PNG without the chunks of those kinds, for a decoder that needs the pixels only.

    The usual kinds are those that unpack to any size.
    """
    spans = list(_png_spans(content)) if content.startswith(_PNG_SIGNATURE) else []
    if not any(content[start + 4 : start + 8] in kinds for start, _ in spans):
        return content
    view = memoryview(content)
    kept = [view[start:stop] for start, stop in spans if content[start + 4 : start + 8] not in kinds]
    return b"".join([_PNG_SIGNATURE, *kept, view[spans[-1][1] :]])


def carry_png(source: bytes, target: bytes, width: int, height: int, *, keep_icc: bool) -> bytes:
    """A PNG with another one's colour, text, time, density and EXIF chunks: see `carry_jpeg`."""
    kept = []
    for kind, data in png_chunks(source):
        if kind not in _PNG_KEPT or (kind in _PNG_COLOUR and not keep_icc):
            continue
        if kind == b"eXIf":
            data = upright_exif(data, width, height)
        elif kind == b"iTXt" and data.startswith(_XMP_KEYWORD + b"\0"):
            xmp = _png_xmp(data)
            if xmp is not None and upright_xmp(xmp) != xmp:
                data = _XMP_KEYWORD + bytes(5) + upright_xmp(xmp)
        kept.append(_png_chunk(kind, data))
    after_header = len(_PNG_SIGNATURE) + 25
    return b"".join([target[:after_header], *kept, memoryview(target)[after_header:]])


def _png_spans(content: bytes) -> Iterator[tuple[int, int]]:
    """Where each chunk starts and stops, from its length to its checksum."""
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        yield position, min(position + 12 + length, len(content))
        position += 12 + length


def _png_xmp(data: bytes) -> bytes | None:
    """The text of an iTXt chunk: keyword, flag and method of packing, two texts, each ended by 0."""
    head = len(_XMP_KEYWORD) + 1
    fields = data[head + 2 :].split(b"\0", 2)
    if len(fields) < 3:
        return None
    return _unpack(fields[2]) if data[head] else fields[2]


def _unpack(packed: bytes) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, _MAX_UNPACKED)
    except zlib.error:
        return None
    return data if unpacker.eof else None


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
