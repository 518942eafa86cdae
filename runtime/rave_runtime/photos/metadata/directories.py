"""Directories as TIFF and EXIF have them: entries read and written with their types and bytes as they are.

A program that reads a value into an object and writes it again must guess its type, and loses what the guess
does not hold. Here every value stays the bytes that it was, in the byte order that it had.

Source: TIFF 6.0, section 2; BigTIFF as libtiff reads it; Exif 3.0, 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rave_runtime.photos.metadata.maker_notes import move_maker_note

EXIF_IFD: Final = 0x8769
GPS_IFD: Final = 0x8825
INTEROPERABILITY_IFD: Final = 0xA005
MAKER_NOTE: Final = 0x927C

BYTE: Final = 1
SHORT: Final = 3
LONG: Final = 4
RATIONAL: Final = 5
UNDEFINED: Final = 7
_IFD: Final = 13
_LONG8: Final = 16
_SLONG8: Final = 17
_IFD8: Final = 18
SIZES: Final = {
    **dict.fromkeys((BYTE, 2, 6, UNDEFINED), 1),
    **dict.fromkeys((SHORT, 8), 2),
    **dict.fromkeys((LONG, 9, 11, _IFD), 4),
    **dict.fromkeys((RATIONAL, 10, 12, _LONG8, _SLONG8, _IFD8), 8),
}
"""Bytes of one value of each type."""

_NARROW: Final = {_LONG8: LONG, _SLONG8: 9, _IFD8: _IFD}
"""BigTIFF's types, and those that say the same in a TIFF."""

_POINTERS: Final = (EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD)
_MAX_DEPTH: Final = 4
_PINNED_BELOW: Final = 48 << 10
"""Places up to here are kept free for a maker note, so that a block still fits into a JPEG."""


@dataclass(frozen=True)
class Value:
    """The value of one entry.

    Attributes:
        kind: the number of TIFF's type.
        count: how many values of that type it holds.
        data: the values' bytes, in the byte order of the file.
        place: where the bytes stood in the file; None for values that come from no file.
    """

    kind: int
    count: int
    data: bytes
    place: int | None = None


Directory = dict[int, "Value | Directory"]
"""Values by tag, and further directories by the tag that leads to them."""


def bytes_of(value: Value | Directory | None) -> bytes | None:
    """Returns the bytes of a value; None where there is none, or where it is empty or a directory."""
    return (value.data or None) if isinstance(value, Value) else None


def first_number(value: Value | Directory | None, order: str) -> int:
    """Returns the first of a value's whole numbers, in a byte order; 0 where it has none."""
    codes = {BYTE: "B", SHORT: "H", LONG: "I"}
    if not isinstance(value, Value) or value.kind not in codes or not value.count:
        return 0
    (number,) = struct.unpack_from(order + codes[value.kind], value.data)
    return int(number)


def whole_numbers(kind: int, numbers: Sequence[int], order: str) -> Value:
    """Makes a value of whole numbers, whose type is SHORT or LONG, in a byte order."""
    letter = "H" if kind == SHORT else "I"
    return Value(kind, len(numbers), struct.pack(f"{order}{len(numbers)}{letter}", *numbers))


class DirectoryReader:
    """Reads directories of a TIFF, a BigTIFF, or the TIFF structure of an EXIF block.

    Attributes:
        content: the whole file or block.
        order: its byte order as `struct` names it.
        first: where its first directory starts; 0 where the header makes no sense.

    Entries that point out of the file are left out. All values together never have more bytes than the file,
    so that entries that share their bytes cannot fill the memory.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.order = ">" if content.startswith(b"MM") else "<"
        big = content.startswith((b"II+\0", b"MM\0+"))
        self._count, self._word, self._entry = ("Q", "Q", 20) if big else ("H", "I", 12)
        self._bytes_left = len(content)
        self.first = 0
        at = 8 if big else 4
        if content.startswith((b"II", b"MM")) and len(content) >= at + struct.calcsize(self._word):
            self.first = self._unpack(self._word, at)

    def read(self, start: int, skipped: Container[int] = (), depth: int = 0) -> Directory:
        """Reads the directory at a place and those that it leads to, without the tags in `skipped`."""
        directory: Directory = {}
        for tag, kind, count, place in self.entries(start):
            self._bytes_left -= self._entry
            if self._bytes_left < 0:
                break
            if tag in skipped or tag in directory:
                continue
            size = SIZES[kind] * count
            if kind in (_IFD, _IFD8) or (tag in _POINTERS and kind in (LONG, _LONG8)):
                inner = self._unpack("I" if kind in (_IFD, LONG) else "Q", place) if count == 1 else 0
                if depth < _MAX_DEPTH and (inner_directory := self.read(inner, depth=depth + 1)):
                    directory[tag] = inner_directory
                continue
            outer_bytes = size if size > struct.calcsize(self._word) else 0  # small values are in the entry
            if outer_bytes > self._bytes_left:
                continue
            self._bytes_left -= outer_bytes
            value = self._narrowed(Value(kind, count, self.content[place : place + size], place))
            if value is not None:
                directory[tag] = value
        return directory

    def entries(self, start: int) -> Iterator[tuple[int, int, int, int]]:
        """Yields tag, type, count and place of the value of each whole entry whose value lies in the file."""
        width = struct.calcsize(self._count)
        if not 0 < start <= len(self.content) - width:
            return
        number = min(self._unpack(self._count, start), 65535)
        inline = struct.calcsize(self._word)
        for at in range(start + width, start + width + number * self._entry, self._entry):
            if at + self._entry > len(self.content):
                return
            tag, kind = struct.unpack_from(self.order + "HH", self.content, at)
            if kind not in SIZES:
                continue
            count = self._unpack(self._word, at + 4)
            size, place = SIZES[kind] * count, at + 4 + inline
            if size > inline:
                place = self._unpack(self._word, place)
            if place + size <= len(self.content):
                yield tag, kind, count, place

    def _narrowed(self, value: Value) -> Value | None:
        """Returns the value in a type that every TIFF knows; None where a number is too large for that."""
        if value.kind not in _NARROW:
            return value
        sign = "q" if value.kind == _SLONG8 else "Q"
        numbers = struct.unpack(f"{self.order}{value.count}{sign}", value.data)
        try:
            data = struct.pack(f"{self.order}{value.count}{'i' if sign == 'q' else 'I'}", *numbers)
        except struct.error:
            return None
        return replace(value, kind=_NARROW[value.kind], data=data)

    def _unpack(self, code: str, at: int) -> int:
        (number,) = struct.unpack_from(self.order + code, self.content, at)
        return int(number)


def write_block(tree: Mapping[int, Value | Directory], order: str) -> tuple[bytes, bool]:
    """Writes a TIFF structure of that directory and all below it, without the `Exif\\0\\0` before it.

    A maker note keeps its place where that is below `_PINNED_BELOW`, since the offsets inside it usually
    count from the start of the structure. Otherwise it is moved, and the offsets are corrected.

    Returns:
        The structure, and whether the offsets inside the maker note are surely right.
    """
    writer = _BlockWriter(order, _maker_note(tree))
    start = writer.add(tree)
    struct.pack_into(order + "I", writer.out, 4, start)
    return bytes(writer.out), writer.is_note_right


def append_directory(
    out: bytearray, entries: Mapping[int, bytes], values: Mapping[int, Value], order: str
) -> int:
    """Puts a directory behind a structure and returns where it starts.

    Args:
        out: the structure, which grows.
        entries: entries of 12 bytes whose values lie in the structure already, by tag.
        values: further values by tag. They go behind the structure, and the directory behind them.
        order: byte order of the structure.
    """
    all_entries = dict(entries)
    for tag, value in values.items():
        field = value.data.ljust(4, b"\0")
        if len(value.data) > 4:
            out += bytes(len(out) % 2)
            field = struct.pack(order + "I", len(out))
            out += value.data
        all_entries[tag] = struct.pack(order + "HHI", tag, value.kind, value.count) + field
    out += bytes(len(out) % 2)
    start = len(out)
    out += (
        struct.pack(order + "H", len(all_entries))
        + b"".join(all_entries[tag] for tag in sorted(all_entries))
        + bytes(4)
    )
    return start


class _BlockWriter:
    """A structure that grows around a maker note that should lie where it lay."""

    def __init__(self, order: str, note: Value | None) -> None:
        self.out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
        self.is_note_right = True
        self._order = order
        self._note = note
        self._next = len(self.out)
        self._reserved = range(0)
        if note is not None and note.place is not None and len(note.data) > 4:
            place = range(note.place, note.place + len(note.data))
            if self._next <= place.start and place.stop <= _PINNED_BELOW:
                self._reserved = place

    def add(self, tree: Mapping[int, Value | Directory]) -> int:
        """Puts a directory, its values and all below it into free places, and returns where it starts."""
        start = self._take(2 + 12 * len(tree) + 4)
        struct.pack_into(self._order + "H", self.out, start, len(tree))
        for index, tag in enumerate(sorted(tree)):
            value = tree[tag]
            if isinstance(value, dict):
                value = Value(LONG, 1, struct.pack(self._order + "I", self.add(value)))
            field = value.data.ljust(4, b"\0")
            if len(value.data) > 4:
                field = struct.pack(self._order + "I", self._put(value))
            at = start + 2 + 12 * index
            self.out[at : at + 12] = struct.pack(self._order + "HHI", tag, value.kind, value.count) + field
        return start

    def _put(self, value: Value) -> int:
        data = value.data
        if value is self._note and self._reserved:
            start = self._reserved.start
            self._grow(self._reserved.stop)
        else:
            start = self._take(len(data))
            if value is self._note and value.place is not None:
                moved = move_maker_note(data, value.place, start, self._order)
                self.is_note_right = moved is not None
                data = data if moved is None else moved
        self.out[start : start + len(data)] = data
        return start

    def _take(self, size: int) -> int:
        start = self._next + self._next % 2
        if self._reserved and start < self._reserved.stop and start + size > self._reserved.start:
            start = self._reserved.stop + self._reserved.stop % 2
        self._next = start + size
        self._grow(self._next)
        return start

    def _grow(self, size: int) -> None:
        self.out += bytes(max(0, size - len(self.out)))


def _maker_note(tree: Mapping[int, Value | Directory]) -> Value | None:
    inner = tree.get(EXIF_IFD)
    note = inner.get(MAKER_NOTE) if isinstance(inner, dict) else None
    return note if isinstance(note, Value) else None
