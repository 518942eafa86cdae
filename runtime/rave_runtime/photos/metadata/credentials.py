"""Content Credentials (C2PA): a signed statement on a file's bytes, which is wrong for a changed picture.

Source: C2PA Technical Specification 2.1, 11.3 and A.3 (embedding); ISO 19566-5 (JUMBF); ISO 19566-1, A.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

CREDENTIALS_NOTE: Final = "its Content Credentials (C2PA) were left out: they vouch for the unchanged picture"

_BOX_HEAD: Final = 8
"""Bytes before a box in a JPEG's APP11 segment: `JP`, the box's number, the segment's number."""

_ISO_USER_TYPE: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
"""The user type of the box that holds credentials in AVIF and HEIC."""


def credential_boxes(payloads: Iterable[bytes]) -> frozenset[bytes]:
    """Returns the numbers of those JUMBF boxes in a JPEG's APP11 segments that hold credentials."""
    return frozenset(
        payload[2:4]
        for payload in payloads
        if payload.startswith(b"JP") and payload[4:8] == b"\0\0\0\1" and _is_credential(payload[_BOX_HEAD:])
    )


def has_credentials(format: str, content: bytes) -> bool:
    """Tells whether a PNG, WebP, AVIF or HEIC holds credentials."""
    if format == "PNG":
        return _has_chunk(content, 8, ">", b"caBX")
    if format == "WEBP":
        return _has_chunk(content, 12, "<", b"C2PA")
    if format in ("AVIF", "HEIF"):
        return content.find(b"uuid" + _ISO_USER_TYPE) >= 0
    return False


def _is_credential(box: bytes) -> bool:
    """Tells whether a box, or its beginning, is a JUMBF superbox whose description is labelled `c2pa`."""
    is_described = box[4:8] == b"jumb" and box[12:16] == b"jumd"
    return is_described and (box.startswith(b"c2pa", 16) or box.startswith(b"c2pa\0", 33))


def _has_chunk(content: bytes, start: int, order: str, kind: bytes) -> bool:
    """Tells whether a PNG or RIFF file has a chunk of that kind."""
    while start + 8 <= len(content):
        if order == ">":
            (length,) = struct.unpack_from(">I", content, start)
            if content[start + 4 : start + 8] == kind:
                return True
            start += 12 + length
        else:
            (length,) = struct.unpack_from("<I", content, start + 4)
            if content[start : start + 4] == kind:
                return True
            start += 8 + length + length % 2
    return False
