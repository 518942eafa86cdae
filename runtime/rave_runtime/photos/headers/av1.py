"""Headers of AV1, by which AVIF pictures are coded: colours and quantiser.

Source: AV1 Bitstream & Decoding Process Specification, 5.5 (sequence header) and 5.9 (frame header).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from rave_runtime.photos.headers.bits import BitReader

_SEQUENCE_HEADER: Final = 1
_FRAME_HEADER: Final = 3
_FRAME: Final = 6
_MAX_UNITS: Final = 64
_BY_FRAME: Final = 2
"""Value of the sequence's fields that leave a choice to each frame."""


class Sequence(NamedTuple):
    """What a sequence header says of its frames.

    Attributes:
        reduced: whether it is the short header of a single still picture.
        width_bits: bits of a frame's width.
        height_bits: bits of a frame's height.
        width: greatest width in pixels.
        height: greatest height in pixels.
        has_frame_ids: whether frames carry numbers.
        id_bits: bits of such a number.
        large_blocks: whether blocks have 128 pixels a side instead of 64.
        screen_tools: 0 or 1; 2 leaves it to each frame.
        integer_motion: 0 or 1; 2 leaves it to each frame.
        order_bits: bits of a frame's number in order.
        has_superres: whether frames may be coded at a smaller width.
        colours: primaries and transfer as H.273 numbers them; None where they are not stated.
    """

    reduced: bool
    width_bits: int
    height_bits: int
    width: int
    height: int
    has_frame_ids: bool
    id_bits: int
    large_blocks: bool
    screen_tools: int
    integer_motion: int
    order_bits: int
    has_superres: bool
    colours: tuple[int, int] | None


def colour_numbers(units: bytes) -> tuple[int, int] | None:
    """Returns the primaries and transfer of a row of units, as H.273 numbers them; None without any."""
    try:
        sequence = next((_read_sequence(data) for kind, data in _units(units) if kind == 1), None)
    except EOFError:
        return None
    return sequence.colours if sequence else None


def base_quantiser(units: bytes) -> int | None:
    """Returns the quantiser of the first frame, 0 (no loss) to 255; None where it cannot be read."""
    sequence = None
    try:
        for kind, data in _units(units):
            if kind == _SEQUENCE_HEADER:
                sequence = _read_sequence(data)
            elif kind in (_FRAME_HEADER, _FRAME) and sequence is not None:
                return _read_quantiser(sequence, BitReader(data[:256]))
    except EOFError:
        return None
    return None


def _units(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields kind and content of the open bitstream units of an AV1 stream."""
    position = 0
    for _ in range(_MAX_UNITS):
        if position >= len(content):
            return
        head = content[position]
        position += 2 if head & 4 else 1
        size = len(content) - position
        if head & 2:
            size = shift = 0
            for _ in range(8):
                if position >= len(content):
                    return
                byte = content[position]
                position += 1
                size |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    break
        yield head >> 3 & 15, content[position : position + min(size, 4096)]
        position += size


def _read_sequence(data: bytes) -> Sequence:
    """Reads what this module needs of a sequence header (AV1 specification, 5.5)."""
    bits = BitReader(data)
    profile = bits.read(3)
    bits.skip(1)
    reduced = bool(bits.read())
    if reduced:
        bits.skip(5)
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    id_bits = 0
    has_ids = not reduced and bool(bits.read())
    if has_ids:
        id_bits = bits.read(4) + 2
        id_bits += bits.read(3) + 1
    large_blocks = bool(bits.read())
    bits.skip(2)
    screen_tools, integer_motion, order_bits = _BY_FRAME, _BY_FRAME, 0
    if not reduced:
        bits.skip(4)
        has_order = bits.read()
        bits.skip(2 * has_order)
        screen_tools = _BY_FRAME if bits.read() else bits.read()
        if screen_tools:
            integer_motion = _BY_FRAME if bits.read() else bits.read()
        order_bits = bits.read(3) + 1 if has_order else 0
    has_superres = bool(bits.read())
    bits.skip(2)
    high = bits.read()
    if profile == 2 and high:
        bits.skip(1)
    if profile != 1:
        bits.skip(1)
    colours = (bits.read(8), bits.read(8)) if bits.read() else None
    return Sequence(
        reduced=reduced,
        width_bits=width_bits,
        height_bits=height_bits,
        width=width,
        height=height,
        has_frame_ids=has_ids,
        id_bits=id_bits,
        large_blocks=large_blocks,
        screen_tools=screen_tools,
        integer_motion=integer_motion,
        order_bits=order_bits,
        has_superres=has_superres,
        colours=colours,
    )


def _skip_operating_points(bits: BitReader) -> None:
    if bits.read():  # timing, which still pictures do not have
        raise EOFError
    has_delay = bits.read()
    for _ in range(bits.read(5) + 1):
        bits.skip(12)
        if bits.read(5) > 7:
            bits.skip(1)
        if has_delay and bits.read():
            bits.skip(4)


def _read_quantiser(sequence: Sequence, bits: BitReader) -> int | None:
    """Returns `base_q_idx` of a frame that is shown and coded alone."""
    # shown again, no key frame, or hidden
    if not sequence.reduced and (bits.read() or bits.read(2) != 0 or not bits.read()):
        return None
    no_update = bits.read()
    tools = bits.read() if sequence.screen_tools == _BY_FRAME else sequence.screen_tools
    if tools and sequence.integer_motion == _BY_FRAME:
        bits.skip(1)
    if sequence.has_frame_ids:
        bits.skip(sequence.id_bits)
    states_size = not sequence.reduced and bool(bits.read())
    bits.skip(sequence.order_bits)
    width, height = sequence.width, sequence.height
    if states_size:
        width, height = bits.read(sequence.width_bits) + 1, bits.read(sequence.height_bits) + 1
    if sequence.has_superres and bits.read():
        return None
    if bits.read():  # another size to show it at
        bits.skip(32)
    if tools:
        bits.skip(1)
    if not (sequence.reduced or no_update):
        bits.skip(1)
    _skip_tiles(bits, width, height, 128 if sequence.large_blocks else 64)
    return bits.read(8)


def _skip_tiles(bits: BitReader, width: int, height: int, block_px: int) -> None:
    """Skips the tile info of a frame header with tiles of equal sizes (AV1 specification, 5.9.15)."""
    columns, rows = -(-width // block_px), -(-height // block_px)
    widest, largest = 4096 // block_px, 4096 * 2304 // block_px**2
    if not bits.read():
        raise EOFError  # tiles of unequal sizes: not written for still pictures by any encoder seen
    least_columns = _log2(widest, columns)
    most_columns, most_rows = _log2(1, min(columns, 64)), _log2(1, min(rows, 64))
    least = max(least_columns, _log2(largest, rows * columns))
    log_columns = least_columns
    while log_columns < most_columns and bits.read():
        log_columns += 1
    log_rows = max(least - log_columns, 0)
    while log_rows < most_rows and bits.read():
        log_rows += 1
    if log_columns or log_rows:
        bits.skip(log_columns + log_rows + 2)


def _log2(block: int, target: int) -> int:
    power = 0
    while block << power < target:
        power += 1
    return power
