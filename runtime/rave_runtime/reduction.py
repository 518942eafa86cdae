"""The normal way: light estimated on a reduced picture, and brought back to full resolution.

Upsampling follows the picture's edges with a guided filter: around every pixel of the reduced
picture the light is fitted as a line over luminance; the line's two coefficients are smooth, so they
are what is interpolated, and the full picture's own luminance puts the edges back. The full light is
made in strips of rows and never exists whole.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]

_PART_PX: Final = 128
"""Columns interpolated at once."""

_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)

EPSILON: Final = 1e-4
"""Variance of luminance below which a neighbourhood counts as flat, and its light as constant."""

RADIUS_PER_FACTOR: Final = 2.0
"""Radius of the fit, in pixels of the reduced picture, per factor of reduction beyond 1."""


def reduce_image(image: NDArray[Any], long_side_px: int) -> Array:
    """An antialiased reduction to a long side.

    Args:
        image: [h, w, 3] uint8 or uint16.
        long_side_px: of the result; its other side keeps the proportion, at least 2 pixels.

    Returns:
        [h', w', 3] float32 in [0, 1].
    """
    height, width = image.shape[:2]
    scale = long_side_px / max(height, width)
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    if image.dtype == np.uint8:
        reduced = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        return np.asarray(reduced, np.float32) * np.float32(1 / 255)
    planes = [
        Image.fromarray(image[..., i].astype(np.float32)).resize(
            size, Image.Resampling.LANCZOS, reducing_gap=2.0
        )
        for i in range(3)
    ]
    return np.clip(np.stack([np.asarray(plane) for plane in planes], 2) / np.float32(65535), 0, 1)


class GuidedLight:
    """A reduced illumination map as a function of the full picture's rows.

    Args:
        light: [h', w'] float32.
        reduced: [h', w', 3] float32 in [0, 1], the picture it was estimated on.
        height: of the full picture, in pixels.
        width: likewise.
        radius_px: of the fit, in pixels of the reduced picture; None follows the factor of reduction.
        epsilon: variance of luminance below which a neighbourhood counts as flat.

    Source: He and Sun, Fast Guided Filter, arXiv 1505.00996.
    """

    def __init__(
        self,
        light: Array,
        reduced: Array,
        height: int,
        width: int,
        radius_px: int | None = None,
        epsilon: float = EPSILON,
    ) -> None:
        self._height, self._width = height, width
        factor = max(height, width) / max(light.shape)
        radius = radius_px or max(1, round(RADIUS_PER_FACTOR * (factor - 1)))
        guide: Array = reduced @ _LUMA
        mean_guide, mean_light = _box_mean(guide, radius), _box_mean(light, radius)
        covariance = _box_mean(guide * light, radius) - mean_guide * mean_light
        variance = _box_mean(guide * guide, radius) - mean_guide * mean_guide
        slope: Array = (covariance / (variance.clip(0) + epsilon)).astype(np.float32)
        offset: Array = mean_light - slope * mean_guide
        self._line = np.stack([_box_mean(slope, radius), _box_mean(offset, radius)])
        self._columns = _interpolation_in_parts(light.shape[1], width)
        # Between neighbours a fit may overshoot what the network ever said; its range is the bound.
        self._low, self._high = float(light.min()), float(light.max())

    def rows(self, start: int, stop: int, image: NDArray[Any]) -> Array:
        """The light of some rows.

        Args:
            start: first row of the full picture.
            stop: row after the last.
            image: [stop - start, width, 3] uint8 or uint16, those rows of the picture.

        Returns:
            [stop - start, width] float32, within the range of the reduced light.
        """
        slope, offset = self._upsample(start, stop)
        slope *= luminance(image)
        slope += offset
        light: Array = np.clip(slope, self._low, self._high, out=slope)
        return light

    def _upsample(self, start: int, stop: int) -> Array:
        """Slope and offset of the rows [start, stop), [2, stop - start, width], pixel centres aligned."""
        upper, share = _neighbours(self._line.shape[1], self._height, start, stop)
        share = share[:, None]
        between = self._line[:, upper] * (1 - share) + self._line[:, upper + 1] * share
        between = between.reshape(-1, between.shape[2])
        wide = np.empty((len(between), self._width), np.float32)
        for low, high, first, last, weights in self._columns:
            np.matmul(between[:, low:high], weights, out=wide[:, first:last])
        result: Array = wide.reshape(2, stop - start, self._width)
        return result


def _neighbours(small: int, large: int, start: int, stop: int) -> tuple[NDArray[np.int64], Array]:
    """Between which pixels of a reduced axis pixels of the full one lie.

    Returns:
        The lower neighbour of each of [start, stop), at most `small - 2`, and the share of the other.
    """
    position = (np.arange(start, stop, dtype=np.float32) + 0.5) * (small / large) - 0.5
    position = np.clip(position, 0, small - 1)
    lower = np.minimum(position.astype(np.int64), small - 2)
    return lower, (position - lower).astype(np.float32)


def _interpolation_in_parts(small: int, large: int) -> list[tuple[int, int, int, int, Array]]:
    """Linear interpolation of an axis as small matrix products, each for a few columns of the result.

    A product is what processors do best, but of the whole axis it would be nearly all zeros: columns that
    lie together need few neighbours. Parts are small enough that no product is given to several threads.

    Returns:
        For each part: its columns of the reduced axis, its columns of the full one (ends excluded), and
        the weights between them.
    """
    lower, share = _neighbours(small, large, 0, large)
    parts = []
    for first in range(0, large, _PART_PX):
        last = min(first + _PART_PX, large)
        low, high = int(lower[first]), int(lower[last - 1]) + 2
        weights = np.zeros((high - low, last - first), np.float32)
        columns = np.arange(last - first)
        weights[lower[first:last] - low, columns] = 1 - share[first:last]
        weights[lower[first:last] - low + 1, columns] += share[first:last]
        parts.append((low, high, first, last, weights))
    return parts


def luminance(image: NDArray[Any]) -> Array:
    """Rec. 601 luma of [h, w, 3] uint8 or uint16, [h, w] float32 in [0, 1]."""
    if image.dtype == np.uint8:
        grey = np.asarray(Image.fromarray(np.ascontiguousarray(image)).convert("L"))
        return grey * np.float32(1 / 255)
    luma: Array = image.astype(np.float32) @ (_LUMA / np.float32(65535))
    return luma


def _box_mean(values: Array, radius: int) -> Array:
    """Mean over a square window, smaller at the borders. [h, w] float32 -> the same."""
    result = values.astype(np.float64)
    for axis in (0, 1):
        length = result.shape[axis]
        total = np.concatenate([np.zeros_like(result.take([0], axis)), result.cumsum(axis)], axis)
        low = np.maximum(np.arange(length) - radius, 0)
        high = np.minimum(np.arange(length) + radius + 1, length)
        count = (high - low).astype(np.float64)
        result = (total.take(high, axis) - total.take(low, axis)) / (
            count[:, None] if axis == 0 else count[None, :]
        )
    return result.astype(np.float32)
