"""EXIF, XMP and captions of a camera's raw file, as a developed picture has them.

What describes the sensor and its values stays behind; date, camera, exposure, place, author and the maker's
own notes go along. The raw files of most cameras are TIFF structures. Canon's CR3 holds such structures in
boxes of its format. For Fujifilm's and other files, the JPEG that they hold as a preview is read.

Source: Exif 3.0; the DNG specification 1.7; ExifTool's descriptions of CR3 and RAF.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from rave_runtime.photos.codecs.raw_kind import TIFF_LIKE
from rave_runtime.photos.exif import EXIF_HEADER
from rave_runtime.photos.headers.boxes import Box, boxes, find_box
from rave_runtime.photos.jpeg import XMP_SEGMENT, jpeg_segments
from rave_runtime.photos.metadata.containers import XMP_BOX
from rave_runtime.photos.metadata.directories import (
    EXIF_IFD,
    GPS_IFD,
    INTEROPERABILITY_IFD,
    SHORT,
    SIZES,
    Directory,
    DirectoryReader,
    Value,
    whole_numbers,
    write_block,
)

_KEPT: Final = frozenset(
    (
        *(270, 271, 272, 274, 282, 283, 296, 305, 306, 315, 316, 18246, 18249, 33432, EXIF_IFD, GPS_IFD),
        *range(40091, 40096),
        *range(42032, 42038),
    )
)
"""Tags of the first directory that say something of the photograph rather than of the sensor."""

_XMP: Final = 700
_IPTC: Final = 33723
_COLOUR_SPACE: Final = 0xA001
_GAMMA: Final = 0xA500
_SRGB: Final = 1
_MOVED_NOTE: Final = "the camera maker's own notes were moved: programs may not find all that is in them"

_CANON: Final = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
"""Identifies the box of a CR3 that holds its EXIF: directories as TIFF structures in boxes CMT1 to CMT4."""

_FUJIFILM: Final = b"FUJIFILMCCD-RAW"
_PREVIEW_AT: Final = 84
"""Place in a RAF of the start and the length of its JPEG."""


def raw_metadata(
    content: bytes, preview: Callable[[], bytes | None]
) -> tuple[bytes | None, bytes | None, tuple[str, ...]]:
    """Reads what a raw file says beside its pixels.

    Args:
        content: the file.
        preview: gives the JPEG inside it, or None.

    Returns:
        EXIF from its `Exif\\0\\0` on, not yet upright, with colours stated as sRGB; the XMP packet; notes
        for a user. EXIF and XMP are None where the file has none.
    """
    tree, order, xmp = _tree_of(content, preview)
    tree = {tag: value for tag, value in tree.items() if tag in _KEPT}
    details = tree.get(EXIF_IFD)
    if isinstance(details, dict):
        details.pop(INTEROPERABILITY_IFD, None)
        details.pop(_GAMMA, None)
        details[_COLOUR_SPACE] = whole_numbers(SHORT, [_SRGB], order)
    if not tree:
        return None, xmp, ()
    block, is_note_right = write_block(tree, order)
    return EXIF_HEADER + block, xmp, () if is_note_right else (_MOVED_NOTE,)


def raw_captions(content: bytes) -> bytes | None:
    """Returns the captions in a raw file's first directory, as a DNG has them in IPTC-IIM, or None."""
    reader = DirectoryReader(content if content.startswith(TIFF_LIKE) else b"")
    for tag, kind, count, place in reader.entries(reader.first):
        if tag == _IPTC and count:
            return content[place : place + SIZES[kind] * count]
    return None


def number_in_raw(content: bytes, tag: int) -> float | None:
    """Returns the first ratio that a raw file's first directory has under a tag, or None."""
    if not content.startswith(TIFF_LIKE):
        return None
    reader = DirectoryReader(content)
    for entry_tag, kind, count, place in reader.entries(reader.first):
        if entry_tag == tag and kind in (5, 10) and count:
            above, below = struct.unpack_from(f"{reader.order}2{'I' if kind == 5 else 'i'}", content, place)
            return above / below if below else None
    return None


def _tree_of(content: bytes, preview: Callable[[], bytes | None]) -> tuple[Directory, str, bytes | None]:
    if content.startswith(TIFF_LIKE):
        return _read_structure(content)
    if content.startswith(b"ftypcrx", 4):
        return _read_canon(content)
    if content.startswith(_FUJIFILM) and len(content) >= _PREVIEW_AT + 8:
        start, length = struct.unpack_from(">II", content, _PREVIEW_AT)
        return _read_jpeg(content[start : start + length])
    return _read_jpeg(preview() or b"")


def _read_structure(structure: bytes) -> tuple[Directory, str, bytes | None]:
    reader = DirectoryReader(structure)
    unwanted = {tag for tag, *_ in reader.entries(reader.first)} - _KEPT - {_XMP}
    tree = reader.read(reader.first, skipped=unwanted)
    xmp = tree.pop(_XMP, None)
    return tree, reader.order, (xmp.data or None) if isinstance(xmp, Value) else None


def _read_jpeg(content: bytes) -> tuple[Directory, str, bytes | None]:
    exif = xmp = None
    for marker, payload in jpeg_segments(content):
        if marker == 0xE1 and payload.startswith(EXIF_HEADER):
            exif = exif or payload
        elif marker == 0xE1 and payload.startswith(XMP_SEGMENT):
            xmp = xmp or payload[len(XMP_SEGMENT) :]
    if exif is None:
        return {}, "<", xmp
    tree, order, _ = _read_structure(exif.removeprefix(EXIF_HEADER))
    return tree, order, xmp


def _read_canon(content: bytes) -> tuple[Directory, str, bytes | None]:
    """Reads directory, byte order and XMP of a Canon CR3, whose EXIF lies in boxes."""
    xmp = next(
        (content[box.start + 16 : box.stop] for box in boxes(content) if _is(content, box, XMP_BOX)), None
    )
    movie = find_box(content, b"moov")
    inside = () if movie is None else boxes(content, movie.start, movie.stop)
    exif_box = next((box for box in inside if _is(content, box, _CANON)), None)
    if exif_box is None:
        return {}, "<", xmp
    blocks = {
        box.kind: content[box.start : box.stop] for box in boxes(content, exif_box.start + 16, exif_box.stop)
    }
    tree, order, _ = _read_structure(blocks.get(b"CMT1", b""))
    for kind, tag in ((b"CMT2", EXIF_IFD), (b"CMT4", GPS_IFD)):
        reader = DirectoryReader(blocks.get(kind, b""))
        inner = reader.read(reader.first)
        if inner and reader.order == order:
            tree[tag] = inner
    return tree, order, xmp


def _is(content: bytes, box: Box, identity: bytes) -> bool:
    return box.kind == b"uuid" and content.startswith(identity, box.start)
