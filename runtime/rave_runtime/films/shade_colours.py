"""Smooths the colour noise of a film's shade, on the chroma planes, before it is brightened. Luma is kept.

This does on a film's planes what `rave_runtime.light.chroma` does to photographs. A film's chroma is noisy
value by value, not only block by block as JPEG's is, so each value gets a different correction.
"""

from __future__ import annotations

import numpy as np

from rave_runtime.arrays import Array
from rave_runtime.films.plane_format import Plane, PlaneFormat
from rave_runtime.light.chroma import NOISE, REACH_BLOCKS, SHADE, mean_shift
from rave_runtime.light.reduction import neighbours
from rave_runtime.light.relight import BLOCK_PX
from rave_runtime.light.workspace import Workspace


class MeanColours:
    """Smooths a frame's chroma towards the mean colour around each value.

    With C a pair of blue and red difference, B the mean of C over blocks of 8 x 8 pixels, S the sum of B and
    its `mean_shift`, as in photographs, interpolated linearly to the places of C, Y the mean luma of the
    pixels that share C, all in [0, 1], and t = 6 / 255:

        C' = C + (S - C) * t^2 / (t^2 + |S - C|^2) * Y / (Y + t) * a,   a = clip((0.7 - d) / 0.35, 0, 1)

    with d the divisor at the first of those pixels.

    Args:
        chroma: blue and red difference, [h, w] uint8 or uint16 each.
        layout: how they store values.
    """

    def __init__(self, chroma: tuple[Plane, Plane], layout: PlaneFormat) -> None:
        height, width = BLOCK_PX // layout.down, BLOCK_PX // layout.across
        down, across = chroma[0].shape[0] // height, chroma[0].shape[1] // width
        blocks = np.zeros((2, down, across), np.float32)
        exact = np.uint16 if layout.bits == 8 else np.uint32
        for block, plane in zip(blocks, chroma, strict=True):
            whole = plane[: down * height, : across * width].reshape(down, height, across * width)
            sums = np.add.reduce(whole, 1, dtype=exact)
            for column in range(width):
                block += sums[:, column::width]
        blocks /= np.float32(height * width)
        blocks -= np.float32(layout.neutral)
        low, high = layout.chroma_bounds
        span, reach = np.float32(high - low), (REACH_BLOCKS, REACH_BLOCKS)
        around: Array = np.pad(blocks / span, ((0, 0), reach, reach), "edge")
        means = blocks + mean_shift(around) * span
        left, share = neighbours(across, across * width, 0, chroma[0].shape[1])
        self._wide = means[..., left]
        self._wide += share * (means[..., left + 1] - self._wide)
        self._blocks, self._height = down, height
        self._noise = np.float32(NOISE) * span

    @staticmethod
    def fits(layout: PlaneFormat, height: int, width: int) -> bool:
        """Whether frames of a size, in pixels, have chroma, and enough blocks to average."""
        return layout.has_chroma and min(height, width) >= 2 * BLOCK_PX

    def smooth(self, chroma: Array, start: int, luma: Array, divisor: Array, space: Workspace) -> None:
        """Smooths the chroma of some rows, in place.

        Args:
            chroma: [2, rows, w] float32, blue and red difference, 0 where there is no colour.
            start: the first of the rows, counted in rows of chroma.
            luma: [rows, w] float32 in [0, 1], mean luma of the pixels that share each value.
            divisor: [rows, w] float32, the light at the first of those pixels.
            space: memory for intermediate values.
        """
        low, high = SHADE
        if divisor.min() >= high:
            return
        rows = chroma.shape[1]
        upper, share = neighbours(self._blocks, self._blocks * self._height, start, start + rows)
        shift = space.array("shift", chroma.shape)
        np.subtract(self._wide[:, upper + 1], self._wide[:, upper], out=shift)
        shift *= share[:, None]
        shift += self._wide[:, upper]
        shift -= chroma
        noise, t = self._noise, np.float32(NOISE)
        weight, other = space.array("weight", (2, *luma.shape))
        np.multiply(shift[0], shift[0], out=weight)
        np.multiply(shift[1], shift[1], out=other)
        weight += other
        weight += noise * noise
        bright = np.maximum(luma, np.float32(0), out=other)
        shade = space.array("shade", luma.shape)
        np.add(bright, t, out=shade)
        weight *= shade
        np.subtract(np.float32(high), divisor, out=shade)
        shade *= noise * noise / np.float32(high - low)
        np.clip(shade, np.float32(0), noise * noise, out=shade)
        shade *= bright
        np.divide(shade, weight, out=weight)
        shift *= weight
        chroma += shift
