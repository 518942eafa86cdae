"""Resizing by a Lanczos filter with the rounding of Pillow's `resize`, by Pillow or by compiled passes."""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.light import compiled
from rave_runtime.light.compiled import Size, address

_LOBES: Final = 3
"""How far the filter reaches to each side, in pixels of the coarser picture."""

_WEIGHT_BITS: Final = 22
"""Weights are integers, in units of 2^-22."""


class Taps(NamedTuple):
    """The values of an axis that each value of a resampled axis is made of.

    Attributes:
        starts: [n] int64, the first of them.
        counts: [n] int64, how many there are.
        weights: [n, k] int32, their weights times 2^22; those beyond a count are zero.
    """

    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    weights: NDArray[np.int32]


def resize(boxes: NDArray[np.uint8], size: tuple[int, int], width: float, height: float) -> NDArray[np.uint8]:
    """Resizes a picture of which a part at its upper left is used.

    Args:
        boxes: [h, w, 3] uint8.
        size: the new width and height.
        width: how much of the boxes' width is used, at most w.
        height: how much of their height is used, at most h.

    Returns:
        [new height, new width, 3] uint8.
    """
    down, across = boxes.shape[:2]
    # Pillow leaves an axis as it is whose length stays, and from version 13 on begins with the columns of
    # pictures that lose more than twice as many rows as columns.
    is_usual = width != size[0] and height != size[1] and down - size[1] <= 2 * (across - size[0])
    if compiled.library() is not None and is_usual:
        columns, rows = lanczos_taps(across, width, size[0]), lanczos_taps(down, height, size[1])
        return resample(boxes, columns, rows)
    reduced = Image.fromarray(boxes).resize(size, Image.Resampling.LANCZOS, box=(0, 0, width, height))
    return np.asarray(reduced)


def resample(pixels: NDArray[np.uint8], columns: Taps, rows: Taps) -> NDArray[np.uint8]:
    """Resamples a picture by compiled passes, along its rows and then along its columns, as Pillow does.

    Args:
        pixels: [h, w, 3] uint8.
        columns: the columns that each new column is made of.
        rows: the rows that each new row is made of.

    Returns:
        [new rows, new columns, 3] uint8, rounded after the rows and after the columns.
    """
    pixels = np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    new_height, new_width = len(rows.starts), len(columns.starts)
    result = np.empty((new_height, new_width, 3), np.uint8)
    lanes, narrow = np.zeros(48 * (width + new_width), np.uint8), np.empty(3 * height * new_width, np.uint8)
    sums = np.empty(3 * new_width, np.int32)
    taps = [
        argument
        for axis in (columns, rows)
        for argument in (
            address(axis.starts),
            address(axis.counts),
            address(axis.weights),
            Size(axis.weights.shape[1]),
        )
    ]
    compiled.passes().rave_resample(
        address(pixels),
        *map(Size, (height, width)),
        address(result),
        *map(Size, (new_height, new_width)),
        *taps,
        *(address(memory) for memory in (lanes, narrow, sums)),
    )
    return result


@functools.lru_cache(maxsize=16)
def lanczos_taps(length: int, used: float, new_length: int) -> Taps:
    """Returns the taps that resample an axis by a Lanczos filter of three lobes.

    Args:
        length: values of the axis.
        used: how much of the axis is resampled, from its start, in values; as Pillow's `box`, a float32.
        new_length: values of the resampled axis.
    """
    scale = float(np.float32(used)) / new_length
    coarseness = max(scale, 1.0)
    support = _LOBES * coarseness
    centres = (np.arange(new_length) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centres + support + 0.5).astype(np.int64), length) - first
    taps = np.arange(int(count.max()))
    weights = _lanczos((taps + first[:, None] - centres[:, None] + 0.5) / coarseness)
    weights[taps >= count[:, None]] = 0
    sums = np.cumsum(weights, 1)[:, -1:]  # in order, as Pillow adds them
    scaled = weights / sums * (1 << _WEIGHT_BITS)
    return Taps(first, count, (scaled + np.copysign(0.5, scaled)).astype(np.int32))


def _lanczos(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = (offsets >= -_LOBES) & (offsets < _LOBES)
    return np.where(inside, _sinc(offsets) * _sinc(offsets / _LOBES), 0.0)


def _sinc(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    angles = offsets * np.pi
    return np.where(offsets == 0, 1.0, np.sin(angles) / np.where(offsets == 0, 1.0, angles))
