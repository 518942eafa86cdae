"""Metadata in boxes and blocks: of JPEG 2000, GIF and WebP, and how a HEIC is turned.

Source: ISO 15444-1, annex I; ExifTool's JPEG 2000 tags for the user types; XMP specification, part 3, 1.1.2
(GIF); ISO 23008-12, 6.5.10 and 6.5.12.
"""

from __future__ import annotations

from typing import Final

from rave_runtime.photos.headers.boxes import boxes, photograph_properties
from rave_runtime.photos.headers.vp8 import webp_chunks

_EXIF: Final = b"JpgTiffExif->JP2"
XMP_BOX: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_IPTC: Final = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
"""User types of the boxes that hold EXIF, XMP, and captions as IPTC-IIM has them."""

_GIF_XMP: Final = b"\x21\xff\x0bXMP DataXMP"
_GIF_TRAILER: Final = bytes((1, *range(255, -1, -1)))
"""What stands behind a packet in a GIF, before the 0 that ends every block.

The packet is not cut into pieces as blocks of a GIF are. Whoever passes over it as if it were takes some of
its letters for lengths of pieces, and falls into this row, every byte of which leads to its end.
"""


def jp2_blocks(content: bytes) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Returns EXIF, XMP and captions of a JPEG 2000 file, each None where it has none."""
    exif = xmp = iptc = None
    for box in boxes(content):
        if box.kind == b"uuid" and content.startswith(_EXIF, box.start):
            exif = exif or content[box.start + 16 : box.stop]
        elif box.kind == b"uuid" and content.startswith(XMP_BOX, box.start):
            xmp = xmp or content[box.start + 16 : box.stop]
        elif box.kind == b"uuid" and content.startswith(_IPTC, box.start):
            iptc = iptc or content[box.start + 16 : box.stop]
    return exif, xmp, iptc or None


def gif_xmp(content: bytes) -> bytes | None:
    """Returns the packet of a GIF; None where it has none, or where the end of it is missing."""
    start = content.find(_GIF_XMP)
    stop = content.find(_GIF_TRAILER, start)
    return content[start + len(_GIF_XMP) : stop] or None if 0 <= start < stop else None


def webp_blocks(content: bytes) -> tuple[bytes | None, bytes | None]:
    """Returns EXIF and XMP of a WebP, each None where it has none.

    Decoders give them only where the file's first chunk announces them; some programs add them without.
    """
    found: dict[bytes, bytes] = {}
    for kind, start, stop in webp_chunks(content):
        if kind in (b"EXIF", b"XMP "):
            found.setdefault(kind, content[start:stop])
    return found.get(b"EXIF"), found.get(b"XMP ")


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
