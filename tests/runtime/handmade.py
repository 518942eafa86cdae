"""Picture files built byte by byte: layouts that no library at hand writes, and lies."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, step of rows, step of columns of each pass."""

_LETTERS = {1: "B", 3: "H", 4: "I", 11: "f", 12: "d"}
"""TIFF's types as `struct` names them."""


def scene(height: int = 40, width: int = 56, channels: int = 3, dtype: Any = np.uint8) -> NDArray[Any]:
    """Smooth, and different in every corner: [h, w, c], or [h, w] for one channel."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    planes = [0.1 + 0.8 * x, 0.9 - 0.7 * y, 0.2 + 0.6 * x * y, 0.3 + 0.5 * (x + y) / 2][:channels]
    top = np.iinfo(dtype).max
    values = np.stack(planes, 2) * top
    return np.round(values[..., 0] if channels == 1 else values).astype(dtype)


def png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    pixels: NDArray[Any],
    colour: int,
    bits: int = 8,
    *,
    before: bytes = b"",
    interlaced: bool = False,
    size: tuple[int, int] | None = None,
) -> bytes:
    """A PNG of [h, w] or [h, w, c] values; `before` goes in front of the pixels, `size` is a lie."""
    height, width = pixels.shape[:2]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    raw = b""
    for top, left, rows, columns in passes:
        part = pixels[top::rows, left::columns]
        if part.size:
            raw += b"".join(b"\0" + _png_row(row, bits) for row in part)
    stated = size or (width, height)
    header = struct.pack(">IIBBBBB", *stated, bits, colour, 0, 0, int(interlaced))
    body = png_chunk(b"IHDR", header) + before + png_chunk(b"IDAT", zlib.compress(raw))
    return PNG_SIGNATURE + body + png_chunk(b"IEND", b"")


def _png_row(row: NDArray[Any], bits: int) -> bytes:
    if bits == 16:
        return row.astype(">u2").tobytes()
    if bits == 8:
        return row.astype(np.uint8).tobytes()
    each = (row.astype(np.uint8)[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(each.ravel()).tobytes()


def tiff(
    tags: dict[int, tuple[int, Any]],
    pieces: list[bytes],
    order: str = "<",
    *,
    tiled: bool = False,
    next_page: int = 0,
) -> bytes:
    """A TIFF of those tags (type and value or values) and strips, or tiles."""
    offsets, counts = (324, 325) if tiled else (273, 279)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    places = [0] * len(pieces)
    content = b""
    for _ in range(2):  # the second time with offsets known
        entries = {offsets: (4, places), counts: (4, [len(piece) for piece in pieces])} | tags
        where = 8 + 2 + 12 * len(entries) + 4
        directory, beyond = struct.pack(order + "H", len(entries)), b""
        for tag in sorted(entries):
            kind, value = entries[tag]
            values = [value] if isinstance(value, int | float | bytes) else list(value)
            if isinstance(value, bytes):
                data, count = value, len(value)
            else:
                data, count = struct.pack(f"{order}{len(values)}{_LETTERS[kind]}", *values), len(values)
            if len(data) <= 4:
                field = data.ljust(4, b"\0")
            else:
                field = struct.pack(order + "I", where + len(beyond))
                beyond += data + b"\0" * (len(data) % 2)
            directory += struct.pack(order + "HHI", tag, kind, count) + field
        content = head + directory + struct.pack(order + "I", next_page) + beyond
        places = [len(content) + sum(map(len, pieces[:i])) for i in range(len(pieces))]
    return content + b"".join(pieces)


def tiff_of(pixels: NDArray[Any], order: str = "<", **extra: Any) -> bytes:
    """An uncompressed TIFF of [h, w] or [h, w, c], uint8 or uint16."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    bits = pixels.dtype.itemsize * 8
    tags = {
        256: (4, width),
        257: (4, height),
        258: (3, [bits] * channels),
        259: (3, 1),
        262: (3, 2 if channels >= 3 else 1),
        277: (3, channels),
        278: (4, height),
    }
    if channels in (2, 4):
        tags[338] = (3, 2)
    stored = pixels.astype(np.dtype(f"{order}u{pixels.dtype.itemsize}"))
    return tiff(tags | extra.get("tags", {}), [stored.tobytes()], order)


def exif(
    entries: dict[int, tuple[int, int]], order: str = "<", inner: bytes = b"", thumbnail: bytes = b""
) -> bytes:
    """An EXIF block: whole-number entries (type, value), EXIF's own directory, and a thumbnail.

    `inner` is that directory from its count on; offsets in it count from the start of the block's TIFF.
    """
    entries = dict(entries)
    first = 8
    inner_at = first + 2 + 12 * (len(entries) + bool(inner)) + 4
    if inner:
        entries[0x8769] = (4, inner_at)
    second = inner_at + len(inner)
    body = struct.pack(order + "H", len(entries))
    for tag in sorted(entries):
        kind, value = entries[tag]
        field = struct.pack(order + {1: "B", 3: "H", 4: "I", 9: "i"}[kind], value).ljust(4, b"\0")
        body += struct.pack(order + "HHI", tag, kind, 1) + field
    body += struct.pack(order + "I", second if thumbnail else 0) + inner
    if thumbnail:
        place = second + 2 + 24 + 4
        body += struct.pack(order + "H", 2)
        body += struct.pack(order + "HHII", 0x0201, 4, 1, place) + struct.pack(
            order + "HHII", 0x0202, 4, 1, len(thumbnail)
        )
        body += struct.pack(order + "I", 0) + thumbnail
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first)
    return b"Exif\0\0" + head + body


def inner_exif(width: int, height: int, maker_note: bytes, at: int, order: str = "<") -> bytes:
    """EXIF's own directory, placed at `at`: pixel size and a maker note."""
    note_at = at + 2 + 3 * 12 + 4
    entries = struct.pack(order + "HHII", 0x927C, 7, len(maker_note), note_at)
    entries += struct.pack(order + "HHII", 0xA002, 4, 1, width) + struct.pack(
        order + "HHII", 0xA003, 4, 1, height
    )
    return struct.pack(order + "H", 3) + entries + struct.pack(order + "I", 0) + maker_note


def jpeg_with(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with further segments (marker, payload) behind its start."""
    added = b"".join(
        b"\xff" + bytes([marker]) + struct.pack(">H", len(payload) + 2) + payload
        for marker, payload in segments
    )
    return jpeg[:2] + added + jpeg[2:]
