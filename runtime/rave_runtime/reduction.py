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
        self._slope = _box_mean(slope, radius)
        offset: Array = mean_light - slope * mean_guide
        self._offset = _box_mean(offset, radius)
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
        light = self._upsample(self._slope, start, stop)
        light *= luminance(image)
        light += self._upsample(self._offset, start, stop)
        return np.clip(light, self._low, self._high, out=light)

    def _upsample(self, small: Array, start: int, stop: int) -> Array:
        """Bilinear interpolation of the rows [start, stop), pixel centres aligned."""
        rows, _ = small.shape
        position = (np.arange(start, stop, dtype=np.float32) + 0.5) * (rows / self._height) - 0.5
        position = np.clip(position, 0, rows - 1)
        upper = np.minimum(position.astype(np.int64), rows - 2)
        share = (position - upper)[:, None].astype(np.float32)
        between = small[upper] * (1 - share) + small[upper + 1] * share
        wide = Image.fromarray(between).resize((self._width, stop - start), Image.Resampling.BILINEAR)
        return np.array(wide)


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
