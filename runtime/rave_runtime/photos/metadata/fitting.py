"""What of a photograph's metadata fits into a file of another format, and a word on what does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rave_runtime.photos.exif import EXIF_HEADER
from rave_runtime.photos.formats import format_named
from rave_runtime.photos.jpeg import photoshop_resources
from rave_runtime.photos.metadata.directories import (
    EXIF_IFD,
    MAKER_NOTE,
    Directory,
    DirectoryReader,
    Value,
    write_block,
)
from rave_runtime.photos.metadata.photoshop import iptc_of, resource_of_iptc
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.png import png_blocks
from rave_runtime.photos.xmp import without_extension

_IPTC: Final = 33723
_PHOTOSHOP: Final = 34377
_MAX_JPEG_EXIF: Final = 65533
_MAX_JPEG_XMP: Final = 65533 - 29
"""Bytes that fit into a JPEG's one segment of each kind."""

_HOLD_CAPTIONS: Final = ("JPEG", "PNG", "TIFF")


@dataclass(frozen=True)
class Metadata:
    """What is written beside the pixels.

    Attributes:
        exif: an EXIF block from its `Exif\\0\\0` on, or None.
        xmp: a packet, or None.
        resources: Photoshop's image resources with captions and keywords, where EXIF has none; or None.
        iptc: the captions among the resources as IPTC-IIM has them, or None.
        notes: a sentence on each thing that was left out.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    resources: bytes | None = None
    iptc: bytes | None = None
    notes: tuple[str, ...] = ()


def fit_metadata(photo: Photo, format: str) -> Metadata:
    """A photograph's metadata as far as a file of that format has room for it."""
    if not format_named(format).has_metadata:
        has_any = photo.exif or photo.xmp
        note = f"{format} has no room for EXIF and XMP: they were left out"
        return Metadata(notes=(note,) if has_any else ())
    if photo.format == format == "TIFF":
        return Metadata(photo.exif, photo.xmp)
    notes: list[str] = []
    exif, resources = photo.exif, None
    if photo.format == "TIFF":
        exif, resources = _without_captions(photo.exif)
    elif photo.format == "JPEG" and photo.source is not None:
        resources = photoshop_resources(photo.source)
    elif photo.format == "PNG" and photo.source is not None:
        resources = png_blocks(photo.source).resources
    iptc = iptc_of(resources or b"")
    if format not in _HOLD_CAPTIONS:
        if iptc is not None:
            notes.append(f"its IPTC captions were left out: {format} has no place for them")
        resources = iptc = None
    xmp = photo.xmp
    if xmp is not None and (alone := without_extension(xmp)) != xmp:
        xmp = alone
        notes.append("its extended XMP was left out: only JPEG to JPEG keeps it")
    if format == "JPEG":
        if exif is not None and len(exif) > _MAX_JPEG_EXIF:
            exif, note = _shortened(exif)
            notes.append(note)
        if xmp is not None and len(xmp) > _MAX_JPEG_XMP:
            xmp = None
            notes.append(f"its XMP is over the {_MAX_JPEG_XMP} bytes that a JPEG holds: it was left out")
    return Metadata(exif, xmp, resources, iptc, tuple(notes))


def _without_captions(exif: bytes | None) -> tuple[bytes | None, bytes | None]:
    """A TIFF's tags without captions and image resources, and those as image resources."""
    reader = DirectoryReader((exif or b"").removeprefix(EXIF_HEADER))
    tree = reader.read(reader.first)
    resources, iptc = (_bytes_of(tree.pop(tag, None)) for tag in (_PHOTOSHOP, _IPTC))
    if resources is None and iptc is None:
        return exif, None
    if iptc is not None and iptc_of(resources or b"") is None:
        resources = resource_of_iptc(iptc) + (resources or b"")
    block, _ = write_block(tree, reader.order)
    return EXIF_HEADER + block if tree else None, resources


def _shortened(exif: bytes) -> tuple[bytes | None, str]:
    """EXIF that fits into a JPEG: without what makes it too large, the camera maker's own notes first."""
    reader = DirectoryReader(exif.removeprefix(EXIF_HEADER))
    tree = reader.read(reader.first)
    left_out = []
    for _ in range(_MAX_JPEG_EXIF):
        block, _ = write_block(tree, reader.order)
        if len(EXIF_HEADER + block) <= _MAX_JPEG_EXIF or not tree:
            break
        left_out.append(_drop_largest(tree))
    if not tree:
        return None, f"its EXIF is over the {_MAX_JPEG_EXIF} bytes that a JPEG holds: it was left out"
    return EXIF_HEADER + block, (
        f"its EXIF is over the {_MAX_JPEG_EXIF} bytes that a JPEG holds: "
        + (f"{' and '.join(dict.fromkeys(left_out))} were left out" if left_out else "its gaps were closed")
    )


def _drop_largest(tree: Directory) -> str:
    """Takes the camera maker's notes, or else the largest value, out of a tree; returns its name."""
    inner = tree.get(EXIF_IFD)
    if isinstance(inner, dict) and isinstance(inner.get(MAKER_NOTE), Value):
        del inner[MAKER_NOTE]
        return "the camera maker's own notes"
    places = [(directory, tag) for directory in _directories(tree) for tag in directory]
    directory, tag = max(places, key=lambda place: _size(place[0][place[1]]))
    del directory[tag]
    return "its largest tags"


def _directories(tree: Directory) -> list[Directory]:
    below = [inner for value in tree.values() if isinstance(value, dict) for inner in _directories(value)]
    return [tree, *below]


def _size(value: Value | Directory) -> int:
    return len(value.data) if isinstance(value, Value) else 0


def _bytes_of(value: Value | Directory | None) -> bytes | None:
    return (value.data or None) if isinstance(value, Value) else None
