"""Pictures for TIFFs, an EXIF block with a value of every type, and the tags that a file holds."""

from __future__ import annotations

import struct
from typing import Any

from rave_runtime.arrays import Pixels
from rave_runtime.photos.metadata.directories import (
    Directory,
    DirectoryReader,
    Value,
    write_block,
)
from tests.runtime.handmade import scene

LOCATED = frozenset((273, 279, 278, 0x8769, 0x8825, 0xA005))
"""Tags whose values say where something lies."""


def tags_of(content: bytes) -> dict[str, tuple[int, int, bytes]]:
    """Type, count and bytes of every entry of a TIFF or EXIF block, by its path of tags."""
    reader = DirectoryReader(content)

    def walk(tree: Directory, path: str) -> dict[str, tuple[int, int, bytes]]:
        found: dict[str, tuple[int, int, bytes]] = {}
        for tag, value in tree.items():
            if isinstance(value, dict):
                found |= walk(value, f"{path}{tag:#06x}/")
            elif tag not in LOCATED:
                found[f"{path}{tag:#06x}"] = (value.kind, value.count, value.data)
        return found

    return walk(reader.read(reader.first), "")


def pixels_of(channels: int, dtype: Any) -> Pixels:
    return scene(channels=channels, dtype=dtype).reshape(40, 56, channels)


def directories(order: str) -> bytes:
    """An EXIF block with EXIF's, GPS's and the interoperability directory, and a value of every type."""

    def value(kind: int, code: str, *numbers: float) -> Value:
        data = struct.pack(order + code, *numbers)
        return Value(kind, len(numbers) // (2 if kind in (5, 10) else 1), data)

    inner: Directory = {
        0x829A: value(5, "II", 1, 60),
        0x8827: value(3, "H", 100),
        0x9003: Value(2, 20, b"2020:01:02 03:04:05\0"),
        0x927C: Value(7, 9, b"no layout"),
        0x9204: value(10, "ii", -1, 3),
        0xA005: {1: Value(2, 4, b"R98\0")},
    }
    gps: Directory = {
        0: Value(1, 4, b"\2\3\0\0"),
        1: Value(2, 2, b"N\0"),
        2: value(5, "IIIIII", 48, 1, 8, 1, 9, 1),
    }
    every = {
        50001 + kind: value(kind, code, *numbers)
        for kind, code, numbers in (
            (1, "3B", (1, 2, 3)),
            (3, "5H", (1, 2, 3, 4, 5)),
            (4, "3I", (1, 2, 1 << 31)),
            (6, "2b", (-1, 2)),
            (8, "3h", (-1, 2, -3)),
            (9, "2i", (-9, 9)),
            (11, "2f", (0.5, -2)),
            (12, "2d", (0.25, 3)),
        )
    }
    # IPTC with type LONG and bytes that no order turns, as Photoshop writes it
    iptc = b"\x1c\2\0\0\2\0\4\x1c\2\x78\0\6A view\x1c\2\x19\0\4alps\0\0"
    iptc = iptc.ljust(-(-len(iptc) // 4) * 4, b"\0")
    tree: Directory = {
        0x010E: Value(2, 10, "© Jürgen".encode()),
        0x010F: Value(2, 5, b"ACME\0"),
        0x0112: value(3, "H", 1),
        0x011A: value(5, "II", 300, 1),
        0x011B: value(5, "II", 300, 1),
        0x0128: value(3, "H", 3),
        33723: Value(4, len(iptc) // 4, iptc),
        33550: value(12, "3d", 0.5, 0.5, 0),
        33922: value(12, "6d", 0, 0, 0, 10, 50, 0),
        0x8769: inner,
        0x8825: gps,
        **every,
    }
    return b"Exif\0\0" + write_block(tree, order)[0]
