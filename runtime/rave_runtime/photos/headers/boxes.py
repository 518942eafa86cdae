"""Boxes, of which AVIF, HEIC and JPEG 2000 files are made, and the properties of their photograph.

Source: ISO/IEC 14496-12 (boxes), 23008-12 (items and properties); ITU-T T.800, annex I (JP2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_MAX_BOXES: Final = 10_000
"""Boxes that are looked at on one level. Photographs have tens; grids of tiles have hundreds."""

_MAX_REFERENCES: Final = 100_000
"""Entries of the tables of items that are looked at."""


class Box(NamedTuple):
    """One box: its type, and where its payload starts and stops."""

    kind: bytes
    start: int
    stop: int


def boxes(content: bytes, start: int = 0, stop: int | None = None) -> Iterator[Box]:
    """Yields the boxes on one level. Ends where a length makes no sense, and after 10,000."""
    stop = len(content) if stop is None else min(stop, len(content))
    for _ in range(_MAX_BOXES):
        if start + 8 > stop:
            return
        length, kind = struct.unpack_from(">I4s", content, start)
        head = 8
        if length == 1 and start + 16 <= stop:
            (length,) = struct.unpack_from(">Q", content, start + 8)
            head = 16
        end = stop if length == 0 else start + length
        if end < start + head:
            return
        yield Box(kind, start + head, min(end, stop))
        start = end


def find_box(content: bytes, *path: bytes, start: int = 0, stop: int | None = None) -> Box | None:
    """Returns the first box along a path of types, or None."""
    inner = None
    for kind in path:
        inner = next((box for box in boxes(content, start, stop) if box.kind == kind), None)
        if inner is None:
            return None
        start, stop = inner.start, inner.stop
    return inner


def meta_boxes(content: bytes) -> dict[bytes, Box]:
    """Returns the boxes of an AVIF's or HEIC's table of items by type; none where there is no table."""
    meta = find_box(content, b"meta")
    return {} if meta is None else {box.kind: box for box in boxes(content, meta.start + 4, meta.stop)}


def primary_item(content: bytes, box: Box) -> tuple[int, int, int]:
    """Returns the primary item that a `pitm` box names, and where its number stands, in how many bytes."""
    start, size = box.start + 4, 4 if content[box.start] else 2
    return int.from_bytes(content[start : start + size]), start, size


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


def references(content: bytes, table: Box) -> Iterator[Reference]:
    """Yields the references of an `iref` box.

    Raises:
        struct.error: it is cut off.
    """
    letter, size = ("I", 4) if content[table.start] else ("H", 2)
    for box in boxes(content, table.start + 4, table.stop):
        source, count = struct.unpack_from(f">{letter}H", content, box.start)
        count = min(count, (box.stop - box.start - size - 2) // size)
        targets = struct.unpack_from(f">{count}{letter}", content, box.start + size + 2)
        yield Reference(box.kind, source, targets, box.start - 4)


def photograph_properties(content: bytes) -> list[tuple[bytes, bytes]]:
    """Returns type and payload of the properties of an AVIF's or HEIC's primary item, in the item's order.

    Where the primary item is made of tiles, the tiles' properties follow its own. A file without a table
    of properties has none.
    """
    try:
        return _properties(content, meta_boxes(content))
    except (struct.error, IndexError):  # cut off
        return []


def photograph_data(content: bytes) -> bytes:
    """Returns the coded bytes of an AVIF's or HEIC's primary item, or of its first tile.

    They are empty where they cannot be found.
    """
    try:
        return _data(content, meta_boxes(content))
    except (struct.error, IndexError):
        return b""


def _data(content: bytes, inner: dict[bytes, Box]) -> bytes:
    """Returns the coded bytes of the photograph's item, or of its first tile."""
    items = _primary_and_tile(content, inner)
    if b"iloc" not in inner or not items:
        return b""
    box = inner[b"iloc"]
    version, sizes = content[box.start], struct.unpack_from(">H", content, box.start + 4)[0]
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    number_bytes = 4 if version == 2 else 2
    position = box.start + 6

    def take(size: int) -> int:
        nonlocal position
        if position + size > box.stop:
            raise IndexError
        position += size
        return int.from_bytes(content[position - size : position], "big")

    for _ in range(min(take(number_bytes), _MAX_REFERENCES)):
        item = take(number_bytes)
        method = take(2) & 15 if version else 0
        take(2)
        base, extents = take(base_size), []
        for _ in range(take(2)):
            take(index_size)
            extents.append((take(offset_size), take(length_size)))
        if item != items[-1] or not extents:
            continue
        start = base + extents[0][0]
        if method == 1 and b"idat" in inner:
            start += inner[b"idat"].start
        elif method:
            return b""
        return content[start : start + extents[0][1]] if extents[0][1] else content[start:]
    return b""


def _primary_and_tile(content: bytes, inner: dict[bytes, Box]) -> list[int]:
    """Returns the primary item and, where it is made of tiles, the first one."""
    if b"pitm" not in inner:
        return []
    primary, _, _ = primary_item(content, inner[b"pitm"])
    named = references(content, inner[b"iref"]) if b"iref" in inner else ()
    tiles = (each.targets for each in named if (each.kind, each.source) == (b"dimg", primary))
    return [primary, *next(tiles, ())[:1]]


def _properties(content: bytes, inner: dict[bytes, Box]) -> list[tuple[bytes, bytes]]:
    """Returns kind and content of the properties that belong to the photograph's item and its tile."""
    items = _primary_and_tile(content, inner)
    if b"iprp" not in inner or not items:
        return []
    iprp = inner[b"iprp"]
    container = find_box(content, b"ipco", start=iprp.start, stop=iprp.stop)
    if container is None:
        return []
    all_properties = list(boxes(content, container.start, container.stop))
    tables = [box for box in boxes(content, iprp.start, iprp.stop) if box.kind == b"ipma"]
    numbers = {item: entry for table in tables for item, entry in _associations(content, table)}
    indices = (index for item in items for index in numbers.get(item, ()))
    properties = [all_properties[index - 1] for index in indices if 0 < index <= len(all_properties)]
    return [(box.kind, content[box.start : box.stop]) for box in properties]


def _associations(content: bytes, table: Box) -> Iterator[tuple[int, list[int]]]:
    """Yields each item, and which properties it has, counted from 1."""
    version, flags = content[table.start], content[table.start + 3]
    (count,) = struct.unpack_from(">I", content, table.start + 4)
    position = table.start + 8
    for _ in range(min(count, _MAX_REFERENCES)):
        (item,) = struct.unpack_from(">I" if version else ">H", content, position)
        position += 4 if version else 2
        property_count = content[position]
        is_wide = bool(flags & 1)
        entries = struct.unpack_from(f">{property_count}{'H' if is_wide else 'B'}", content, position + 1)
        position += 1 + property_count * (2 if is_wide else 1)
        yield item, [entry & (0x7FFF if is_wide else 0x7F) for entry in entries]
        if position >= table.stop:
            return
