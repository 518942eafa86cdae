"""A camera maker's own block inside EXIF, moved to another place.

Most makers write a directory whose offsets count from the start of the TIFF structure around it, so that
they point nowhere once the block lies elsewhere. Others count from the start of their own block, which may
lie anywhere. The offsets themselves show which way it is: they must all point into the block.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

_HEADS: Final = (0, 6, 8, 10, 12, 14, 16, 18, 20)
"""Bytes that makers write before their directory, such as `SONY DSC ` with three zeros, or `Panasonic`."""

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of one value of each type."""

_MAX_ENTRIES: Final = 400
"""Entries of a maker's directory: the longest known have about 200."""


class _Outside(NamedTuple):
    """A value that lies outside its entry: where its offset stands, the offset, and its length."""

    at: int
    offset: int
    size: int


def move_maker_note(note: bytes, old: int, new: int, order: str) -> bytes | None:
    """Corrects a maker note for another place in the structure around it.

    Args:
        note: its bytes.
        old: where it lay, counted from the start of the TIFF structure.
        new: where it will lie.
        order: byte order of the structure as `struct` names it; the note may have the other one.

    Returns:
        The note with offsets that are right there; None where its layout is unknown, so that they may be
        wrong.
    """
    if old == new or note.startswith((b"II*\0", b"MM\0*"), 10) or not any(note):
        return note
    for head in _HEADS:
        for each in (order, "<" if order == ">" else ">"):
            outside_values = _read_directory(note, head, each)
            if outside_values is None:
                continue
            if all(old <= value.offset <= old + len(note) - value.size for value in outside_values):
                return _with_offsets(note, outside_values, new - old, old, each)
            for start in (0, head):
                if all(value.offset + value.size <= len(note) - start for value in outside_values):
                    return note
    return None


def _read_directory(note: bytes, head: int, order: str) -> list[_Outside] | None:
    """Returns the values outside their entries of a directory at that place; None where there can be none."""
    if head + 2 > len(note):
        return None
    (count,) = struct.unpack_from(order + "H", note, head)
    if not 0 < count <= _MAX_ENTRIES or head + 2 + 12 * count > len(note):
        return None
    outside_values = []
    for at in range(head + 2, head + 2 + 12 * count, 12):
        _, kind, number, offset = struct.unpack_from(order + "HHII", note, at)
        if kind not in _SIZES:
            return None
        if (size := _SIZES[kind] * number) > 4:
            outside_values.append(_Outside(at + 8, offset, size))
    return outside_values


def _with_offsets(note: bytes, outside_values: list[_Outside], shift: int, old: int, order: str) -> bytes:
    moved = bytearray(note)
    for value in outside_values:
        struct.pack_into(order + "I", moved, value.at, value.offset + shift)
    foot = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", old)
    if moved.endswith(foot):  # Canon notes there where the note was written
        struct.pack_into(order + "I", moved, len(moved) - 4, old + shift)
    return bytes(moved)
