"""Dividing a photograph by its illumination map."""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.uint16])

LIGHT_FLOOR: Final = 1e-12
"""Smallest divisor: no picture of 8 or 16 bits can tell it from zero, and black stays black."""


def relight(image: Pixels, light: NDArray[np.float32], out: Pixels) -> None:
    """Writes clip(image / light) into `out`, rounded half up as the published code does.

    Args:
        image: [h, w, c] uint8 or uint16.
        light: [h, w] float32, at least 0.
        out: like the image; may be the image.
    """
    top = np.iinfo(image.dtype).max
    gain = 1 / np.maximum(light, np.float32(LIGHT_FLOOR))
    result = image * gain[..., None]
    result += np.float32(0.5)
    np.minimum(result, np.float32(top), out=result)
    np.copyto(out, result, casting="unsafe")
