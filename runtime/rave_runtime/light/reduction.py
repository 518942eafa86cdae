"""Reduces a picture for the network, and brings the light back to full resolution.

Upsampling follows the picture's edges with a guided filter: around every pixel of the reduced picture the
light is fitted as a linear function (a line) of luminance. Its two coefficients are smooth, so they are
interpolated, and applied to the luminance of the full picture, strip by strip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.arrays import Array
from rave_runtime.light import compiled
from rave_runtime.light.luma import LUMA_BT601
from rave_runtime.light.sharing import share
from rave_runtime.light.workspace import Workspace

_STRIP_ROWS: Final = 64
"""Rows that are reduced at a time."""

_REDUCING_GAP: Final = 2.0
"""Boxes of pixels are averaged to a picture this many times too large; a Lanczos filter does the rest."""

_LUMA: Final = np.array(LUMA_BT601, np.float32)

EPSILON: Final = 1e-3
"""Variance of luminance below which a neighbourhood counts as flat, and its light as constant."""

RADIUS_PER_FACTOR: Final = 2.0
"""Radius of the fit, in pixels of the reduced picture, for each unit of the factor of reduction above 1."""

SIDE_PER_RADIUS: Final = 28
"""The reduced picture's long side is at least this many times the radius. Wider windows would make one curve
for the whole photograph out of the light of its parts, and a large photograph flatter than a small one."""


class Reduction:
    """An antialiased reduction of a picture, and the luminance of the full picture.

    Attributes:
        pixels: [h', w', 3] uint8; where the image has 16 bits, float32 in [0, 1].

    Args:
        image: [h, w, 3] uint8 or uint16. Rows must not change before `luminance` is called for them.
        long_side_px: long side of the reduction; the other side keeps the proportion, at least 2 pixels.
        threads: how many threads share the rows of an 8-bit picture.
    """

    def __init__(self, image: NDArray[Any], long_side_px: int, threads: int = 1) -> None:
        height, width = image.shape[:2]
        longest = max(height, width)
        # With a single division, exact halves stay exact, so that exported graphs round in the same way.
        size = (max(2, round(width * long_side_px / longest)), max(2, round(height * long_side_px / longest)))
        self.pixels: NDArray[np.uint8] | Array
        self._image = image
        self._luma: NDArray[np.uint8] | None = None
        if compiled.takes(image):
            self.pixels = _reduce_compiled(image, size, threads)
        elif image.dtype == np.uint8:
            self.pixels, self._luma = _reduce_bytes(image, size)
        else:
            self.pixels = _reduce_deep(image, size)

    def luminance(self, start: int, stop: int) -> NDArray[np.uint8] | Array:
        """Returns rows of the full picture's Rec. 601 luma, [stop - start, w] uint8 or float32 in [0, 1]."""
        if self._luma is not None:
            return self._luma[start:stop]
        rows = self._image[start:stop]
        if rows.dtype == np.uint8:
            return np.asarray(Image.fromarray(rows).convert("L"))
        return luminance(rows)

    def is_of(self, pixels: NDArray[Any]) -> bool:
        """Whether these are the pixels that were reduced, at the same place in memory."""
        image = self._image
        has_layout = (pixels.shape, pixels.dtype, pixels.strides) == (image.shape, image.dtype, image.strides)
        return has_layout and pixels.ctypes.data == image.ctypes.data


def _reduce_bytes(
    image: NDArray[np.uint8], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Reduces a picture as Pillow's `resize` with a reducing gap of 2 does; returns it and the full luma.

    Both are made strip by strip, so that Pillow's four-byte pixels stay in the processor's cache.
    """
    height, width = image.shape[:2]
    across, down = _box_sides(image, size)
    luma = np.empty((height, width), np.uint8)
    boxes = np.empty((-(-height // down), -(-width // across), 3), np.uint8)
    step = down * max(1, _STRIP_ROWS // down)
    for top in range(0, height, step):
        strip = Image.fromarray(image[top : top + step])
        luma[top : top + step] = np.asarray(strip.convert("L"))
        boxes[top // down : (top + step) // down] = np.asarray(strip.reduce((across, down)))
    box = (0, 0, width / across, height / down)
    return np.asarray(Image.fromarray(boxes).resize(size, Image.Resampling.LANCZOS, box=box)), luma


def _reduce_compiled(image: NDArray[np.uint8], size: tuple[int, int], threads: int) -> NDArray[np.uint8]:
    """Makes the same reduction as `_reduce_bytes` by compiled passes."""
    across, down = _box_sides(image, size)
    if down > compiled.MOST_ROWS:
        return _reduce_bytes(image, size)[0]
    boxes = np.empty((-(-image.shape[0] // down), -(-image.shape[1] // across), 3), np.uint8)

    def average(starts: Sequence[int]) -> None:
        stop = starts[-1] + 1
        compiled.box_means(image[starts[0] * down : stop * down], across, down, boxes[starts[0] : stop])

    share(average, range(len(boxes)), threads)
    box = (0, 0, image.shape[1] / across, image.shape[0] / down)
    return np.asarray(Image.fromarray(boxes).resize(size, Image.Resampling.LANCZOS, box=box))


def _box_sides(image: NDArray[np.uint8], size: tuple[int, int]) -> tuple[int, int]:
    """Returns the width and height, in pixels, of the boxes to average."""
    height, width = image.shape[:2]
    return int(width / size[0] / _REDUCING_GAP) or 1, int(height / size[1] / _REDUCING_GAP) or 1


def _reduce_deep(image: NDArray[np.uint16], size: tuple[int, int]) -> Array:
    planes = [
        Image.fromarray(image[..., i].astype(np.float32)).resize(
            size, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP
        )
        for i in range(3)
    ]
    return np.clip(np.stack([np.asarray(plane) for plane in planes], 2) / np.float32(65535), 0, 1)


class WideLine(NamedTuple):
    """A line over luma for rows of the full picture.

    Attributes:
        values: [2, n, width] float32, slope and offset.
        upper: [rows] int64, the index among the n lines of the one above each row of the picture.
        share: [rows] float32 in [0, 1], the weight of the line below, at the index after.
    """

    values: Array
    upper: NDArray[np.int64]
    share: Array


class UpsampledLight:
    """Computes the light of rows of the full picture from a reduced light.

    Attributes:
        low, high: as given.

    Args:
        line: [2, h', w'] float32, slope and offset of the light over luminance, made by `fit_line`.
        low, high: limits of the light to return; between pixels, a fit may go beyond the network's light.
        height, width: size of the full picture, in pixels.
    """

    def __init__(self, line: Array, low: float, high: float, height: int, width: int) -> None:
        self._line, self.low, self.high = line, low, high
        self._height, self._width = height, width
        self._left, self._share = neighbours(line.shape[2], width, 0, width)

    def rows(
        self,
        start: int,
        stop: int,
        luma: NDArray[np.uint8] | Array,
        workspace: Workspace | None = None,
    ) -> Array:
        """Returns the light of some rows.

        Args:
            start: first row of the full picture.
            stop: row after the last.
            luma: [stop - start, width] uint8, or float32 in [0, 1], of those rows of the picture.
            workspace: memory for the result, which is valid until the next use; None allocates new memory.

        Returns:
            [stop - start, width] float32, within the range of the reduced light.
        """
        line = self.wide_line(start, stop, 255 if luma.dtype == np.uint8 else 1, workspace)
        slope: Array
        slope, offset = (workspace or Workspace()).array("line", (2, stop - start, self._width))
        for row, end in _runs(line.upper):
            share = line.share[row:end, None]
            for part, target in enumerate((slope, offset)):
                above = line.values[part, line.upper[row]]
                np.multiply(line.values[part, line.upper[row] + 1] - above, share, out=target[row:end])
                target[row:end] += above
        slope *= luma
        slope += offset
        light: Array = np.clip(slope, self.low, self.high, out=slope)
        return light

    def wide_line(self, start: int, stop: int, luma_top: int, workspace: Workspace | None = None) -> WideLine:
        """Returns the lines for some rows of the full picture, interpolated to its width, not to its height.

        Args:
            start: first row of the full picture.
            stop: row after the last.
            luma_top: the luma of white.
            workspace: memory for the values, which are valid until the next use; None allocates new memory.
        """
        upper, share = neighbours(self._line.shape[1], self._height, start, stop)
        first, last = int(upper[0]), int(upper[-1]) + 1
        line = self._line[:, first : last + 1] / np.array([luma_top, 1], np.float32)[:, None, None]
        values = (workspace or Workspace()).array("wide line", (*line.shape[:2], self._width))
        if compiled.library() is None:
            left, right = (np.take(line, self._left + step, 2) for step in (0, 1))
            right -= left
            right *= self._share
            np.add(right, left, out=values)
        else:
            compiled.widen(line, self._left, self._share, values)
        return WideLine(values, upper - first, share)


class GuidedLight(UpsampledLight):
    """Fits a reduced illumination map to a guide, and computes it for rows of the full picture.

    Args:
        light: [h', w'] float32.
        guide: [h', w'] float32 in [0, 1], `luminance` of the picture on which the light was estimated.
        height, width: size of the full picture, in pixels.
        radius_px, epsilon: as for `fit_line`.
    """

    def __init__(
        self,
        light: Array,
        guide: Array,
        height: int,
        width: int,
        radius_px: int | None = None,
        epsilon: float = EPSILON,
    ) -> None:
        line = fit_line(light, guide, max(height, width), radius_px, epsilon)
        super().__init__(line, float(light.min()), float(light.max()), height, width)


def fit_line(
    light: Array, guide: Array, long_side_px: int, radius_px: int | None = None, epsilon: float = EPSILON
) -> Array:
    """Fits the light as a line over luminance around every pixel.

    Args:
        light: [h', w'] float32.
        guide: [h', w'] float32 in [0, 1].
        long_side_px: long side of the full picture.
        radius_px: radius of the fit, in pixels of the reduced picture; None follows the factor of reduction,
            up to a `SIDE_PER_RADIUS`-th of the reduced picture's long side.
        epsilon: variance of luminance below which a neighbourhood counts as flat.

    Returns:
        [2, h', w'] float32, slope and offset.

    Source: He and Sun, Fast Guided Filter, arXiv 1505.00996.
    """
    longest = max(light.shape)
    radius = min(round(RADIUS_PER_FACTOR * (long_side_px / longest - 1)), longest // SIDE_PER_RADIUS)
    radius = radius_px or max(1, radius)
    means = box_means(np.stack([guide, light, guide * light, guide * guide]), radius)
    mean_guide, mean_light, mean_product, mean_square = means
    covariance = mean_product - mean_guide * mean_light
    variance = mean_square - mean_guide * mean_guide
    slope = covariance / (variance.clip(0) + epsilon)
    return box_means(np.stack([slope, mean_light - slope * mean_guide]), radius)


def neighbours(small: int, large: int, start: int, stop: int) -> tuple[NDArray[np.int64], Array]:
    """Finds the two pixels of a reduced axis between which each pixel of the full axis lies.

    Args:
        small, large: pixels of the reduced axis, at least 2, and of the full axis.
        start, stop: range of pixels of the full axis.

    Returns:
        [stop - start] int64, the lower neighbour, at most `small - 2`; and float32, the weight of the other.
    """
    position = (np.arange(start, stop, dtype=np.float32) + 0.5) * (small / large) - 0.5
    position = np.clip(position, 0, small - 1)
    lower = np.minimum(position.astype(np.int64), small - 2)
    return lower, (position - lower).astype(np.float32)


def _runs(values: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yields the first index and the end of each run of equal values."""
    ends = [*(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    yield from zip([0, *ends[:-1]], ends, strict=True)


def luminance(image: NDArray[Any]) -> Array:
    """Returns Rec. 601 luma in [0, 1], [h, w] float32, of [h, w, 3] uint8, uint16 or float32 in [0, 1]."""
    top = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    luma: Array = image.astype(np.float32) @ (_LUMA / np.float32(top))
    return luma


def box_means(values: Array, radius: int) -> Array:
    """Returns [n, h, w] float32 means over windows that reach `radius` to each side, less at the borders."""
    if compiled.library() is not None:
        return compiled.window_means(values, radius)
    for _ in range(2):  # along rows, then transposed: numpy's sums down columns are ten times slower
        length = values.shape[2]
        sums = np.empty((*values.shape[:2], length + 2 * radius + 1))
        inner = sums[..., radius + 1 : radius + 1 + length]
        np.cumsum(values, 2, np.float64, out=inner)
        sums[..., : radius + 1] = 0
        sums[..., radius + 1 + length :] = inner[..., -1:]
        places = np.arange(length)
        counts = np.minimum(places + radius + 1, length) - np.maximum(places - radius, 0)
        means = (sums[..., 2 * radius + 1 :] - sums[..., :length]) / counts
        values = means.swapaxes(1, 2).astype(np.float32, order="C")
    return values
