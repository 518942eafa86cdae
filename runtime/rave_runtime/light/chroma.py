"""Smooths colour noise and JPEG's blocks of colour where a photograph is brightened. Luma stays as it is.

A camera's noise and JPEG distort the colours of the shade. Darkness hides that until the shade is brightened;
then purple and green blotches, sixteen pixels wide, appear on skin. Real differences of colour are larger:
a plain mean of all blocks around would give coloured things a halo twenty pixels wide.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.light import compiled
from rave_runtime.light.compiled import Size, address
from rave_runtime.light.luma import FROM_CBCR, TO_YCBCR
from rave_runtime.light.reduction import neighbours
from rave_runtime.light.relight import BLOCK_PX
from rave_runtime.light.sharing import share

REACH_BLOCKS: Final = 2
"""Blocks to each side over which colours are averaged: 40 pixels, more than two blocks of JPEG's colour."""

_STRIP_BLOCKS: Final = 4
"""Rows of blocks averaged at a time: their pixels stay in the processor's cache."""

_COMPILED_STRIP_BLOCKS: Final = 32
"""The same for compiled passes, which need no cache for a strip: few enough to share them among threads."""

OTHER_COLOUR: Final = 14 / 255
"""Difference of colour, in values of [0, 1], from which on two blocks show different things: neither changes
the other's colour. Of smaller differences the larger ones count for less."""

NOISE: Final = 6 / 255
"""Size of noise, in values of [0, 1]: where luma is as low as this, colours are smoothed by half. Nearer to
black, where colours are hardly seen, they are smoothed less."""

SHADE: Final = (0.35, 0.7)
"""Up to the first divisor, colours are smoothed fully; from the second on, not at all."""

_TO_CHROMA: Final = np.array(TO_YCBCR, np.float32)
_TO_COLOUR: Final = np.array(FROM_CBCR, np.float32)


class ChromaCorrection:
    """Computes what to add to a photograph's values so that the colours of its shade are smooth.

    With B the mean of Cb and Cr over each block of 8 x 8 pixels, those at the borders repeated beyond them, S
    the `mean_shift` of B, Y the mean luma of the block, all in [0, 1], and t = 6 / 255:

        E = S * Y / (Y + t) * a

    a is clip((0.7 - d) / 0.35, 0, 1), where d is the divisor of the reduced picture, and is interpolated
    linearly to the grid of blocks, with centres of pixels aligned. E is a pair of Cb and Cr; its R, G and B
    are added to all pixels of the block. Rows and columns beyond the last whole block get the last block's E.

    Args:
        pixels: [h, w, 3] uint8 or uint16, in sRGB's tone curve; at least one block each way. They may change
            after this call.
        divisor: [h', w'] float32, the divisor of the reduced picture; at least 2 pixels each way.
        threads: how many threads share the rows of blocks.
    """

    def __init__(self, pixels: NDArray[Any], divisor: Array, threads: int = 1) -> None:
        self._height, self._width = pixels.shape[:2]
        down, across = self._height // BLOCK_PX, self._width // BLOCK_PX
        low, high = SHADE
        shade = np.clip((high - divisor) / np.float32(high - low), np.float32(0), np.float32(1))
        shade = _interpolated(shade, down, across)
        self._rows, self._columns = _range(shade.max(1)), _range(shade.max(0))
        rows, columns = self._rows, self._columns
        if rows.start == rows.stop:
            return
        (wide_rows, above_below), (wide_columns, beside) = _widened(rows, down), _widened(columns, across)
        means = _block_means(pixels, wide_rows, wide_columns, threads)
        self._shift: Array = mean_shift(np.pad(means[1:], ((0, 0), above_below, beside), "edge"))
        top, left = rows.start - wide_rows.start, columns.start - wide_columns.start
        luma = means[0, top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]
        weight = luma + np.float32(NOISE)
        np.divide(luma, weight, out=weight)
        weight *= shade[rows, columns]
        self._shift *= weight

    def blocks(self, start: int, stop: int) -> Array | None:
        """Returns the correction of some rows, one value per block and channel; None if it is all zero.

        Args:
            start: first row of the picture, a multiple of `BLOCK_PX`.
            stop: row after the last, at least one block further.

        Returns:
            [3, blocks, blocks across] float32, for red, green and blue in [0, 1] of all blocks of these rows.
        """
        first, blocks = start // BLOCK_PX, (stop - start) // BLOCK_PX
        block_rows = range(max(first, self._rows.start), min(first + blocks, self._rows.stop))
        if not block_rows:
            return None
        values = np.zeros((3, blocks, self._width // BLOCK_PX), np.float32)
        part = values[:, block_rows.start - first : block_rows.stop - first, self._columns]
        blue, red = self._shift[:, block_rows.start - self._rows.start : block_rows.stop - self._rows.start]
        for channel, (blue_factor, red_factor) in enumerate(_TO_COLOUR):
            part[channel] = blue_factor * blue + red_factor * red
        return values

    def rows(self, start: int, stop: int) -> Array | None:
        """Returns what `blocks` returns, for each column of the picture: [3, blocks, w] float32."""
        values = self.blocks(start, stop)
        if values is None:
            return None
        beyond = (0, self._width - values.shape[2] * BLOCK_PX)  # given what the last block is given
        return np.pad(np.repeat(values, BLOCK_PX, 2), ((0, 0), (0, 0), beyond), "edge")


def _interpolated(values: Array, down: int, across: int) -> Array:
    """Interpolates [h, w] to [down, across] linearly, with centres of pixels aligned."""
    left, share = neighbours(values.shape[1], across, 0, across)
    if compiled.library() is not None:
        wide = np.empty((len(values), across), np.float32)
        compiled.widen(values, left, share, wide)
    else:
        wide = (values[:, left + 1] - values[:, left]) * share + values[:, left]
    upper, share = neighbours(len(values), down, 0, down)
    result: Array = wide[upper + 1]
    result -= wide[upper]
    result *= share[:, None]
    result += wide[upper]
    return result


def _range(values: Array) -> slice:
    """Returns the range from the first to the last value that is not zero; empty if all are."""
    places = np.flatnonzero(values)
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, 0)


def _widened(places: slice, length: int) -> tuple[slice, tuple[int, int]]:
    """Returns a range with the blocks that it is averaged with, and how many of them the picture lacks."""
    first, stop = places.start - REACH_BLOCKS, places.stop + REACH_BLOCKS
    return slice(max(first, 0), min(stop, length)), (max(-first, 0), max(stop - length, 0))


def _block_means(pixels: NDArray[Any], rows: slice, columns: slice, threads: int) -> Array:
    """Returns the mean Y, Cb and Cr of blocks, [3, rows, columns] float32, for values in [0, 1].

    Args:
        pixels: [h, w, 3] uint8 or uint16.
        rows: the rows of blocks.
        columns: the columns of blocks.
        threads: as for `ChromaCorrection`.
    """
    weights = _TO_CHROMA / np.float32(np.iinfo(pixels.dtype).max * BLOCK_PX * BLOCK_PX)
    is_compiled = compiled.takes(pixels)
    means = np.empty((3, rows.stop - rows.start, columns.stop - columns.start), np.float32)

    def mean(starts: Sequence[int]) -> None:
        for start in starts:
            part = slice(start, min(start + step, rows.stop))
            strip = means[:, part.start - rows.start : part.stop - rows.start]
            if is_compiled:
                compiled.block_means(pixels, part, columns, weights, strip)
                continue
            sums = _block_sums(pixels, part, columns)
            for result, (red, green, blue) in zip(strip, weights, strict=True):
                np.multiply(sums[0], red, out=result)
                result += green * sums[1]
                result += blue * sums[2]

    step = _COMPILED_STRIP_BLOCKS if is_compiled else _STRIP_BLOCKS
    share(mean, range(rows.start, rows.stop, step), threads)
    return means


def _block_sums(pixels: NDArray[Any], rows: slice, columns: slice) -> Array:
    """Returns exact sums of red, green and blue over blocks of uint8 or uint16 pixels: [3, rows, columns]."""
    wide: Any = np.uint16 if pixels.dtype == np.uint8 else np.uint32
    values: NDArray[Any] = pixels[
        rows.start * BLOCK_PX : rows.stop * BLOCK_PX, columns.start * BLOCK_PX : columns.stop * BLOCK_PX
    ]
    down, across = rows.stop - rows.start, columns.stop - columns.start
    sums = np.add.reduce(values.reshape(down, BLOCK_PX, across * BLOCK_PX * 3), 1, dtype=wide)
    column_sum = np.tile(np.eye(3, dtype=np.float32), (1, BLOCK_PX))  # adds the columns of a block by channel
    product: Array = column_sum @ sums.astype(np.float32).reshape(-1, BLOCK_PX * 3).T
    return product.reshape(3, down, across)


def mean_shift(chroma: Array) -> Array:
    """Returns the mean difference of the blocks around each block to its colour; large ones count for less.

    With B the colour of a block and B' those of 5 x 5 blocks around it, and c = 14 / 255, it is the mean of
    max(1 - |B' - B|^2 / c^2, 0) * (B' - B).

    Args:
        chroma: [2, down + 4, across + 4] float32, blue and red difference of blocks, in values of [0, 1], and
            of two more blocks to each side.

    Returns:
        [2, down, across] float32.
    """
    chroma = np.ascontiguousarray(chroma)
    return _mean_shift(chroma) if compiled.library() is None else _mean_shift_compiled(chroma)


def _mean_shift(chroma: Array) -> Array:
    around = range(2 * REACH_BLOCKS + 1)
    core = chroma[:, REACH_BLOCKS:-REACH_BLOCKS, REACH_BLOCKS:-REACH_BLOCKS]
    down, across = core.shape[1:]
    shift = np.zeros(core.shape, np.float32)
    per_square = np.float32(1 / OTHER_COLOUR**2)
    for top, left in itertools.product(around, around):
        apart = chroma[:, top : top + down, left : left + across] - core
        square = apart[0] * apart[0] + apart[1] * apart[1]
        apart *= np.clip(1 - square * per_square, np.float32(0), np.float32(1))
        shift += apart
    shift *= np.float32(1 / len(around) ** 2)
    return shift


def _mean_shift_compiled(chroma: Array) -> Array:
    """Does what `_mean_shift` does in one compiled pass, bit for bit."""
    down, across = (length - 2 * REACH_BLOCKS for length in chroma.shape[1:])
    shift = np.empty((2, down, across), np.float32)
    per_square = ctypes.c_float(1 / OTHER_COLOUR**2)
    compiled.passes().rave_mean_shift(address(chroma), Size(down), Size(across), per_square, address(shift))
    return shift
