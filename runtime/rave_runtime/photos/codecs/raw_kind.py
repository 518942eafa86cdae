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
WIDTH, HEIGHT, BITS = 256, 257, 258
COMPRESSION: Final = 259
UNCOMPRESSED: Final = 1
_PHOTOMETRIC: Final = 262
_MAKE: Final = 271
_ORIENTATION: Final = 274
TILES: Final = 324
PLACES: Final = {273: 279, TILES: 325}
"""Tags of the places of strips and of tiles, with the tags of their lengths."""

SAMPLES: Final = 277
_SAMPLE_FORMAT: Final = 339
_FLOATING: Final = 3
JPEG_XL: Final = 52546
LOSSY_JPEG: Final = 34892
STRIP_ROWS: Final = 278
_PLANAR: Final = 284
TILE_WIDTH, TILE_HEIGHT = 322, 323
ROWS_INTERLEAVED: Final = 50975
COLUMNS_INTERLEAVED: Final = 52547
_PANASONIC_PLACE: Final = 280
"""Where Panasonic's raw files state the place of their pixels. Their length is stated as two bytes a pixel;
the pixels are packed into 1.14 bytes, or into fewer in newer cameras."""
_SINGLE: Final = (
    *(_KIND, WIDTH, HEIGHT, BITS, COMPRESSION, _PHOTOMETRIC, SAMPLES, STRIP_ROWS, _PLANAR),
    *(TILE_WIDTH, TILE_HEIGHT, _PANASONIC_PLACE, _SAMPLE_FORMAT, _ORIENTATION),
    *(ROWS_INTERLEAVED, COLUMNS_INTERLEAVED),
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
class RawDirectory:
    """What one directory says of its picture: the tags that matter here with their whole numbers.

    Attributes:
        order: of bytes, as `struct` writes it.
        numbers: the values of each tag that matters.
        counts: how many values each tag has.
        entries: where in the file each tag's entry begins.
    """

    order: str = "<"
    numbers: dict[int, list[int]] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    entries: dict[int, int] = field(default_factory=dict)

    def first(self, tag: int, default: int = 0) -> int:
        """Returns the first value of a tag, or the default where there is none."""
        values = self.numbers.get(tag)
        return values[0] if values else default


def is_raw_tiff(file: BinaryIO) -> bool:
    """Tells whether a file that begins like a TIFF is a camera's raw file. Only its directories are read."""
    file.seek(0)
    head = file.read(32)
    if head[8:10] == b"CR" or b"IIII" in head[4:] or b"MMMM" in head[4:]:  # Canon, Phase One
        return True
    for at, facts in enumerate(directories(file)):
        if _DNG_VERSION in facts.entries or facts.first(_PHOTOMETRIC) in _SENSOR:
            return True
        if facts.first(COMPRESSION) in _MAKERS:
            return True
        if at == 0 and facts.first(_KIND) & 1 and _INNER in facts.entries and _MAKE in facts.entries:
            return True
    return False


def holds_floating_point(content: bytes) -> bool:
    """Tells whether a raw file states a sensor's values as floating-point numbers, as merged DNGs do."""
    return content.startswith(TIFF_LIKE) and any(
        facts.first(_PHOTOMETRIC) in _SENSOR and facts.first(_SAMPLE_FORMAT) == _FLOATING
        for facts in directories(io.BytesIO(content))
    )


def sensor_picture(file: BinaryIO) -> RawDirectory | None:
    """Returns the directory of the sensor's values in full size, as DNGs have it, or None."""
    file.seek(0)
    if not file.read(4).startswith(TIFF_LIKE):
        return None
    return next(
        (
            facts
            for facts in directories(file)
            if facts.first(_PHOTOMETRIC) in _SENSOR and facts.first(_KIND) == 0
        ),
        None,
    )


def states_orientation_zero(content: bytes) -> bool:
    """Tells whether a raw file's first directory has the orientation 0, which stands for none."""
    if not content.startswith(TIFF_LIKE):
        return False
    first = next(directories(io.BytesIO(content)), RawDirectory())
    return first.first(_ORIENTATION, 1) == 0


def why_incomplete(content: bytes) -> str | None:
    """Says what a raw file lacks, by its directories; None where it lacks nothing that they tell.

    LibRaw makes a black picture of a DNG whose tiles are missing. Other raw files are asked for the place of
    their last byte only, since makers fill in the rest as they like.
    """
    if not content.startswith(TIFF_LIKE):
        return None
    stop = 0
    every = list(directories(io.BytesIO(content)))
    is_dng = any(_DNG_VERSION in facts.entries for facts in every)
    for facts in every:
        for places_tag, lengths_tag in PLACES.items():
            pairs = list(
                zip(facts.numbers.get(places_tag, ()), facts.numbers.get(lengths_tag, ()), strict=False)
            )
            if is_dng and places_tag in facts.entries and (reason := _why_too_few(facts, places_tag, pairs)):
                return reason
            for place, length in pairs:
                if place == _UNKNOWN and len(content) - facts.first(_PANASONIC_PLACE) < length // 8:
                    return "is damaged or truncated: the file ends before the picture does"
            ends = (place + length for place, length in pairs if _UNKNOWN not in (place, length))
            stop = max([stop, *ends])
    if stop > len(content):
        return f"is damaged or truncated: {stop - len(content)} bytes of pixels are missing"
    return None


def _why_too_few(facts: RawDirectory, places_tag: int, pairs: list[tuple[int, int]]) -> str | None:
    """Says how many of a picture's tiles or strips are missing, or that they are too short; else None."""
    width, height = facts.first(WIDTH), facts.first(HEIGHT)
    if not width or not height or facts.counts.get(places_tag, 0) > _MAX_VALUES:
        return None
    if places_tag == TILES:
        across, down = facts.first(TILE_WIDTH), facts.first(TILE_HEIGHT)
        needed = -(-width // across) * -(-height // down) if across and down else 0
    else:
        needed = -(-height // max(1, facts.first(STRIP_ROWS, height)))
    samples = facts.first(SAMPLES, 1)
    needed *= samples if facts.first(_PLANAR) == 2 else 1
    present = sum(1 for place, length in pairs if place and length)
    if present < needed:
        parts = "tiles" if places_tag == TILES else "strips"
        return f"is damaged: {needed - present} of the {needed} {parts} of its picture are missing"
    held_bits, needed_bits = 8 * sum(length for _, length in pairs), width * height * samples
    if facts.first(COMPRESSION) == UNCOMPRESSED and held_bits < needed_bits * facts.first(BITS, 1):
        lacking = (needed_bits * facts.first(BITS, 1) - held_bits + 7) // 8
        return f"is damaged: {lacking} bytes of pixels are missing"
    return None


def directories(file: BinaryIO) -> Iterator[RawDirectory]:
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


def _read(file: BinaryIO, start: int, order: str) -> tuple[RawDirectory, int]:
    """Reads one directory, and where the next one starts."""
    facts = RawDirectory(order)
    file.seek(start)
    data = file.read(2)
    count = struct.unpack(order + "H", data)[0] if len(data) == 2 else 0
    data = file.read(12 * min(count, _MAX_ENTRIES) + 4)
    number_tags = (*_SINGLE, _INNER, *PLACES, *PLACES.values())
    for at in range(0, len(data) - 11, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, at)
        facts.entries[tag] = start + 2 + at
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
