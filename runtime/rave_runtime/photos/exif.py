"""EXIF as bytes: read and corrected in place, so that whatever else it holds stays untouched.

Re-serialising EXIF moves maker notes, whose inner offsets then point nowhere.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator
from typing import Final

from PIL import Image

_ORIENTATION: Final = 0x0112
_EXIF_IFD: Final = 0x8769
_GPS_IFD: Final = 0x8825
_INTEROP_IFD: Final = 0xA005
DIRECTORIES: Final = (_EXIF_IFD, _GPS_IFD)
"""EXIF's and GPS's own directories."""

_IMAGE_SIZE: Final = (0x0100, 0x0101)
_PIXEL_SIZE: Final = (0xA002, 0xA003)
_THUMBNAIL_OFFSET: Final = 0x0201
_THUMBNAIL_LENGTH: Final = 0x0202
_INTEGERS: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
"""TIFF's types of whole numbers, by number, as `struct` names them."""

TIFF_LAYOUT: Final = frozenset(
    (
        *(254, 255, 256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 280, 281, 282, 283, 284),
        *(292, 293, 296, 317, 318, 319, 320, 322, 323, 324, 325, 330, 332, 338, 339, 347, 529, 530),
        *(531, 532, 700, 33550, 34377, 34675, 37724, _EXIF_IFD, _GPS_IFD),
    )
)
"""Tags of a TIFF that say how its pixels lie, or that are carried another way, or are Photoshop's layers."""

EXIF_HEADER: Final = b"Exif\0\0"


def orientation_of(exif: bytes | None, xmp: bytes | None) -> int:
    """How a picture must be turned, 1 to 8: EXIF's word, or XMP's where EXIF has none."""
    if exif is not None:
        _, data, order = _open_exif(exif)
        with contextlib.suppress(struct.error):
            for tag, kind, where in _first_entries(data, order):
                if tag == _ORIENTATION and kind in _INTEGERS:
                    (value,) = struct.unpack_from(order + _INTEGERS[kind], data, where)
                    return value if value in range(1, 9) else 1
    found = re.search(rb'tiff:Orientation(?:\s*=\s*["\']|>\s*)([1-8])', xmp or b"")
    return int(found[1]) if found else 1


def upright_exif(exif: bytes, width: int, height: int) -> bytes:
    """EXIF for a picture whose orientation has been applied.

    The orientation becomes 1, the recorded pixel size that of the upright picture, and the thumbnail
    is erased. All else keeps its place, so offsets inside maker notes stay right. What is damaged
    stays as it is.

    Args:
        exif: a TIFF structure, with or without the leading `Exif\\0\\0`.
        width: of the upright picture, in pixels.
        height: likewise.
    """
    prefix, data, order = _open_exif(exif)
    with contextlib.suppress(struct.error):
        for tag, kind, where in _first_entries(data, order):
            if tag == _ORIENTATION and kind in _INTEGERS:
                struct.pack_into(order + _INTEGERS[kind], data, where, 1)
            elif tag in _IMAGE_SIZE and kind in (3, 4):
                _set_side(data, order, kind, where, width if tag == _IMAGE_SIZE[0] else height)
            elif tag == _EXIF_IFD and kind in (4, 13):
                (exif_ifd,) = struct.unpack_from(order + "I", data, where)
                _set_pixel_size(data, order, exif_ifd, width, height)
    with contextlib.suppress(struct.error):
        _erase_thumbnail(data, order)
    return prefix + bytes(data)


def without_orientation(exif: bytes) -> bytes:
    """EXIF without its word on the orientation; all else keeps its place.

    The entries behind it move up by one, and the twelve bytes that become free are blank.
    """
    prefix, data, order = _open_exif(exif)
    with contextlib.suppress(struct.error):
        for tag, _, where in list(_first_entries(data, order)):
            if tag == _ORIENTATION:
                (first,) = struct.unpack_from(order + "I", data, 4)
                (count,) = struct.unpack_from(order + "H", data, first)
                start, stop = where - 8, first + 2 + 12 * count + 4
                data[start:stop] = data[start + 12 : stop] + bytes(12)
                struct.pack_into(order + "H", data, first, count - 1)
                break
    return prefix + bytes(data)


def tiff_exif(image: Image.Image) -> bytes | None:
    """The tags of an opened TIFF that describe the photograph rather than the file's layout."""
    tags = image.getexif()
    kept = Image.Exif()
    for tag, value in tags.items():
        if tag not in TIFF_LAYOUT and _can_be_written(tag, value):
            kept[tag] = value
    for directory in DIRECTORIES:
        inner = {tag: value for tag, value in tags.get_ifd(directory).items() if _can_be_written(tag, value)}
        if _INTEROP_IFD in inner:
            inner[_INTEROP_IFD] = tags.get_ifd(_INTEROP_IFD)
        if inner:
            kept.get_ifd(directory).update(inner)
            kept[directory] = inner
    _keep_letters(kept)
    return kept.tobytes() if len(kept) else None


def tags_of(exif: bytes | None) -> Image.Exif:
    """EXIF as tags, for formats that have no place for it as a block."""
    tags = Image.Exif()
    tags.load(exif or b"")
    _keep_letters(tags)
    return tags


def _keep_letters(tags: Image.Exif) -> None:
    """Texts beyond ASCII as bytes: Pillow reads those as Latin-1, whatever they are, and writes `?`."""
    for values in (tags, *(tags.get_ifd(each) for each in DIRECTORIES if each in tags)):
        for tag, value in list(values.items()):
            if isinstance(value, str) and not value.isascii():
                values[tag] = value.encode("latin-1", "replace")


def _can_be_written(tag: int, value: object) -> bool:
    """Whether Pillow, which chooses types by tag, can write a value that a file may have with any type."""
    alone = Image.Exif()
    alone[tag] = value
    try:
        alone.tobytes()
    except Exception:  # whatever a value of another type makes it stumble over
        return False
    return True


def _open_exif(exif: bytes) -> tuple[bytes, bytearray, str]:
    """What stands before the TIFF structure, the structure, and its byte order as `struct` has it."""
    start = 0
    while exif.startswith(EXIF_HEADER, start) and start < 2 * len(EXIF_HEADER):
        start += len(EXIF_HEADER)
    return exif[:start], bytearray(exif[start:]), ">" if exif.startswith(b"MM", start) else "<"


def _first_entries(data: bytearray, order: str) -> Iterator[tuple[int, int, int]]:
    if data.startswith((b"II", b"MM")):
        (first,) = struct.unpack_from(order + "I", data, 4)
        yield from _entries(data, order, first)


def _entries(data: bytearray, order: str, ifd: int) -> Iterator[tuple[int, int, int]]:
    """Tag, type and position of the value field of each whole entry of a TIFF directory."""
    (count,) = struct.unpack_from(order + "H", data, ifd)
    for start in range(ifd + 2, min(ifd + 2 + 12 * count, len(data) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", data, start)
        yield tag, kind, start + 8


def _set_pixel_size(data: bytearray, order: str, ifd: int, width: int, height: int) -> None:
    with contextlib.suppress(struct.error):
        for tag, kind, where in _entries(data, order, ifd):
            if tag in _PIXEL_SIZE and kind in (3, 4):
                _set_side(data, order, kind, where, width if tag == _PIXEL_SIZE[0] else height)


def _set_side(data: bytearray, order: str, kind: int, where: int, pixels: int) -> None:
    if kind == 4 or pixels <= 0xFFFF:
        struct.pack_into(order + _INTEGERS[kind], data, where, pixels)


def _erase_thumbnail(data: bytearray, order: str) -> None:
    if not data.startswith((b"II", b"MM")):
        return
    (first,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, first)
    link = first + 2 + 12 * count
    (second,) = struct.unpack_from(order + "I", data, link)
    if not second:
        return
    struct.pack_into(order + "I", data, link, 0)
    found = {
        tag: struct.unpack_from(order + "I", data, where)[0]
        for tag, _, where in _entries(data, order, second)
        if tag in (_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH)
    }
    start, length = found.get(_THUMBNAIL_OFFSET, 0), found.get(_THUMBNAIL_LENGTH, 0)
    stop = min(start + length, len(data))
    if link + 4 <= start < stop:
        data[start:stop] = bytes(stop - start)
