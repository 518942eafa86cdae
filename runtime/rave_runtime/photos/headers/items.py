"""The pictures and blocks of an AVIF or HEIC beside its photograph: which there are, and how to get at one.

Decoders give the primary item only. Another item is decoded from a copy of the file that names it as the
primary one.

Source: ISO/IEC 14496-12 and 23008-12 (items, references).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from rave_runtime.photos.headers.boxes import Box, Reference, boxes, meta_boxes, primary_item, references

_UNKNOWN = b"zzzz"


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
    inner = meta_boxes(content)
    if not {b"pitm", b"iinf", b"iref"} <= inner.keys():
        return None
    try:
        primary, place, size = primary_item(content, inner[b"pitm"])
        entries = list(_entries(content, inner[b"iinf"]))
        named = tuple(references(content, inner[b"iref"]))
    except (struct.error, IndexError):  # cut off
        return None
    kinds = {number: kind for number, kind, _ in entries}
    flags = {number: place for number, _, place in entries}
    return Items(primary, kinds, named, place, size, flags) if primary in kinds else None


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
