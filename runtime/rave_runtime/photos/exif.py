"""EXIF as bytes: read and corrected in place, so that whatever else it holds stays untouched.

Re-serialising EXIF moves maker notes, whose inner offsets then point nowhere.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Final

from rave_runtime.photos.metadata.directories import EXIF_IFD
from rave_runtime.photos.metadata.geometry import Turn, stored_size
from rave_runtime.photos.metadata.regions import turn_subject
from rave_runtime.photos.xmp import orientation_in_xmp, upright_xmp

_ORIENTATION: Final = 0x0112
_IMAGE_SIZE: Final = (0x0100, 0x0101)
_PIXEL_SIZE: Final = (0xA002, 0xA003)
_SUBJECTS: Final = (0x9214, 0xA214)
"""Tags of the subject's area and location, in pixels of the stored picture."""

_RESOLUTIONS: Final = ((0x011A, 0x011B), (0xA20E, 0xA20F))
"""Tags of the resolution across and down: of the picture, and of the sensor."""

_THUMBNAIL_OFFSET: Final = 0x0201
_THUMBNAIL_LENGTH: Final = 0x0202
_INTEGERS: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
"""TIFF's types of whole numbers, by number, as `struct` names them."""

EXIF_HEADER: Final = b"Exif\0\0"


def orientation_of(exif: bytes | None, xmp: bytes | None) -> int:
    """Returns how a picture must be turned, 1 to 8, as EXIF says, or XMP where EXIF says nothing."""
    if exif is not None:
        _, data, order = _open_exif(exif)
        with contextlib.suppress(struct.error):
            for tag, kind, where in _first_entries(data, order):
                if tag == _ORIENTATION and kind in _INTEGERS:
                    (value,) = struct.unpack_from(order + _INTEGERS[kind], data, where)
                    return value if value in range(1, 9) else 1
    return (orientation_in_xmp(xmp) if xmp else None) or 1


def upright_exif(exif: bytes, width: int, height: int, orientation: int = 1) -> bytes:
    """Corrects EXIF for a picture whose orientation has been applied.

    The orientation becomes 1, the recorded pixel size that of the upright picture, resolutions and the place
    of the subject turn with the pixels, and the thumbnail is erased. All else keeps its place, so offsets
    inside maker notes stay right. What is damaged stays as it is.

    Args:
        exif: a TIFF structure, with or without the leading `Exif\\0\\0`.
        width: the width of the upright picture, in pixels.
        height: the height of the upright picture, in pixels.
        orientation: how the picture was stored, 1 to 8.
    """
    prefix, data, order = _open_exif(exif)
    exif_ifd: int | None = None
    with contextlib.suppress(struct.error):
        for tag, kind, where in _first_entries(data, order):
            if tag == _ORIENTATION and kind in _INTEGERS:
                struct.pack_into(order + _INTEGERS[kind], data, where, 1)
            elif tag in _IMAGE_SIZE and kind in (3, 4):
                _set_side(data, order, kind, where, width if tag == _IMAGE_SIZE[0] else height)
            elif tag == EXIF_IFD and kind in (4, 13) and exif_ifd is None:  # thousands would take hours
                (exif_ifd,) = struct.unpack_from(order + "I", data, where)
                _set_pixel_size(data, order, exif_ifd, width, height)
                if orientation != 1:
                    _turn_directory(data, order, exif_ifd, stored_size(orientation, width, height))
    if orientation != 1:
        with contextlib.suppress(struct.error):
            (first,) = struct.unpack_from(order + "I", data, 4)
            _turn_directory(data, order, first, stored_size(orientation, width, height))
    with contextlib.suppress(struct.error):
        _erase_thumbnail(data, order)
    return prefix + bytes(data)


def upright_metadata(
    exif: bytes | None, xmp: bytes | None, width: int, height: int, orientation: int
) -> tuple[bytes | None, bytes | None, tuple[str, ...]]:
    """Returns what `upright_exif` and `upright_xmp` make of both, and a note on XMP that was left out."""
    packet = upright_xmp(xmp, width, height, orientation) if xmp else None
    notes = ("its XMP is damaged and was left out: it could not be turned with the picture",)
    upright = upright_exif(exif, width, height, orientation) if exif else None
    return upright, packet, notes if xmp and packet is None else ()


def without_orientation(exif: bytes) -> bytes:
    """Takes the orientation out of EXIF; all else keeps its place.

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


def avif_exif(image: object) -> bytes | None:
    """Returns the EXIF of an opened AVIF as its file has it, or None where Pillow does not give it.

    Where EXIF and the container differ on the orientation, Pillow goes by the container, as the standard
    says, but writes EXIF anew: letters beyond ASCII are lost, and maker notes move.
    """
    try:
        decoder_info = image._decoder.get_info()  # type: ignore[attr-defined]
    except Exception:  # whatever another version of Pillow has there
        return None
    exif = decoder_info[4] if isinstance(decoder_info, tuple) and len(decoder_info) == 7 else None
    return exif if isinstance(exif, bytes) and exif else None


def _open_exif(exif: bytes) -> tuple[bytes, bytearray, str]:
    """Returns what stands before the TIFF structure, the structure, and its byte order for `struct`."""
    start = 0
    while exif.startswith(EXIF_HEADER, start) and start < 2 * len(EXIF_HEADER):
        start += len(EXIF_HEADER)
    return exif[:start], bytearray(exif[start:]), ">" if exif.startswith(b"MM", start) else "<"


def _first_entries(data: bytearray, order: str) -> Iterator[tuple[int, int, int]]:
    if data.startswith((b"II", b"MM")):
        (first,) = struct.unpack_from(order + "I", data, 4)
        yield from _entries(data, order, first)


def _entries(data: bytearray, order: str, ifd: int) -> Iterator[tuple[int, int, int]]:
    """Yields tag, type and position of the value field of each whole entry of a TIFF directory."""
    (count,) = struct.unpack_from(order + "H", data, ifd)
    for start in range(ifd + 2, min(ifd + 2 + 12 * count, len(data) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", data, start)
        yield tag, kind, start + 8


def _set_pixel_size(data: bytearray, order: str, ifd: int, width: int, height: int) -> None:
    with contextlib.suppress(struct.error):
        for tag, kind, where in _entries(data, order, ifd):
            if tag in _PIXEL_SIZE and kind in (3, 4):
                _set_side(data, order, kind, where, width if tag == _PIXEL_SIZE[0] else height)


def _turn_directory(data: bytearray, order: str, ifd: int, turn: Turn) -> None:
    """Turns the places and resolutions in a directory."""
    _turn_subjects(data, order, ifd, turn)
    if not turn.swaps_sides:
        return
    with contextlib.suppress(struct.error):
        places = {tag: where for tag, _, where in _entries(data, order, ifd)}
        for across, down in _RESOLUTIONS:
            if across in places and down in places:
                first, second = (slice(places[tag] - 6, places[tag] + 4) for tag in (across, down))
                data[first], data[second] = data[second], data[first]


def _turn_subjects(data: bytearray, order: str, ifd: int, turn: Turn) -> None:
    """Turns the subject's area and location in a directory."""
    with contextlib.suppress(struct.error):
        for tag, kind, where in _entries(data, order, ifd):
            (count,) = struct.unpack_from(order + "I", data, where - 4)
            if tag not in _SUBJECTS or kind not in (3, 4) or not 2 <= count <= 4:
                continue
            code = f"{order}{count}{_INTEGERS[kind]}"
            if struct.calcsize(code) > 4:
                (where,) = struct.unpack_from(order + "I", data, where)
            values = turn_subject(list(struct.unpack_from(code, data, where)), turn)
            struct.pack_into(code, data, where, *(round(value) for value in values))


def _set_side(data: bytearray, order: str, kind: int, where: int, pixels: int) -> None:
    if kind == 4 or pixels <= 0xFFFF:
        struct.pack_into(order + _INTEGERS[kind], data, where, pixels)


def _erase_thumbnail(data: bytearray, order: str) -> None:
    """Unlinks the second directory of an EXIF block and overwrites the thumbnail's bytes with zeros.

    Programs that moved EXIF without its offsets let the thumbnail's point at other data, which stay.
    """
    if not data.startswith((b"II", b"MM")):
        return
    (first,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, first)
    link = first + 2 + 12 * count
    (second,) = struct.unpack_from(order + "I", data, link)
    if not second:
        return
    struct.pack_into(order + "I", data, link, 0)
    numbers = {
        tag: struct.unpack_from(order + "I", data, where)[0]
        for tag, _, where in _entries(data, order, second)
        if tag in (_THUMBNAIL_OFFSET, _THUMBNAIL_LENGTH)
    }
    start, length = numbers.get(_THUMBNAIL_OFFSET, 0), numbers.get(_THUMBNAIL_LENGTH, 0)
    stop = min(start + length, len(data))
    if link + 4 <= start < stop and data.startswith(b"\xff\xd8", start):
        data[start:stop] = bytes(stop - start)
