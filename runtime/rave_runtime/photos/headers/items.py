"""The pictures and blocks of an AVIF or HEIC beside its photograph: which there are, and how to get at one.

Decoders give the primary item only. Another item is decoded from a copy of the file that names it as the
primary one.

Source: ISO/IEC 14496-12 and 23008-12 (items, references).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from rave_runtime.photos.headers.boxes import Box, boxes, find_box

_UNKNOWN = b"zzzz"


class Reference(NamedTuple):
    """A reference from one item to others.

    Attributes:
        kind: such as b"auxl" for an auxiliary picture of a photograph.
        source: the item that refers.
        targets: the items to which it refers.
        place: where the kind stands in the file, in bytes.
    """

    kind: bytes
    source: int
    targets: tuple[int, ...]
    place: int


@dataclass(frozen=True)
class Items:
    """The items of a file.

    Attributes:
        primary: the item that is the photograph.
        kinds: the kind of each item, such as b"hvc1" or b"tmap".
        references: the references between them.
    """

    primary: int
    kinds: dict[int, bytes]
    references: tuple[Reference, ...]
    _primary_place: int
    _primary_bytes: int
    _flags: dict[int, int]

    def named_by(self, kind: bytes, source: int) -> tuple[int, ...]:
        """Returns the items to which an item refers with a kind of reference."""
        return next(
            (each.targets for each in self.references if (each.kind, each.source) == (kind, source)), ()
        )

    def naming(self, kind: bytes, target: int) -> list[int]:
        """Returns the items that refer to an item with a kind of reference."""
        return [each.source for each in self.references if each.kind == kind and target in each.targets]

    def with_primary(self, content: bytes, item: int, dropped_kind: bytes) -> bytes:
        """Returns a copy of the file in which another item is the primary one.

        Args:
            content: the file.
            item: the item.
            dropped_kind: the kind of its references that decoders must not follow; b"" drops none.
        """
        copy = bytearray(content)
        start = self._primary_place
        copy[start : start + self._primary_bytes] = item.to_bytes(self._primary_bytes, "big")
        copy[self._flags[item]] &= 0xFE  # clears the flag that hides the item
        for each in self.references:
            if each.kind == dropped_kind and each.source == item:
                copy[each.place : each.place + 4] = _UNKNOWN
        return bytes(copy)


def read_items(content: bytes) -> Items | None:
    """Reads the tables of items of an AVIF or HEIC; None where they are missing or make no sense."""
    meta = find_box(content, b"meta")
    if meta is None:
        return None
    inner = {box.kind: box for box in boxes(content, meta.start + 4, meta.stop)}
    if not {b"pitm", b"iinf", b"iref"} <= inner.keys():
        return None
    try:
        start = inner[b"pitm"].start
        size = 4 if content[start] else 2
        primary = int.from_bytes(content[start + 4 : start + 4 + size], "big")
        entries = list(_entries(content, inner[b"iinf"]))
        references = tuple(_references(content, inner[b"iref"]))
    except (struct.error, IndexError):  # cut off
        return None
    kinds = {number: kind for number, kind, _ in entries}
    flags = {number: place for number, _, place in entries}
    return Items(primary, kinds, references, start + 4, size, flags) if primary in kinds else None


def _entries(content: bytes, table: Box) -> Iterator[tuple[int, bytes, int]]:
    """Yields number and kind of each item, and where its last byte of flags stands."""
    start = table.start + (8 if content[table.start] else 6)
    for box in boxes(content, start, table.stop):
        version = content[box.start]
        if box.kind == b"infe" and version in (2, 3):
            size = 2 if version == 2 else 4
            number = int.from_bytes(content[box.start + 4 : box.start + 4 + size], "big")
            kind = content[box.start + 6 + size : box.start + 10 + size]
            yield number, kind, box.start + 3


def _references(content: bytes, table: Box) -> Iterator[Reference]:
    letter, size = ("I", 4) if content[table.start] else ("H", 2)
    for box in boxes(content, table.start + 4, table.stop):
        source, count = struct.unpack_from(f">{letter}H", content, box.start)
        count = min(count, (box.stop - box.start - size - 2) // size)
        targets = struct.unpack_from(f">{count}{letter}", content, box.start + size + 2)
        yield Reference(box.kind, source, targets, box.start - 4)
