"""Boxes, of which HEIC, AVIF and JPEG 2000 files are made, and the metadata of a JPEG 2000 in them.

Source: ISO 14496-12, 4.2; ISO 15444-1, annex I; ExifTool's JPEG 2000 tags for the user types.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_EXIF: Final = b"JpgTiffExif->JP2"
_XMP: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""User types of the boxes that hold EXIF and XMP."""


def boxes(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields the kind of each box of a file, and where its data start and stop."""
    position = 0
    while position + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        head = 8
        if length == 1 and position + 16 <= len(content):
            (length,) = struct.unpack_from(">Q", content, position + 8)
            head = 16
        stop = len(content) if length == 0 else position + length
        if stop < position + head:
            return
        yield kind, position + head, min(stop, len(content))
        position = stop


def jp2_blocks(content: bytes) -> tuple[bytes | None, bytes | None]:
    """Returns EXIF and XMP of a JPEG 2000 file, each None where it has none."""
    exif = xmp = None
    for kind, start, stop in boxes(content):
        if kind == b"uuid" and content.startswith(_EXIF, start):
            exif = exif or content[start + 16 : stop]
        elif kind == b"uuid" and content.startswith(_XMP, start):
            xmp = xmp or content[start + 16 : stop]
    return exif, xmp
