"""Tile geometry and the pooling and interpolation matrices, in numpy and independent of any model.

The network pools features of the whole image (bins of 1, 2, 3 and 6 per axis), so a halo alone can
never make tiling exact. Pooling and the upsampling after it are linear and separable: with the matrices
here, the contribution of any part of the image to the pooled grids is `rows @ features @ cols.T`, the
contributions of disjoint parts add up, and the upsampling to any tile is another such product.
All grids are stacked on one axis of `sum(bins)` entries.
"""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rave_runtime.arrays import Array
from rave_runtime.errors import UsageError


class Span(NamedTuple):
    """One axis of a tile, in pixels of the image, ends excluded.

    Attributes:
        start, stop: the window that is read.
        core_start, core_stop: the part of it whose result is kept.
    """

    start: int
    stop: int
    core_start: int
    core_stop: int


class Tile(NamedTuple):
    """A window and its core on both axes. The cores of all tiles of an image cover it once."""

    rows: Span
    cols: Span

    @property
    def core(self) -> tuple[slice, slice]:
        """Where the core lies in the image, as rows and columns."""
        rows, cols = self.rows, self.cols
        return slice(rows.core_start, rows.core_stop), slice(cols.core_start, cols.core_stop)

    def core_of(self, window: Array) -> Array:
        """Returns the core's part of values that were computed for the whole window, [h, w]."""
        rows, cols = self.rows, self.cols
        return window[
            rows.core_start - rows.start : rows.core_stop - rows.start,
            cols.core_start - cols.start : cols.core_stop - cols.start,
        ]


def plan_axis(length: int, window: int, halo: int, *, fixed: bool = False) -> list[Span]:
    """Splits an axis into windows of equal length whose cores are disjoint and cover it.

    Windows never leave the image; the core stays `halo` away from each end of a window inside the image.

    Args:
        length: length of the axis in pixels, at least 1.
        window: greatest length of a window; an axis no longer than it becomes one span.
        halo: how far the network looks around a pixel.
        fixed: makes windows exactly `window` long, so that tiles of different images can share a batch;
            otherwise they are as short as their number allows, since overlaps are computed twice.

    Raises:
        UsageError: the window is not larger than two halos.
    """
    if length <= window:
        return [Span(0, length, 0, length)]
    if window <= 2 * halo:
        raise UsageError(
            f"a tile of {window} px is too small for a halo of {halo} px: give at least {2 * halo + 1}"
        )
    count = -(-(length - 2 * halo) // (window - 2 * halo))
    if not fixed:
        window = -(-(length - 2 * halo) // count) + 2 * halo
    starts = [round(i * (length - window) / (count - 1)) for i in range(count)]
    cuts = [(left + window + right) // 2 for left, right in pairwise(starts)]
    return [
        Span(start, start + window, low, high)
        for start, low, high in zip(starts, [0, *cuts], [*cuts, length], strict=True)
    ]


def plan_tiles(height: int, width: int, tile: int, halo: int, *, fixed: bool = False) -> list[Tile]:
    """Returns all tiles of an image, row by row: see `plan_axis`."""
    columns = plan_axis(width, tile, halo, fixed=fixed)
    return [Tile(rows, cols) for rows in plan_axis(height, tile, halo, fixed=fixed) for cols in columns]


@functools.lru_cache(maxsize=128)
def pooling_matrix(length: int, span: Span, bins: tuple[int, ...]) -> Array:
    """Returns weights that turn a window's features into its core's share of the pooled means of one axis.

    In adaptive average pooling, bin i of b covers floor(i * length / b) to ceil((i + 1) * length / b).

    Args:
        length: length of the image's axis in pixels.
        span: the window and its core on that axis.
        bins: how many bins each grid has per axis.

    Returns:
        [sum(bins), window length] float32, not to be changed; zero outside the core.
    """
    matrix = np.zeros((sum(bins), span.stop - span.start), np.float32)
    row = 0
    for size in bins:
        for i in range(size):
            low, high = i * length // size, -(-(i + 1) * length // size)
            first, last = max(low, span.core_start), min(high, span.core_stop)
            if first < last:
                matrix[row, first - span.start : last - span.start] = 1 / (high - low)
            row += 1
    matrix.flags.writeable = False  # it is kept, since photographs of a folder mostly have one size
    return matrix


@functools.lru_cache(maxsize=128)
def interpolation_matrix(length: int, span: Span, bins: tuple[int, ...]) -> Array:
    """Returns bilinear weights (corners aligned) from the stacked grids to the pixels of a window.

    Args:
        length: length of the image's axis in pixels.
        span: the window on that axis.
        bins: how many bins each grid has per axis.

    Returns:
        [window length, sum(bins)] float32, not to be changed; each grid's share of a row sums to 1.
    """
    pixels = np.arange(span.start, span.stop)
    matrix = np.zeros((len(pixels), sum(bins)), np.float32)
    column = 0
    for size in bins:
        position = pixels * ((size - 1) / max(length - 1, 1))
        left = np.minimum(position.astype(np.int64), size - 1)
        right = np.minimum(left + 1, size - 1)
        share = (position - left).astype(np.float32)
        np.add.at(matrix, (pixels - span.start, column + left), 1 - share)
        np.add.at(matrix, (pixels - span.start, column + right), share)
        column += size
    matrix.flags.writeable = False
    return matrix
