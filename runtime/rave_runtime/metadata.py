"""What a photograph's file says beside its pixels, carried from file to file byte by byte.

Re-serialising metadata loses what the library does not know (maker notes, IPTC, extended XMP), so
JPEG segments and PNG chunks are copied as they are. Only what would be wrong afterwards changes: the
orientation, which has been applied to the pixels; the thumbnail, which shows the old picture; the
index of further pictures behind the first.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final

from PIL import Image

_ORIENTATION: Final = 0x0112
_EXIF_IFD: Final = 0x8769
_GPS_IFD: Final = 0x8825
_PIXEL_SIZE: Final = (0xA002, 0xA003)
_THUMBNAIL_OFFSET: Final = 0x0201
_THUMBNAIL_LENGTH: Final = 0x0202

_TIFF_LAYOUT: Final = frozenset(
    (
        *(254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 280, 281, 282, 283, 284),
        *(292, 293, 296, 317, 318, 319, 320, 322, 323, 324, 325, 330, 332, 338, 339, 347, 529, 530),
        *(531, 532, 700, 33550, 34377, 34675, _EXIF_IFD, _GPS_IFD),
    )
)
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT: Final = frozenset(
    (b"iCCP", b"eXIf", b"iTXt", b"tEXt", b"zTXt", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"tIME")
)


def upright_exif(exif: bytes, width: int, height: int) -> bytes:
    """EXIF for a picture whose orientation has been applied.

    The orientation becomes 1, the recorded pixel size that of the upright picture, and the thumbnail
    is erased. All else keeps its place, so offsets inside maker notes stay right. Data that is no
    EXIF comes back unchanged.

    Args:
        exif: a TIFF structure, with or without the leading `Exif\\0\\0`.
        width: of the upright picture, in pixels.
        height: likewise.
    """
    prefix = 6 if exif.startswith(b"Exif\0\0") else 0
    data = bytearray(exif[prefix:])
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        return exif
    try:
        (first,) = struct.unpack_from(order + "I", data, 4)
        for tag, kind, where in _entries(data, order, first):
            if tag == _ORIENTATION and kind == 3:
                struct.pack_into(order + "H", data, where, 1)
            elif tag == _EXIF_IFD and kind == 4:
                (exif_ifd,) = struct.unpack_from(order + "I", data, where)
                _set_pixel_size(data, order, exif_ifd, width, height)
        _erase_thumbnail(data, order, first)
    except struct.error:
        return exif  # damaged: hand it on as it came
    return exif[:prefix] + bytes(data)


def upright_xmp(xmp: bytes) -> bytes:
    """XMP whose `tiff:Orientation` is 1."""
    attribute = re.sub(rb'(tiff:Orientation\s*=\s*["\'])\d(["\'])', rb"\g<1>1\g<2>", xmp)
    return re.sub(rb"(<tiff:Orientation>)\s*\d\s*(</tiff:Orientation>)", rb"\g<1>1\g<2>", attribute)


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
        if marker == 0xE1 and payload.startswith(b"Exif\0\0"):
            payload = upright_exif(payload, width, height)
        elif marker == 0xE1 and payload.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            payload = upright_xmp(payload)
        kept.append(b"\xff" + bytes([marker]) + struct.pack(">H", len(payload) + 2) + payload)
    head = bytearray(target[:2])
    rest = target[2:]
    if rest[:2] == b"\xff\xe0":
        (length,) = struct.unpack_from(">H", rest, 2)
        own = bytearray(rest[: 2 + length])
        if jfif is not None and len(jfif) >= 12 and len(own) >= 16:
            own[11:16] = jfif[7:12]  # density unit, x and y
        head += own
        rest = rest[2 + length :]
    return bytes(head) + b"".join(kept) + rest


def is_lossless_webp(content: bytes) -> bool:
    """Whether a WebP's first picture is coded without loss."""
    position = 12
    while position + 8 <= len(content):
        kind, (length,) = content[position : position + 4], struct.unpack_from("<I", content, position + 4)
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8L"
        position += 8 + (24 - 8 if kind == b"ANMF" else length + length % 2)
    return False


def tiff_exif(image: Image.Image) -> bytes | None:
    """The tags of an opened TIFF that describe the photograph rather than the file's layout."""
    tags = image.getexif()
    kept = Image.Exif()
    for tag, value in tags.items():
        if tag not in _TIFF_LAYOUT:
            kept[tag] = value
    for directory in (_EXIF_IFD, _GPS_IFD):
        inner = tags.get_ifd(directory)
        if inner:
            kept.get_ifd(directory).update(inner)
    return kept.tobytes() if len(kept) else None


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG: type and data. Stops where the file does."""
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        yield content[position + 4 : position + 8], content[position + 8 : position + 8 + length]
        position += 12 + length


def carry_png(source: bytes, target: bytes, width: int, height: int, *, keep_icc: bool) -> bytes:
    """A PNG with another one's colour, text, time, density and EXIF chunks: see `carry_jpeg`."""
    colour = (b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP")
    kept = []
    for kind, data in png_chunks(source):
        if kind not in _PNG_KEPT or (kind in colour and not keep_icc):
            continue
        if kind == b"eXIf":
            data = upright_exif(data, width, height)
        elif kind == b"iTXt" and data.startswith(b"XML:com.adobe.xmp\0"):
            data = upright_xmp(data)
        kept.append(_png_chunk(kind, data))
    after_header = len(_PNG_SIGNATURE) + 25
    return target[:after_header] + b"".join(kept) + target[after_header:]


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _entries(data: bytearray, order: str, ifd: int) -> Iterator[tuple[int, int, int]]:
    """Tag, type and position of the value field of each entry of a TIFF directory."""
    (count,) = struct.unpack_from(order + "H", data, ifd)
    for i in range(count):
        tag, kind = struct.unpack_from(order + "HH", data, ifd + 2 + 12 * i)
        yield tag, kind, ifd + 2 + 12 * i + 8


def _set_pixel_size(data: bytearray, order: str, ifd: int, width: int, height: int) -> None:
    for tag, kind, where in _entries(data, order, ifd):
        if tag in _PIXEL_SIZE and kind in (3, 4):
            value = width if tag == _PIXEL_SIZE[0] else height
            if kind == 4 or value <= 0xFFFF:
                struct.pack_into(order + ("H" if kind == 3 else "I"), data, where, value)


def _erase_thumbnail(data: bytearray, order: str, first: int) -> None:
    (count,) = struct.unpack_from(order + "H", data, first)
    link = first + 2 + 12 * count
    (second,) = struct.unpack_from(order + "I", data, link)
    if not second:
        return
    found = {
        tag: struct.unpack_from(order + "I", data, where)[0]
        for tag, _, where in _entries(data, order, second)
        if tag in (_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH)
    }
    start, length = found.get(_THUMBNAIL_OFFSET, 0), found.get(_THUMBNAIL_LENGTH, 0)
    stop = min(start + length, len(data))
    if 8 <= start < stop:
        data[start:stop] = bytes(stop - start)
    struct.pack_into(order + "I", data, link, 0)
