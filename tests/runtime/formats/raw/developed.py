"""A room with a window as a camera's raw file, and what must come of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo
from rave_runtime.run.options import RunOptions
from tests.runtime.formats.raw.raws import make_dng

OPTIONS = RunOptions(device="cpu", precision="fp32", working_size=64)


def encoded(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def make_scene(height: int = 120, width: int = 160) -> NDArray[np.float64]:
    """A bright window in a dark room, linear: [h, w, 3]."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    scene = np.stack([0.02 + 0.06 * x, 0.02 + 0.06 * y, 0.03 + 0.03 * x * y], 2)
    scene[: height // 3, width // 2 :] = 0.7 + 0.3 * x[: height // 3, width // 2 :, None]
    return scene


def shown(scene: NDArray[np.float64], gain: float = 1.0) -> NDArray[np.uint8]:
    """What a camera's JPEG would show that is brighter than the sensor's values."""
    return (np.clip(encoded(scene * gain), 0, 1) * 255 + 0.5).astype(np.uint8)


def developed(**options: object) -> Photo:
    return read_photo(make_dng(make_scene(), **options))  # type: ignore[arg-type]


def as_jpeg(photo: Photo) -> bytes:
    from rave_runtime.photos.encode import encode_photo

    return encode_photo(photo, photo.pixels, "JPEG").content
