"""The picture that most tests of the runtime enhance, made on the spot."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Pixels


class MakePicture(Protocol):
    """What the fixture `picture` is."""

    def __call__(self, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]: ...


def make_picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A bright sky over a dark, textured foreground: [height, width, 3] uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    sky = y < 0.45 + 0.05 * np.sin(12 * x)
    base = np.where(sky, 0.85 - 0.2 * y, 0.12 + 0.05 * np.sin(40 * x) * np.cos(31 * y))
    colour = base[..., None] * np.array([1.0, 0.9, 0.8]) + rng.normal(0, 0.01, (height, width, 3))
    return np.asarray(np.clip(colour, 0, 1) * 255, np.uint8)


def make_pixels(channels: int, dtype: type = np.uint8) -> Pixels:
    """Smooth ramps over the whole range of a dtype, another one in each channel: [40, 56, channels]."""
    top = np.iinfo(dtype).max
    y, x = np.mgrid[0 : 1 : 40 * 1j, 0 : 1 : 56 * 1j]
    planes = [x, y, (x + y) / 2, 1 - x * y][:channels]
    return (np.stack(planes, 2) * top + 0.5).astype(dtype)
