"""Fitting a photograph's metadata into a file of another format, with notes on what does not fit."""

from __future__ import annotations

from typing import Final, NamedTuple

from rave_runtime.photos.exif import EXIF_HEADER
from rave_runtime.photos.formats import format_named
from rave_runtime.photos.jpeg import jpeg_segments, photoshop_resources
from rave_runtime.photos.metadata.directories import (
    EXIF_IFD,
    MAKER_NOTE,
    Directory,
    DirectoryReader,
    Value,
    bytes_of,
    write_block,
)
from rave_runtime.photos.metadata.photoshop import iptc_of, resource_of_iptc, with_turned_resolution
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.png import png_blocks, png_texts
from rave_runtime.photos.xmp import without_extension

_IPTC: Final = 33723
_PHOTOSHOP: Final = 34377
_MAX_JPEG_EXIF: Final = 65533
_MAX_JPEG_COMMENT: Final = 65533
MAX_JPEG_XMP: Final = 65533 - 29
"""Most bytes of EXIF, comment and XMP that fit into the one segment that a JPEG has for each."""

_HOLD_COMMENTS: Final = ("JPEG", "PNG")
_HOLD_CAPTIONS: Final = ("JPEG", "PNG", "TIFF")


class Metadata(NamedTuple):
    """What is written beside the pixels.

    Attributes:
        exif: an EXIF block from its `Exif\\0\\0` on, or None.
        xmp: a packet, or None.
        resources: Photoshop's image resources with captions and keywords, where EXIF has none; or None.
        iptc: the captions among the resources as IPTC-IIM has them, or None.
        comment: what a JPEG's or PNG's comment says, or None.
        notes: a sentence on each thing that was left out.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    resources: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    notes: tuple[str, ...] = ()


def fit_metadata(photo: Photo, format: str) -> Metadata:
    """Chooses the part of a photograph's metadata that a file of that format can hold."""
    if photo.format == format == "TIFF":
        return Metadata(photo.exif, photo.xmp)
    notes: list[str] = []
    exif, resources = _captions_apart(photo)
    iptc = iptc_of(resources or b"")
    comment, texts = _texts_of(photo)
    if not format_named(format).has_metadata:
        held = {"EXIF": exif, "XMP": photo.xmp, "IPTC captions": iptc, "comments": comment, "texts": texts}
        return Metadata(notes=_note_no_room(format, [name for name, value in held.items() if value]))
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
            exif, left_out = _shortened(exif)
            if left_out:
                size = f"its EXIF is over the {_MAX_JPEG_EXIF} bytes that a JPEG holds"
                notes.append(f"{size}: {left_out} left out")
        xmp = _without_padding(xmp) if xmp is not None and len(xmp) > MAX_JPEG_XMP else xmp
        if xmp is not None and len(xmp) > MAX_JPEG_XMP:
            xmp = None
            notes.append(f"its XMP is over the {MAX_JPEG_XMP} bytes that a JPEG holds: it was left out")
        if comment is not None and len(comment) > _MAX_JPEG_COMMENT:
            comment = None
            notes.append(
                f"its comment is over the {_MAX_JPEG_COMMENT} bytes that a JPEG holds: it was left out"
            )
    if comment is not None and format not in _HOLD_COMMENTS:
        comment = None
        notes.append(f"its comment was left out: {format} has no place for it")
    if texts:
        notes.append(f"its texts ({', '.join(texts)}) were left out: only PNG to PNG keeps them")
    return Metadata(exif, xmp, resources, iptc, comment, tuple(notes))


def _note_no_room(format: str, names: list[str]) -> tuple[str, ...]:
    """Returns the note that a format has no room for what is named, or none where nothing is."""
    if not names:
        return ()
    joined = " and ".join([*filter(None, [", ".join(names[:-1])]), names[-1]])
    verb = "was" if names in (["EXIF"], ["XMP"]) else "were"
    return (f"its {joined} {verb} left out: {format} has no room for metadata",)


def _texts_of(photo: Photo) -> tuple[bytes | None, list[str]]:
    """Returns the comment of a JPEG or PNG, as UTF-8, and the names of a PNG's other texts."""
    if photo.source is None or photo.format not in ("JPEG", "PNG"):
        return None, []
    if photo.format == "JPEG":
        comments = [payload for marker, payload in jpeg_segments(photo.source) if marker == 0xFE]
        return b"\n".join(map(_as_utf8, comments)) or None, []
    texts = png_texts(photo.source)
    return texts.pop("Comment", None), [name for name in texts if not name.startswith("date:")]


def _as_utf8(comment: bytes) -> bytes:
    """Returns a JPEG's comment, whose encoding is stated nowhere, as UTF-8: what is not that is Latin-1."""
    try:
        comment.decode()
    except UnicodeDecodeError:
        return comment.decode("latin-1").encode()
    return comment


def _captions_apart(photo: Photo) -> tuple[bytes | None, bytes | None]:
    """Returns EXIF without captions and image resources, and those, upright, as image resources."""
    if photo.format == "TIFF":
        return _without_captions(photo.exif)
    resources = None
    if photo.format == "JPEG" and photo.source is not None:
        resources = photoshop_resources(photo.source)
    elif photo.format == "PNG" and photo.source is not None:
        resources = png_blocks(photo.source).captions
    elif photo.iptc is not None:
        resources = resource_of_iptc(photo.iptc)
    return photo.exif, None if resources is None else with_turned_resolution(resources, photo.orientation)


def _without_captions(exif: bytes | None) -> tuple[bytes | None, bytes | None]:
    """Returns a TIFF's tags without captions and image resources, and those as image resources."""
    reader = DirectoryReader((exif or b"").removeprefix(EXIF_HEADER))
    tree = reader.read(reader.first)
    resources, iptc = (bytes_of(tree.pop(tag, None)) for tag in (_PHOTOSHOP, _IPTC))
    if resources is None and iptc is None:
        return exif, None
    if iptc is not None and iptc_of(resources or b"") is None:
        resources = resource_of_iptc(iptc) + (resources or b"")
    block, _ = write_block(tree, reader.order)
    return EXIF_HEADER + block if tree else None, resources


def _without_padding(xmp: bytes) -> bytes:
    """Takes out the blanks that a packet keeps for changes in place."""
    body, end, rest = xmp.rpartition(b"<?xpacket end")
    return body.rstrip() + end + rest


def _shortened(exif: bytes) -> tuple[bytes | None, str]:
    """Makes EXIF fit into a JPEG, and returns what had to be left out for that, with its verb.

    The camera maker's own notes go first, then the largest values: date, camera and exposure are small.
    """
    reader = DirectoryReader(exif.removeprefix(EXIF_HEADER))
    tree = reader.read(reader.first)
    room = _MAX_JPEG_EXIF - len(EXIF_HEADER)
    if len(block := write_block(tree, reader.order)[0]) <= room:  # an erased thumbnail had left a gap
        return (EXIF_HEADER + block, "") if tree else (None, "it was")
    names = []
    inner = tree.get(EXIF_IFD)
    if isinstance(inner, dict) and inner.pop(MAKER_NOTE, None) is not None:
        names.append("the camera maker's own notes")
        block, _ = write_block(tree, reader.order)
    if len(block) > room:
        names.append("its largest tags")
        excess = len(block) - room
        places = [(directory, tag) for directory in _directories(tree) for tag in directory]
        for directory, tag in sorted(places, key=lambda place: -_size(place[0][place[1]])):
            if excess <= 0:
                break
            excess -= 12 + _size(directory.pop(tag))
        block, _ = write_block(tree, reader.order)
    return EXIF_HEADER + block, f"{' and '.join(names)} were"


def _directories(tree: Directory) -> list[Directory]:
    below = [inner for value in tree.values() if isinstance(value, dict) for inner in _directories(value)]
    return [tree, *below]


def _size(value: Value | Directory) -> int:
    """Returns the bytes that a value takes outside of its entry; a directory counts as none."""
    return len(value.data) if isinstance(value, Value) and len(value.data) > 4 else 0
