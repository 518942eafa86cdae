"""A JPEG, and boxes of HEIF to put behind or inside a picture."""

from __future__ import annotations

import struct

from tests.runtime.zoo.animal import RGB, save

JPEG = save(RGB, "JPEG")


def heif_box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data
