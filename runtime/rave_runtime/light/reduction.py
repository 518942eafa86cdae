"""A reduced picture for the network, and its light brought back to full resolution.

Upsampling follows the picture's edges with a guided filter: around every pixel of the reduced
picture the light is fitted as a line over luminance; the line's two coefficients are smooth, so they
are what is interpolated, and the full picture's own luminance puts the edges back. The full light is
made in strips of rows and never exists whole.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.arrays import Array
from rave_runtime.light.workspace import Workspace

_PART_PX: Final = 64
"""Columns of the full picture in one product of their interpolation, at most."""

_PRODUCT_STEPS: Final = 1 << 17
"""Multiplications in one product, at most: OpenBLAS gives larger ones to several threads, which would take
the processors of other photographs."""

_STRIP_ROWS: Final = 64
"""Rows that are reduced at a time."""

_REDUCING_GAP: Final = 2.0
"""Boxes of pixels are averaged until the picture is this many times too large; Lanczos does the rest."""

_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)

EPSILON: Final = 1e-4
"""Variance of luminance below which a neighbourhood counts as flat, and its light as constant."""

RADIUS_PER_FACTOR: Final = 2.0
"""Radius of the fit, in pixels of the reduced picture, per factor of reduction beyond 1."""


class Reduction:
    """An antialiased reduction of a picture, and the luminance of the whole one, made in one pass.

    Attributes:
        pixels: [h', w', 3] uint8; where the image has 16 bits, float32 in [0, 1].

    Args:
        image: [h, w, 3] uint8 or uint16. Where it has 16 bits, rows must still be as they were when their
            luminance is asked for.
        long_side_px: long side of the reduction; the other side keeps the proportion, at least 2 pixels.
    """

    def __init__(self, image: NDArray[Any], long_side_px: int) -> None:
        height, width = image.shape[:2]
        longest = max(height, width)
        # One division, so that halves are exactly that: exported graphs round the same.
        size = (max(2, round(width * long_side_px / longest)), max(2, round(height * long_side_px / longest)))
        self.pixels: NDArray[np.uint8] | Array
        self._image = image
        self._luma: NDArray[np.uint8] | None = None
        if image.dtype == np.uint8:
            self.pixels, self._luma = _reduce_bytes(image, size)
        else:
            self.pixels = _reduce_deep(image, size)

    def luminance(self, start: int, stop: int) -> NDArray[np.uint8] | Array:
        """Rec. 601 luma of rows of the whole picture, [stop - start, w]: uint8, or float32 in [0, 1]."""
        return luminance(self._image[start:stop]) if self._luma is None else self._luma[start:stop]


def _reduce_bytes(
    image: NDArray[np.uint8], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What Pillow's `resize` with a reducing gap of 2 makes of the whole picture, and its luma.

    In strips, so that Pillow's four-byte pixels stay in the processor's cache for both.
    """
    height, width = image.shape[:2]
    across, down = (
        int(full / small / _REDUCING_GAP) or 1 for full, small in ((width, size[0]), (height, size[1]))
    )
    luma = np.empty((height, width), np.uint8)
    boxes = np.empty((-(-height // down), -(-width // across), 3), np.uint8)
    step = down * max(1, _STRIP_ROWS // down)
    for top in range(0, height, step):
        strip = Image.fromarray(image[top : top + step])
        luma[top : top + step] = np.asarray(strip.convert("L"))
        boxes[top // down : (top + step) // down] = np.asarray(strip.reduce((across, down)))
    reduced = Image.fromarray(boxes).resize(
        size, Image.Resampling.LANCZOS, box=(0, 0, width / across, height / down)
    )
    return np.asarray(reduced), luma


def _reduce_deep(image: NDArray[np.uint16], size: tuple[int, int]) -> Array:
    planes = [
        Image.fromarray(image[..., i].astype(np.float32)).resize(
            size, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP
        )
        for i in range(3)
    ]
    return np.clip(np.stack([np.asarray(plane) for plane in planes], 2) / np.float32(65535), 0, 1)


class UpsampledLight:
    """A reduced light as a function of the full picture's rows.

    Args:
        line: [2, h', w'] float32, slope and offset of the light over luminance, of `fit_line`.
        low: least light to give. Between neighbours a fit may overshoot what the network ever said.
        high: greatest light to give.
        height: height of the full picture, in pixels.
        width: width of the full picture, in pixels.
    """

    def __init__(self, line: Array, low: float, high: float, height: int, width: int) -> None:
        self._line, self._low, self._high = line, low, high
        self._height, self._width = height, width
        self._columns = _interpolation_in_parts(line.shape[2], width)

    def rows(
        self,
        start: int,
        stop: int,
        luma: NDArray[np.uint8] | Array,
        workspace: Workspace | None = None,
    ) -> Array:
        """The light of some rows.

        Args:
            start: first row of the full picture.
            stop: row after the last.
            luma: [stop - start, width] uint8, or float32 in [0, 1], of those rows of the picture.
            workspace: where the result lies, until it is asked again; fresh memory unless given.

        Returns:
            [stop - start, width] float32, within the range of the reduced light.
        """
        slope, offset = self._upsample(start, stop, 255 if luma.dtype == np.uint8 else 1, workspace)
        slope *= luma
        slope += offset
        light: Array = np.clip(slope, self._low, self._high, out=slope)
        return light

    def _upsample(self, start: int, stop: int, luma_top: int, workspace: Workspace | None) -> Array:
        """Slope and offset of the rows [start, stop), [2, stop - start, width], pixel centres aligned."""
        upper, share = neighbours(self._line.shape[1], self._height, start, stop)
        share = share[:, None]
        between = self._line[:, upper] * (1 - share) + self._line[:, upper + 1] * share
        between[0] /= luma_top
        windows = between.reshape(-1, between.shape[2])[:, self._columns.taken].swapaxes(0, 1)
        parts, taken, part_px = self._columns.weights.shape
        wide = (workspace or Workspace()).array("line", (2, stop - start, parts * part_px))
        products = wide.reshape(-1, parts, part_px).swapaxes(0, 1)
        step = max(1, _PRODUCT_STEPS // (taken * part_px))
        for first in range(0, products.shape[1], step):
            rows = slice(first, first + step)
            np.matmul(windows[:, rows], self._columns.weights, out=products[:, rows])
        return wide[..., : self._width]


class GuidedLight(UpsampledLight):
    """A reduced illumination map, fitted to a guide and brought to full size.

    Args:
        light: [h', w'] float32.
        guide: [h', w'] float32 in [0, 1], `luminance` of the picture it was estimated on.
        height: height of the full picture, in pixels.
        width: width of the full picture, in pixels.
        radius_px: radius of the fit, in pixels of the reduced picture; None follows the factor of reduction.
        epsilon: variance of luminance below which a neighbourhood counts as flat.
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
    """The light as a line over luminance, fitted around every pixel.

    Args:
        light: [h', w'] float32.
        guide: [h', w'] float32 in [0, 1].
        long_side_px: long side of the full picture.
        radius_px: radius of the fit, in pixels of the reduced picture; None follows the factor of reduction.
        epsilon: variance of luminance below which a neighbourhood counts as flat.

    Returns:
        [2, h', w'] float32, slope and offset.

    Source: He and Sun, Fast Guided Filter, arXiv 1505.00996.
    """
    factor = long_side_px / max(light.shape)
    radius = radius_px or max(1, round(RADIUS_PER_FACTOR * (factor - 1)))
    means = box_means(np.stack([guide, light, guide * light, guide * guide]), radius)
    mean_guide, mean_light, mean_product, mean_square = means
    covariance = mean_product - mean_guide * mean_light
    variance = mean_square - mean_guide * mean_guide
    slope = covariance / (variance.clip(0) + epsilon)
    return box_means(np.stack([slope, mean_light - slope * mean_guide]), radius)


def neighbours(small: int, large: int, start: int, stop: int) -> tuple[NDArray[np.int64], Array]:
    """Between which pixels of a reduced axis pixels of the full one lie.

    Returns:
        The lower neighbour of each of [start, stop), at most `small - 2`, and the share of the other.
    """
    position = (np.arange(start, stop, dtype=np.float32) + 0.5) * (small / large) - 0.5
    position = np.clip(position, 0, small - 1)
    lower = np.minimum(position.astype(np.int64), small - 2)
    return lower, (position - lower).astype(np.float32)


class _Columns(NamedTuple):
    """Linear interpolation of an axis as small matrix products, each for a few columns of the result.

    A product is what processors do best, but of the whole axis it would be nearly all zeros: columns that
    lie together need few neighbours.

    Attributes:
        taken: [parts, k] int, the columns of the reduced axis that a part needs.
        weights: [parts, k, width of a part] float32; the last part may reach beyond the axis.
    """

    taken: NDArray[np.int64]
    weights: Array


def _interpolation_in_parts(small: int, large: int) -> _Columns:
    parts = -(-large // _PART_PX)
    part_px = -(-large // parts)
    lower, share = neighbours(small, large, 0, parts * part_px)
    lower, share = lower.reshape(parts, part_px), share.reshape(parts, part_px)
    most = min(small, int((lower[:, -1] - lower[:, 0]).max()) + 2)
    first = np.minimum(lower[:, 0], small - most)
    weights = np.zeros((parts, most, part_px), np.float32)
    place, column = lower - first[:, None], np.arange(part_px)
    for part in range(parts):
        weights[part, place[part], column] = 1 - share[part]
        weights[part, place[part] + 1, column] = share[part]
    return _Columns(first[:, None] + np.arange(most), weights)


def luminance(image: NDArray[Any]) -> Array:
    """Rec. 601 luma in [0, 1], [h, w] float32, of [h, w, 3] uint8, uint16 or float32 in [0, 1]."""
    top = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    luma: Array = image.astype(np.float32) @ (_LUMA / np.float32(top))
    return luma


def box_means(values: Array, radius: int) -> Array:
    """Means over square windows, smaller at the borders. [n, h, w] float32 -> the same."""
    for _ in range(2):  # along rows, each time: numpy's sums down columns are ten times slower
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
