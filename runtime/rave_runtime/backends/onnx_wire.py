"""Reads and writes the bytes of an ONNX file field by field, without the onnx package.

ONNX files are messages of Protocol Buffers. This module knows that encoding and nothing about graphs: it
reads the fields of one message at a time, limits how many a file may hold, and writes one field.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

MAX_FIELDS: Final = 500_000
"""A file with more fields than this is refused: the largest exported graphs have some thousand."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES: Final = 10


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: the field's number in its message.
        integer: the value of a number of variable length, otherwise None.
        content: the bytes of a string, a message, packed numbers or a number of fixed size, otherwise empty.
    """

    number: int
    integer: int | None
    content: memoryview


_EMPTY: Final = memoryview(b"")


class WireReader:
    """Reads the messages of one file, and counts their fields."""

    def __init__(self) -> None:
        self._remaining = MAX_FIELDS

    def fields(self, message: memoryview) -> Iterator[Field]:
        """Yields the fields of a message, in the file's order; nested messages are given as bytes.

        Raises:
            ValueError: the bytes are not a message, or the file holds too many fields.
        """
        place, end = 0, len(message)
        while place < end:
            self._remaining -= 1
            if self._remaining < 0:
                raise ValueError(f"it holds more than {MAX_FIELDS} fields")
            key, place = _read_varint(message, place)
            number, kind = key >> 3, key & 7
            if kind == _VARINT:
                value, place = _read_varint(message, place)
                yield Field(number, value, _EMPTY)
                continue
            if kind == _BYTES:
                length, place = _read_varint(message, place)
            elif kind in _FIXED_SIZES:
                length = _FIXED_SIZES[kind]
            else:
                raise ValueError(f"it has a field of the unknown kind {kind}")
            if length > end - place:
                raise ValueError("one of its fields is longer than the file")
            yield Field(number, None, message[place : place + length])
            place += length

    def integers(self, field: Field) -> list[int]:
        """Returns the values of a field of signed 64-bit numbers, packed or single.

        Raises:
            ValueError: the bytes are not such numbers, or the file holds too many fields.
        """
        if field.integer is not None:
            return [_as_signed(field.integer)]
        values, place = [], 0
        while place < len(field.content):
            self._remaining -= 1
            if self._remaining < 0:
                raise ValueError(f"it holds more than {MAX_FIELDS} fields")
            value, place = _read_varint(field.content, place)
            values.append(_as_signed(value))
        return values


def write_field(number: int, value: int | bytes | memoryview) -> bytes:
    """Returns a field as bytes; its value is a number of at least 0, or the bytes of a string or message."""
    if isinstance(value, int):
        return _write_varint(number << 3 | _VARINT) + _write_varint(value)
    return _write_varint(number << 3 | _BYTES) + _write_varint(len(value)) + bytes(value)


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _read_varint(message: memoryview, place: int) -> tuple[int, int]:
    """Returns a number of variable length, and the place after it."""
    value = 0
    for index, byte in enumerate(message[place : place + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, place + index + 1
    raise ValueError("one of its numbers does not end")


def _as_signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
