"""The chunks of a WebP, and the quantiser of a lossy one, out of the header of its VP8 frame.

Source: RFC 9649 (chunks); RFC 6386, 7 (boolean entropy decoder), 9.2 to 9.6 and 19.2 (frame header).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_EVEN: Final = 128
"""Probability, in 256ths, of the bits of plain numbers."""

_HEADER_BYTES: Final = 10
_MAX_CHUNKS: Final = 100_000
"""Chunks of a WebP that are looked at; animations have some for each frame."""

_FRAME_BYTES: Final = 16
"""Bytes of a frame of an animation before the chunks inside it."""


def webp_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields type, start and stop of the data of a WebP's chunks, also of those in an animation's frames."""
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(content):
            return
        kind, length = struct.unpack_from("<4sI", content, position)
        yield kind, position + 8, position + 8 + length
        position += 8 + (_FRAME_BYTES if kind == b"ANMF" else length + length % 2)


def webp_frame(content: bytes) -> tuple[bytes, bytes] | None:
    """Returns type (`VP8 ` or `VP8L`) and beginning of a WebP's first picture; None where there is none."""
    frames = (each for each in webp_chunks(content) if each[0] in (b"VP8 ", b"VP8L"))
    return next(((kind, content[start : min(stop, start + 4096)]) for kind, start, stop in frames), None)


def webp_quantiser(content: bytes) -> int | None:
    """Returns the index of a lossy WebP's quantiser, 0 (best) to 127; None for other files."""
    frame = webp_frame(content)
    if frame is None or frame[0] != b"VP8 ":
        return None
    data = frame[1]
    if len(data) < _HEADER_BYTES + 2 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return None
    bits = _Decoder(data[_HEADER_BYTES:])
    bits.read(2)
    if bits.read(1):
        _skip_segments(bits)
    bits.read(10)
    if bits.read(1) and bits.read(1):
        for _ in range(8):
            _skip_signed(bits, 6)
    bits.read(2)
    return bits.read(7)


def _skip_segments(bits: _Decoder) -> None:
    has_map, has_values = bits.read(1), bits.read(1)
    if has_values:
        bits.read(1)
        for width in (*[7] * 4, *[6] * 4):
            _skip_signed(bits, width)
    if has_map:
        for _ in range(3):
            if bits.read(1):
                bits.read(8)


def _skip_signed(bits: _Decoder, width: int) -> None:
    if bits.read(1):
        bits.read(width + 1)


class _Decoder:
    """VP8's boolean decoder, for numbers whose bits are as likely 0 as 1."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = 2
        self._value = int.from_bytes(data[:2].ljust(2, b"\0"), "big")
        self._range = 255
        self._shift_count = 0

    def read(self, count: int) -> int:
        """Reads a number of that many bits, the highest first."""
        number = 0
        for _ in range(count):
            number = number << 1 | self._bit()
        return number

    def _bit(self) -> int:
        """Decodes one bit of even probability (RFC 6386, section 7)."""
        split = 1 + ((self._range - 1) * _EVEN >> 8)
        bit = int(self._value >= split << 8)
        if bit:
            self._range -= split
            self._value -= split << 8
        else:
            self._range = split
        while self._range < 128:
            self._value <<= 1
            self._range <<= 1
            self._shift_count += 1
            if self._shift_count == 8:
                self._shift_count = 0
                if self._next < len(self._data):
                    self._value |= self._data[self._next]
                self._next += 1
        return bit
