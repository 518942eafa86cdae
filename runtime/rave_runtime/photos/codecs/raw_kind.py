"""Which TIFF structures are camera raw files, by what their directories say of the pixels.

Most cameras write their raw files as a TIFF whose first picture is a small preview. Any of their directories
may show that they are raw: by the pixels of a sensor, or by a maker's compression.

Source: TIFF 6.0; TIFF/EP (ISO 12234-2); the DNG specification 1.7; ExifTool's list of TIFF compressions.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

RAW_ENDINGS: Final = (
    *(".dng", ".3fr", ".ari", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".drf", ".erf"),
    *(".fff", ".gpr", ".iiq", ".k25", ".kdc", ".mdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".ori"),
    *(".pef", ".ptx", ".pxn", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
"""Endings, in lower case, of cameras' raw files."""

RAW_SIGNATURES: Final = (
    (0, (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")),
    (4, (b"ftypcrx",)),
    (6, (b"HEAPCCDR",)),
)
"""Pairs of an offset and the byte strings that can stand there, for raw files unlike a TIFF."""

_KIND: Final = 254
_COMPRESSION: Final = 259
_PHOTOMETRIC: Final = 262
_MAKE: Final = 271
_PLACES: Final = {273: 279, 324: 325}
"""Tags of the places of strips and of tiles, with the tags of their lengths."""

_INNER: Final = 330
_DNG_VERSION: Final = 50706

_SENSOR: Final = (32803, 34892)
"""Photometric interpretations: a mosaic of colour filters, and a sensor's values of all colours."""

_MAKERS: Final = (32767, 32769, 32770, 32772, 34713, 65000, 65535)
"""Compressions of Sony, Epson, Samsung (two), Nikon, Kodak and Pentax."""

_MAX_DIRECTORIES: Final = 24
_MAX_ENTRIES: Final = 1000
_MAX_VALUES: Final = 1 << 16
_SIZES: Final = {3: 2, 4: 4, 13: 4}
"""Bytes of a value of the types that whole numbers have here."""

TIFF_LIKE: Final = (b"II*\0", b"MM\0*", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
"""First bytes of raw files with the structure of a TIFF: those of TIFF, Olympus and Panasonic."""


@dataclass
class _Facts:
    """What one directory says of its picture: the tags that matter here with their whole numbers."""

    numbers: dict[int, list[int]] = field(default_factory=dict)
    tags: set[int] = field(default_factory=set)

    def first(self, tag: int) -> int:
        values = self.numbers.get(tag)
        return values[0] if values else 0


def is_raw_tiff(file: BinaryIO) -> bool:
    """Tells whether a file that begins like a TIFF is a camera's raw file. Only its directories are read."""
    file.seek(0)
    head = file.read(32)
    if head[8:10] == b"CR" or b"IIII" in head[4:] or b"MMMM" in head[4:]:  # Canon, Phase One
        return True
    for at, facts in enumerate(_directories(file)):
        if _DNG_VERSION in facts.tags or facts.first(_PHOTOMETRIC) in _SENSOR:
            return True
        if facts.first(_COMPRESSION) in _MAKERS:
            return True
        if at == 0 and facts.first(_KIND) & 1 and _INNER in facts.tags and _MAKE in facts.tags:
            return True
    return False


def missing_bytes(content: bytes) -> int:
    """Returns by how many bytes a raw file is shorter than its directories say; 0 where it is whole."""
    if not content.startswith(TIFF_LIKE):
        return 0
    stop = 0
    for facts in _directories(io.BytesIO(content)):
        for places, lengths in _PLACES.items():
            pairs = zip(facts.numbers.get(places, ()), facts.numbers.get(lengths, ()), strict=False)
            stop = max([stop, *(place + length for place, length in pairs)])
    return max(0, stop - len(content))


def _directories(file: BinaryIO) -> Iterator[_Facts]:
    """Yields the directories of a file's chain, each before those inside it."""
    file.seek(0)
    head = file.read(8)
    if len(head) < 8:
        return
    order = ">" if head.startswith(b"MM") else "<"
    (first,) = struct.unpack_from(order + "I", head, 4)
    to_visit = [first]
    seen: set[int] = set()
    while to_visit and len(seen) < _MAX_DIRECTORIES:
        start = to_visit.pop()
        if start == 0 or start in seen:
            continue
        seen.add(start)
        facts, following = _read(file, start, order)
        yield facts
        to_visit += [following, *reversed(facts.numbers.get(_INNER, [])[:_MAX_DIRECTORIES])]


def _read(file: BinaryIO, start: int, order: str) -> tuple[_Facts, int]:
    """Reads one directory, and where the next one starts."""
    facts = _Facts()
    file.seek(start)
    data = file.read(2)
    count = struct.unpack(order + "H", data)[0] if len(data) == 2 else 0
    data = file.read(12 * min(count, _MAX_ENTRIES) + 4)
    number_tags = (_KIND, _COMPRESSION, _PHOTOMETRIC, _INNER, *_PLACES, *_PLACES.values())
    for at in range(0, len(data) - 11, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, at)
        facts.tags.add(tag)
        if tag in number_tags and kind in _SIZES and number <= _MAX_VALUES:
            facts.numbers[tag] = _values(file, data[at + 8 : at + 12], kind, number, order)
    following = data[12 * count : 12 * count + 4] if count <= _MAX_ENTRIES else b""
    return facts, struct.unpack(order + "I", following)[0] if len(following) == 4 else 0


def _values(file: BinaryIO, field: bytes, kind: int, number: int, order: str) -> list[int]:
    size = _SIZES[kind] * number
    if size > 4:
        file.seek(struct.unpack(order + "I", field)[0])
        field = file.read(size)
    whole = len(field[:size]) // _SIZES[kind]
    return list(struct.unpack_from(f"{order}{whole}{'H' if kind == 3 else 'I'}", field))
