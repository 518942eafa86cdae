"""TIFF as a structure: reading its metadata, and writing pixels and metadata as a new one.

Pillow compresses the rows and nothing else. Its own writing goes through libtiff, which refuses EXIF's and
GPS's directories in compressed files (Pillow issue 8529) and gives values the types that it guesses. Here a
photograph's EXIF is the start of the file, byte by byte, so that nothing in it moves; the pixels and the
first directory come behind it.

Source: TIFF 6.0; Adobe's TIFF technical notes for Photoshop; Exif 3.0, 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from rave_runtime.arrays import Pixels
from rave_runtime.errors import PhotoError
from rave_runtime.photos.exif import EXIF_HEADER
from rave_runtime.photos.metadata.credentials import CREDENTIALS_NOTE
from rave_runtime.photos.metadata.directories import (
    BYTE,
    LONG,
    RATIONAL,
    SHORT,
    SIZES,
    UNDEFINED,
    Directory,
    DirectoryReader,
    Value,
    append_directory,
    bytes_of,
    first_number,
    whole_numbers,
    write_block,
)
from rave_runtime.photos.metadata.photoshop import with_turned_resolution, without_thumbnails
from rave_runtime.photos.photo import Blocks
from rave_runtime.photos.tiff.strips import compress_pixels

IPTC: Final = 33723
PHOTOSHOP: Final = 34377
_XMP: Final = 700
_ICC: Final = 34675
_LAYERS: Final = 37724
_C2PA: Final = 52545
_KIND: Final = 254
_PHOTOMETRIC: Final = 262
_ORIENTATION: Final = 274
_PAGE: Final = 297
_RESOLUTION: Final = (282, 283, 296)
_GEOREFERENCE: Final = (33550, 33922, 34264)
"""GeoTIFF's scale, tie points and transformation, which count in stored pixels."""

_LAYOUT: Final = frozenset(
    (
        *(254, 255, *range(256, 260), 262, 263, 264, 265, 266, 273, *range(277, 282), 284),
        *(*range(288, 294), 297, 317, *range(320, 329), 330, *range(332, 337), *range(338, 342), 347),
        *(*range(512, 522), 529, 530, 531, 532, 559),
    )
)
"""Tags that say how pixels lie in the file, or how bright they are; those of a new file are its own."""

_COLOUR: Final = (301, 318, 319)
"""Tags that state colours: transfer function, white point, primaries."""

_REPLACED: Final = _LAYOUT - {_KIND, _PAGE} | {_XMP, _ICC}
"""Tags of an EXIF block that a new TIFF states itself."""

_CONVERTED: Final = (5, 8, 9, 10)
"""Photometric interpretations that are read as sRGB: inks, and three of L*a*b*."""

_MAX_BYTES: Final = 0xFFFFFFFF


def tiff_blocks(content: bytes) -> Blocks:
    """Reads the metadata of a TIFF's first picture, every value with its type and bytes as they are.

    Its EXIF block has every further tag, in the file's byte order.
    """
    reader = DirectoryReader(content)
    present_tags = {tag for tag, _, _, _ in reader.entries(reader.first)}
    tree = reader.read(reader.first, skipped=_LAYOUT - {_KIND, _PHOTOMETRIC, _PAGE} | {_LAYERS, _C2PA})
    icc, xmp = (bytes_of(tree.pop(tag, None)) for tag in (_ICC, _XMP))
    notes = []
    if _LAYERS in present_tags:
        notes.append("its Photoshop layers were left out: only the flattened picture was taken")
    if _C2PA in present_tags:
        notes.append(CREDENTIALS_NOTE)
    photometric = first_number(tree.pop(_PHOTOMETRIC, None), reader.order)
    for tag in _COLOUR if photometric in _CONVERTED else ():
        tree.pop(tag, None)
    if first_number(tree.get(_KIND), reader.order):
        del tree[_KIND]
    if not _is_only_page(tree.get(_PAGE), reader.order):
        tree.pop(_PAGE, None)
    orientation = first_number(tree.get(_ORIENTATION), reader.order) or 1
    if orientation != 1 and any(tag in tree for tag in _GEOREFERENCE):
        for tag in _GEOREFERENCE:
            tree.pop(tag, None)
        notes.append("its GeoTIFF scale and tie points were left out: they count in pixels before turning")
    resources = tree.get(PHOTOSHOP)
    if isinstance(resources, Value):
        new_resources = with_turned_resolution(without_thumbnails(resources.data), orientation)
        if new_resources != resources.data:
            tree[PHOTOSHOP] = Value(UNDEFINED, len(new_resources), new_resources)
    block, is_note_right = write_block(tree, reader.order)
    if not is_note_right:
        notes.append("the camera maker's own notes were moved: programs may not find all that is in them")
    return Blocks(icc, EXIF_HEADER + block if tree else None, xmp, notes=tuple(notes))


def write_tiff(
    pixels: Pixels,
    options: Mapping[str, Any],
    *,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
    resources: bytes | None = None,
    iptc: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """Writes pixels and metadata as a TIFF of one picture.

    Args:
        pixels: [h, w, 1 to 4] uint8 or uint16; grey or colour, with alpha last.
        options: as `tiff_options` of `rave_runtime.photos.tiff.strips` returns them.
        icc_profile: the pixels' colour profile.
        exif: an EXIF block of the upright picture, whose byte order becomes the file's.
        xmp: a packet.
        resources: Photoshop's image resources, for an EXIF block without them.
        iptc: captions as IPTC-IIM has them, for an EXIF block without them.
        dpi: horizontal and vertical resolution, for an EXIF block without one.

    Raises:
        PhotoError: the file would be larger than a TIFF can be.
    """
    out, entries, order = _open_block(exif)
    strips = compress_pixels(pixels, options, order)
    values = {tag: whole_numbers(kind, numbers, order) for tag, (kind, numbers) in strips.tags.items()}
    places = []
    for strip in strips.content:
        out += bytes(len(out) % 2)
        places.append(len(out))
        out += strip
        _check_size(out)
    values[273] = whole_numbers(LONG, places, order)
    values[279] = whole_numbers(LONG, [len(strip) for strip in strips.content], order)
    for tag, kind, data in (
        (_XMP, BYTE, xmp),
        (_ICC, UNDEFINED, icc_profile),
        (PHOTOSHOP, UNDEFINED, resources),
        (IPTC, UNDEFINED, iptc),
    ):
        if data and tag not in entries:
            values[tag] = Value(kind, len(data), data)
    if xmp is not None and _ORIENTATION not in entries:  # Pillow would look for one in XMP
        values[_ORIENTATION] = whole_numbers(SHORT, [1], order)
    if dpi is not None and not any(tag in entries for tag in _RESOLUTION[:2]):
        values |= {tag: _ratio(number, order) for tag, number in zip(_RESOLUTION, dpi, strict=False)}
        values[296] = whole_numbers(SHORT, [2], order)
        entries.pop(296, None)
    struct.pack_into(order + "I", out, 4, append_directory(out, entries, values, order))
    _check_size(out)
    return bytes(out)


def _check_size(out: bytearray) -> None:
    if len(out) > _MAX_BYTES:
        raise PhotoError("cannot be written as TIFF, which holds 4 GB at most: --format png can hold it")


def _open_block(exif: bytes | None) -> tuple[bytearray, dict[int, bytes], str]:
    """Returns an EXIF block as the start of a file, the entries of its first directory, and its order."""
    block = (exif or b"").removeprefix(EXIF_HEADER)
    reader = DirectoryReader(block)
    order = reader.order
    if not block.startswith((b"II*\0", b"MM\0*")) or len(block) < 8:
        return bytearray(b"II*\0" + bytes(4)), {}, "<"
    entries = {}
    for tag, kind, count, place in reader.entries(reader.first):
        if tag not in _REPLACED and tag not in entries:
            is_inline = SIZES[kind] * count <= 4
            value = block[place : place + 4] if is_inline else struct.pack(order + "I", place)
            entries[tag] = struct.pack(order + "HHI", tag, kind, count) + value
    return bytearray(block), entries, order


def _ratio(number: float, order: str) -> Value:
    ratio = Fraction(number).limit_denominator(10_000)
    return Value(RATIONAL, 1, struct.pack(order + "II", ratio.numerator, ratio.denominator))


def _is_only_page(page_number: Value | Directory | None, order: str) -> bool:
    """Tells whether a page number, which is two numbers, says that its file has one page."""
    return isinstance(page_number, Value) and page_number.data == struct.pack(order + "HH", 0, 1)
