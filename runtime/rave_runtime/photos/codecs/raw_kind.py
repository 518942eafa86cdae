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
_WIDTH, _HEIGHT, _BITS = 256, 257, 258
_COMPRESSION: Final = 259
_UNCOMPRESSED: Final = 1
_PHOTOMETRIC: Final = 262
_MAKE: Final = 271
_ORIENTATION: Final = 274
_TILES: Final = 324
_PLACES: Final = {273: 279, _TILES: 325}
"""Tags of the places of strips and of tiles, with the tags of their lengths."""

_SAMPLES: Final = 277
_SAMPLE_FORMAT: Final = 339
_FLOATING: Final = 3
_JPEG_XL: Final = 52546
_STRIP_ROWS: Final = 278
_PLANAR: Final = 284
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_PANASONIC_PLACE: Final = 280
"""Where Panasonic's raw files state the place of their pixels. Their length is stated as two bytes a pixel;
the pixels are packed into 1.14 bytes, or into fewer in newer cameras."""
_SINGLE: Final = (
    *(_KIND, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _STRIP_ROWS, _PLANAR),
    *(_TILE_WIDTH, _TILE_HEIGHT, _PANASONIC_PLACE, _SAMPLE_FORMAT, _ORIENTATION),
)
"""Tags whose first value matters here."""

_UNKNOWN: Final = 0xFFFFFFFF
"""A place or length that a maker has not filled in."""

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
    counts: dict[int, int] = field(default_factory=dict)
    tags: set[int] = field(default_factory=set)

    def first(self, tag: int, default: int = 0) -> int:
        values = self.numbers.get(tag)
        return values[0] if values else default


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


def holds_floating_point(content: bytes) -> bool:
    """Tells whether a raw file states a sensor's values as floating-point numbers, as merged DNGs do."""
    return _sensor_has(content, _SAMPLE_FORMAT, _FLOATING)


def holds_jpeg_xl(content: bytes) -> bool:
    """Tells whether a raw file states that a sensor's values are compressed as JPEG XL, as DNG 1.7 allows."""
    return _sensor_has(content, _COMPRESSION, _JPEG_XL)


def _sensor_has(content: bytes, tag: int, value: int) -> bool:
    return content.startswith(TIFF_LIKE) and any(
        facts.first(_PHOTOMETRIC) in _SENSOR and facts.first(tag) == value
        for facts in _directories(io.BytesIO(content))
    )


def states_orientation_zero(content: bytes) -> bool:
    """Tells whether a raw file's first directory has the orientation 0, which stands for none."""
    if not content.startswith(TIFF_LIKE):
        return False
    first = next(_directories(io.BytesIO(content)), _Facts())
    return first.first(_ORIENTATION, 1) == 0


def why_incomplete(content: bytes) -> str | None:
    """Says what a raw file lacks, by its directories; None where it lacks nothing that they tell.

    LibRaw makes a black picture of a DNG whose tiles are missing. Other raw files are asked for the place of
    their last byte only, since makers fill in the rest as they like.
    """
    if not content.startswith(TIFF_LIKE):
        return None
    stop = 0
    directories = list(_directories(io.BytesIO(content)))
    is_dng = any(_DNG_VERSION in facts.tags for facts in directories)
    for facts in directories:
        for places_tag, lengths_tag in _PLACES.items():
            pairs = list(
                zip(facts.numbers.get(places_tag, ()), facts.numbers.get(lengths_tag, ()), strict=False)
            )
            if is_dng and places_tag in facts.tags and (reason := _why_too_few(facts, places_tag, pairs)):
                return reason
            for place, length in pairs:
                if place == _UNKNOWN and len(content) - facts.first(_PANASONIC_PLACE) < length // 8:
                    return "is damaged or truncated: the file ends before the picture does"
            ends = (place + length for place, length in pairs if _UNKNOWN not in (place, length))
            stop = max([stop, *ends])
    if stop > len(content):
        return f"is damaged or truncated: {stop - len(content)} bytes of pixels are missing"
    return None


def _why_too_few(facts: _Facts, places_tag: int, pairs: list[tuple[int, int]]) -> str | None:
    """Says how many of a picture's tiles or strips are missing, or that they are too short; else None."""
    width, height = facts.first(_WIDTH), facts.first(_HEIGHT)
    if not width or not height or facts.counts.get(places_tag, 0) > _MAX_VALUES:
        return None
    if places_tag == _TILES:
        across, down = facts.first(_TILE_WIDTH), facts.first(_TILE_HEIGHT)
        needed = -(-width // across) * -(-height // down) if across and down else 0
    else:
        needed = -(-height // max(1, facts.first(_STRIP_ROWS, height)))
    samples = facts.first(_SAMPLES, 1)
    needed *= samples if facts.first(_PLANAR) == 2 else 1
    present = sum(1 for place, length in pairs if place and length)
    if present < needed:
        parts = "tiles" if places_tag == _TILES else "strips"
        return f"is damaged: {needed - present} of the {needed} {parts} of its picture are missing"
    held_bits, needed_bits = 8 * sum(length for _, length in pairs), width * height * samples
    if facts.first(_COMPRESSION) == _UNCOMPRESSED and held_bits < needed_bits * facts.first(_BITS, 1):
        lacking = (needed_bits * facts.first(_BITS, 1) - held_bits + 7) // 8
        return f"is damaged: {lacking} bytes of pixels are missing"
    return None


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
    number_tags = (*_SINGLE, _INNER, *_PLACES, *_PLACES.values())
    for at in range(0, len(data) - 11, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, at)
        facts.tags.add(tag)
        facts.counts[tag] = number
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
