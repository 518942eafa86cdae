"""Interlaced PNG of 16 bits, read as the seven pictures that it is made of.

imagecodecs reads it whole as well, but libpng then prints a warning on standard error, which nothing stops.

Source: PNG specification, third edition, 8.1 (passes) and 10 (compression).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.errors import PhotoError
from rave_runtime.photos.png import PASSES, SAMPLES, SIGNATURE, chunks, make_chunk

_INTERLACED_AT: Final = 28
"""Place of the byte that says whether a PNG is interlaced."""

_DEEP: Final = 16


def is_interlaced(png: bytes) -> bool:
    """Tells whether the pixels of a PNG stand in seven passes."""
    return png[_INTERLACED_AT : _INTERLACED_AT + 1] == b"\1"


def read_interlaced(png: bytes, decode: Callable[[bytes], NDArray[Any]]) -> NDArray[Any]:
    """Reads an interlaced PNG of 16 bits.

    Args:
        png: the file.
        decode: reads a PNG that is not interlaced, as [h, w] or [h, w, c] uint16.

    Raises:
        PhotoError: pixels are missing.
    """
    width, height, _, colour = struct.unpack_from(">IIBB", png, 16)
    pixel_bytes = SAMPLES[colour] * _DEEP // 8
    expected = width * height * pixel_bytes + 7 * height
    packed = b"".join(data for kind, data in chunks(png) if kind == b"IDAT")
    rows_left = memoryview(zlib.decompressobj().decompress(packed, expected))
    pixels: NDArray[Any] | None = None
    for top, left, down, across in PASSES:
        wide, high = -(-(width - left) // across), -(-(height - top) // down)
        if wide <= 0 or high <= 0:
            continue
        size = high * (1 + wide * pixel_bytes)
        if len(rows_left) < size:
            raise PhotoError("is damaged or truncated: pixels are missing")
        header = struct.pack(">IIBBBBB", wide, high, _DEEP, colour, 0, 0, 0)
        body = make_chunk(b"IHDR", header) + make_chunk(b"IDAT", zlib.compress(rows_left[:size], 0))
        part = decode(SIGNATURE + body + make_chunk(b"IEND", b""))
        rows_left = rows_left[size:]
        if pixels is None:
            pixels = np.empty((height, width, *part.shape[2:]), part.dtype)
        pixels[top::down, left::across] = part
    assert pixels is not None, "the first pass has the pixel at the top left"
    return pixels
