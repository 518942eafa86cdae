"""Metadata of files that are made of boxes: a JPEG 2000's EXIF and XMP, and how a HEIC is turned.

Source: ISO 15444-1, annex I; ExifTool's JPEG 2000 tags for the user types; ISO 23008-12, 6.5.10 and 6.5.12.
"""

from __future__ import annotations

from typing import Final

from rave_runtime.photos.headers.boxes import boxes, photograph_properties

_EXIF: Final = b"JpgTiffExif->JP2"
_XMP: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""User types of the boxes that hold EXIF and XMP."""


def jp2_blocks(content: bytes) -> tuple[bytes | None, bytes | None]:
    """Returns EXIF and XMP of a JPEG 2000 file, each None where it has none."""
    exif = xmp = None
    for box in boxes(content):
        if box.kind == b"uuid" and content.startswith(_EXIF, box.start):
            exif = exif or content[box.start + 16 : box.stop]
        elif box.kind == b"uuid" and content.startswith(_XMP, box.start):
            xmp = xmp or content[box.start + 16 : box.stop]
    return exif, xmp


def orientation_in_heif(content: bytes, orientation: object) -> int:
    """Returns how the pixels of a HEIC were turned while they were decoded, 1 to 8.

    Decoders turn pixels as the container says. EXIF repeats the turn for programs that ignore the container:
    where the container states none, nothing was turned.

    Args:
        content: the file.
        orientation: the one that its EXIF or XMP states, if any.
    """
    is_turned = any(
        kind == b"imir" or (kind == b"irot" and data[:1] != b"\0")
        for kind, data in photograph_properties(content)
    )
    return orientation if is_turned and isinstance(orientation, int) and 1 <= orientation <= 8 else 1
