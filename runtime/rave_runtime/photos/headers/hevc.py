"""The quantiser of a HEIC, and whether it loses anything, out of parameter sets and its first slice.

Source: ITU-T H.265, 7.3.2 (parameter sets), 7.3.6 (slice header), 7.4.9.14 (SliceQpY).
"""

from __future__ import annotations

import struct
from typing import Final

from rave_runtime.photos.headers.bits import BitReader
from rave_runtime.photos.headers.boxes import photograph_data, photograph_properties

_SEQUENCE_SET: Final = 33
_PICTURE_SET: Final = 34
_RANDOM_ACCESS: Final = range(16, 24)
_IDR: Final = (19, 20)
_MAX_UNITS: Final = 64


def heic_quantiser(content: bytes) -> int | None:
    """Returns the quantiser of a HEIC's first slice, about 0 (best) to 51; None where it cannot be read."""
    try:
        return _read(content)
    except (EOFError, IndexError, struct.error):
        return None


def is_lossless_heic(content: bytes) -> bool:
    """Tells whether blocks of a HEIC may leave out the quantiser, as encoders allow where nothing is lost."""
    try:
        record = _record_of(content)
        return record is not None and _may_bypass(_bits(dict(_parameter_sets(record))[_PICTURE_SET]))
    except (EOFError, IndexError, KeyError, struct.error):
        return False


def _record_of(content: bytes) -> bytes | None:
    """Returns the record of a HEIC's photograph that holds its parameter sets, or None."""
    return next((data for kind, data in photograph_properties(content) if kind == b"hvcC"), None)


def _read(content: bytes) -> int | None:
    """Returns the quantiser of the first slice in a HEIC; None where it cannot be found."""
    record = _record_of(content)
    if record is None:
        return None
    sets = dict(_parameter_sets(record))
    data = photograph_data(content)
    length_size = (record[21] & 3) + 1
    position = 0
    for _ in range(_MAX_UNITS):
        size = int.from_bytes(data[position : position + length_size], "big")
        unit = data[position + length_size : position + length_size + min(size, 4096)]
        position += length_size + size
        kind = unit[0] >> 1 & 63
        if kind in (_SEQUENCE_SET, _PICTURE_SET):
            sets[kind] = unit
        elif kind in _RANDOM_ACCESS:
            return _slice_quantiser(unit, sets[_SEQUENCE_SET], sets[_PICTURE_SET])
    return None


def _parameter_sets(record: bytes) -> list[tuple[int, bytes]]:
    sets, position = [], 23
    for _ in range(record[22]):
        kind = record[position] & 63
        (count,) = struct.unpack_from(">H", record, position + 1)
        position += 3
        for _ in range(min(count, _MAX_UNITS)):
            (length,) = struct.unpack_from(">H", record, position)
            sets.append((kind, record[position + 2 : position + 2 + length]))
            position += 2 + length
    return sets


def _bits(unit: bytes) -> BitReader:
    return BitReader(unit[2:].replace(b"\0\0\3", b"\0\0"))


def _slice_quantiser(unit: bytes, sequence_set: bytes, picture_set: bytes) -> int | None:
    """Returns a slice's quantiser: the picture's start value and the slice's difference from it."""
    chroma, has_offsets = _read_sequence_set(_bits(sequence_set))
    has_output_flag, extra_bits, start = _read_picture_set(_bits(picture_set))
    bits = _bits(unit)
    kind = unit[0] >> 1 & 63
    if not bits.read():  # not the first slice of the picture
        return None
    bits.skip(1)
    bits.read_exp_golomb()
    bits.skip(extra_bits)
    bits.read_exp_golomb()
    bits.skip(has_output_flag)
    if kind not in _IDR:
        return None
    if has_offsets:
        bits.skip(2 if chroma else 1)
    return start + bits.read_signed_exp_golomb()


def _read_picture_set(bits: BitReader) -> tuple[int, int, int]:
    """Returns whether slices speak of output, their extra bits, and the quantiser from which they start."""
    bits.read_exp_golomb()
    bits.read_exp_golomb()
    bits.skip(1)
    has_output_flag = bits.read()
    extra_bits = bits.read(3)
    bits.skip(2)
    bits.read_exp_golomb()
    bits.read_exp_golomb()
    return has_output_flag, extra_bits, 26 + bits.read_signed_exp_golomb()


def _may_bypass(bits: BitReader) -> bool:
    """Tells whether a picture's blocks may be coded without transform and quantiser."""
    _read_picture_set(bits)
    bits.skip(2)
    if bits.read():
        bits.read_exp_golomb()
    bits.read_signed_exp_golomb()
    bits.read_signed_exp_golomb()
    bits.skip(3)
    return bool(bits.read())


def _read_sequence_set(bits: BitReader) -> tuple[bool, bool]:
    """Tells whether there is colour, and whether slices speak of sample adaptive offsets."""
    bits.skip(4)
    layers = bits.read(3)
    bits.skip(1 + 96)
    if layers:
        raise EOFError  # stills have one layer
    bits.read_exp_golomb()
    chroma = bits.read_exp_golomb()
    if chroma == 3 and bits.read():
        raise EOFError  # planes that are coded apart
    bits.read_exp_golomb()
    bits.read_exp_golomb()
    if bits.read():
        for _ in range(4):
            bits.read_exp_golomb()
    for _ in range(3):
        bits.read_exp_golomb()
    bits.skip(1)
    for _ in range(3 + 6):
        bits.read_exp_golomb()
    if bits.read() and bits.read():
        _skip_scaling_lists(bits)
    bits.skip(1)
    return chroma != 0, bool(bits.read())


def _skip_scaling_lists(bits: BitReader) -> None:
    for size in range(4):
        for _ in range(0, 6, 3 if size == 3 else 1):
            if not bits.read():
                bits.read_exp_golomb()
                continue
            if size > 1:
                bits.read_signed_exp_golomb()
            for _ in range(min(64, 16 << 2 * size)):
                bits.read_signed_exp_golomb()
