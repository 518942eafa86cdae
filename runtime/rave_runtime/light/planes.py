"""Splits pixels into a plane per channel, and back: processors are fast on values that lie side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.light.workspace import Workspace


def load_planes(pixels: NDArray[Any], space: Workspace) -> list[Array]:
    """Returns the channels of a picture, [h, w, c] uint8 or uint16, as [h, w] float32 each, not rescaled."""
    height, width, channels = pixels.shape
    planes = [space.array(f"plane {channel}", (height, width)) for channel in range(channels)]
    for channel, plane in enumerate(planes):
        np.copyto(plane, pixels[..., channel])
    return planes


def store_planes(planes: list[Array], out: NDArray[Any]) -> None:
    """Writes planes as a picture, rounded half up; the planes are overwritten.

    Args:
        planes: [h, w] float32 each, within the range of a pixel.
        out: [h, w, c] uint8 or uint16.
    """
    for channel, plane in enumerate(planes):
        plane += np.float32(0.5)
        np.copyto(out[..., channel], plane, casting="unsafe")
