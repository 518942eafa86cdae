"""An EXIF block with a maker note and a thumbnail, and pictures to carry metadata between."""

from __future__ import annotations

import io
import struct

from PIL import Image

from tests.runtime.handmade import exif, inner_exif, scene

XMP = b"http://ns.adobe.com/xap/1.0/\0"
NOTE = b"MakerNote with offsets: " + bytes(range(256))
THUMBNAIL = b"\xff\xd8 the old picture \xff\xd9"


def jpeg(height: int = 40, width: int = 56, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scene(height, width)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def photo_exif(order: str = "<", orientation: int = 6) -> bytes:
    inner = inner_exif(56, 40, NOTE, 8 + 2 + 12 * 2 + 4, order)
    return exif({0x0112: (3, orientation)}, order, inner, THUMBNAIL)


def resource(number: int, data: bytes, name: bytes = b"") -> bytes:
    title = bytes([len(name)]) + name
    head = b"8BIM" + struct.pack(">H", number) + title + bytes(len(title) % 2)
    return head + struct.pack(">I", len(data)) + data + bytes(len(data) % 2)
