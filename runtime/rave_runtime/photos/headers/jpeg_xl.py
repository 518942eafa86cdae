"""What the header of a JPEG XL says of its picture, without a decoder.

Source: ISO/IEC 18181-1:2024, annex D (image header), and 18181-2 (container).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from rave_runtime.photos.headers.bits import LowBitReader
from rave_runtime.photos.headers.boxes import Box, boxes
from rave_runtime.photos.headers.jpeg_xl_colours import SRGB_COLOURS, JxlColours, read_colours

CODESTREAM: Final = b"\xff\x0a"
CONTAINER: Final = b"\0\0\0\x0cJXL \r\n\x87\n"

_ALPHA: Final = 0
_SPOT: Final = 2
_CFA: Final = 5
_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Widths and heights of a size that is stated by its height alone."""

_SIZES: Final = ((1, 9), (1, 13), (1, 18), (1, 30))
"""Codings of a side by a selector of two bits: what is added to a number, and the bits of that number."""

_MAX_HEADER: Final = 4096
_MAX_EXTRA: Final = 16


class JxlHeader(NamedTuple):
    """The header of a JPEG XL.

    Attributes:
        width, height: in pixels, as the codestream has them, not yet turned.
        orientation: how decoders turn the picture, as EXIF numbers it.
        bits: per channel.
        is_float: whether the values are floating point.
        is_in_own_colours: whether the pixels are stored in the photograph's colours, not in the codec's.
        is_lossless: whether they are and were no JPEG before, as all files without loss and few others.
        colours: the colour space that is stated.
        extra_channels: the kinds of channels beside colour, as the standard numbers them; 0 is transparency.
        is_multiplied: whether the colours were multiplied by transparency.
        is_animated: whether it has frames.
    """

    width: int
    height: int
    orientation: int = 1
    bits: int = 8
    is_float: bool = False
    is_in_own_colours: bool = False
    is_lossless: bool = False
    colours: JxlColours = SRGB_COLOURS
    extra_channels: tuple[int, ...] = ()
    is_multiplied: bool = False
    is_animated: bool = False


def read_jxl_header(content: bytes) -> JxlHeader:
    """Reads the header of a JPEG XL, bare or in a container.

    Raises:
        EOFError: it ends before its header does.
    """
    bits = LowBitReader(_codestream(content)[2:_MAX_HEADER])
    width, height = _size(bits)
    if bits.read():  # the defaults: 8 bits, in the codec's colours
        return JxlHeader(width, height)
    orientation, is_animated = 1, False
    if bits.read():
        orientation = 1 + bits.read(3)
        if bits.read():
            _size(bits)
        if bits.read():
            _preview(bits)
        is_animated = bool(bits.read())
        if is_animated:
            _animation(bits)
    depth, is_float = _depth(bits)
    bits.read()  # whether 16 bits are enough for intermediate values
    extra, is_multiplied = [], False
    for _ in range(min(bits.choose((0, 0), (1, 0), (2, 4), (1, 12)), _MAX_EXTRA)):
        kind, multiplied = _extra_channel(bits)
        extra.append(kind)
        is_multiplied |= multiplied
    is_in_own_colours = not bits.read()
    return JxlHeader(
        width,
        height,
        orientation,
        depth,
        is_float,
        is_in_own_colours,
        is_in_own_colours and not any(box.kind == b"jbrd" for box in jxl_boxes(content)),
        read_colours(bits),
        tuple(extra),
        is_multiplied,
        is_animated,
    )


def missing_bytes(content: bytes) -> int:
    """Returns by how many bytes a container is shorter than its boxes say."""
    start = 0
    while content.startswith(CONTAINER) and start + 8 <= len(content):
        length = int.from_bytes(content[start : start + 4], "big")
        if length == 1:
            length = int.from_bytes(content[start + 8 : start + 16], "big")
        if length < 8:
            return 0
        start += length
    return max(0, start - len(content))


def jxl_boxes(content: bytes) -> Iterable[Box]:
    """Returns the boxes of a container; none of a bare codestream."""
    return boxes(content) if content.startswith(CONTAINER) else ()


def _codestream(content: bytes) -> bytes:
    """Returns the start of the codestream."""
    for box in jxl_boxes(content):
        start = box.start + (4 if box.kind == b"jxlp" else 0)
        if box.kind in (b"jxlc", b"jxlp"):
            parts = [content[start : min(box.stop, start + _MAX_HEADER)]]
            if box.kind == b"jxlp":  # a first part may be shorter than the header
                rest = (each for each in boxes(content, box.stop) if each.kind == b"jxlp")
                parts += [content[each.start + 4 : min(each.stop, each.start + _MAX_HEADER)] for each in rest]
            return b"".join(parts)
    return content if content.startswith(CODESTREAM) else b""


def _size(bits: LowBitReader) -> tuple[int, int]:
    is_small = bits.read()
    height = 8 * (1 + bits.read(5)) if is_small else bits.choose(*_SIZES)
    ratio = bits.read(3)
    if ratio:
        wide, high = _RATIOS[ratio - 1]
        return height * wide // high, height
    return 8 * (1 + bits.read(5)) if is_small else bits.choose(*_SIZES), height


def _preview(bits: LowBitReader) -> None:
    is_small = bits.read()
    ways = ((16, 0), (32, 0), (1, 5), (33, 9)) if is_small else ((1, 6), (65, 8), (321, 10), (1345, 12))
    bits.choose(*ways)
    if not bits.read(3):
        bits.choose(*ways)


def _animation(bits: LowBitReader) -> None:
    bits.choose((100, 0), (1000, 0), (1, 10), (1, 30))
    bits.choose((1, 0), (1001, 0), (1, 8), (1, 10))
    bits.choose((0, 0), (0, 3), (0, 16), (0, 32))
    bits.read()


def _depth(bits: LowBitReader) -> tuple[int, bool]:
    if bits.read():
        depth = bits.choose((32, 0), (16, 0), (24, 0), (1, 6))
        bits.read(4)
        return depth, True
    return bits.choose((8, 0), (10, 0), (12, 0), (1, 6)), False


def _extra_channel(bits: LowBitReader) -> tuple[int, bool]:
    """Returns what a channel is, and whether the colours were multiplied by it."""
    if bits.read():
        return _ALPHA, False
    kind = bits.choose((0, 0), (1, 0), (2, 4), (18, 6))
    _depth(bits)
    bits.choose((0, 0), (3, 0), (4, 0), (1, 3))
    for _ in range(bits.choose((0, 0), (0, 4), (16, 5), (48, 10))):
        bits.read(8)
    if kind == _ALPHA:
        return kind, bool(bits.read())
    if kind == _SPOT:
        bits.read(64)
    elif kind == _CFA:
        bits.choose((1, 0), (0, 2), (3, 4), (19, 8))
    return kind, False
