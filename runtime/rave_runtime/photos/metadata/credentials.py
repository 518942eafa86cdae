"""Content Credentials (C2PA): a signed statement on a file's bytes, which is wrong for a changed picture.

Source: C2PA Technical Specification 2.1, 11.3 and A.3 (embedding); ISO 19566-5 (JUMBF); ISO 19566-1, A.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

CREDENTIALS_NOTE: Final = "its Content Credentials (C2PA) were left out: they vouch for the unchanged picture"

_BOX_HEAD: Final = 8
"""Bytes before a box in a JPEG's APP11 segment: `JP`, the box's number, the segment's number."""


def credential_boxes(payloads: Iterable[bytes]) -> frozenset[bytes]:
    """Returns the numbers of those JUMBF boxes in a JPEG's APP11 segments that hold credentials."""
    return frozenset(
        payload[2:4]
        for payload in payloads
        if payload.startswith(b"JP") and payload[4:8] == b"\0\0\0\1" and _is_credential(payload[_BOX_HEAD:])
    )


def _is_credential(box: bytes) -> bool:
    """Tells whether a box, or its beginning, is a JUMBF superbox whose description is labelled `c2pa`."""
    is_described = box[4:8] == b"jumb" and box[12:16] == b"jumd"
    return is_described and (box.startswith(b"c2pa", 16) or box.startswith(b"c2pa\0", 33))
