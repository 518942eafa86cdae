"""Dividing a photograph by its illumination map."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

LIGHT_FLOOR: Final = 1e-12
"""Smallest divisor: no picture of 8 or 16 bits can tell it from zero, and black stays black."""


def relight(image: NDArray[Any], light: Array, out: NDArray[Any], curve: Array | None = None) -> None:
    """Writes clip(image / light) into `out`, rounded half up as the published code does.

    Args:
        image: [h, w, c] uint8 or uint16.
        light: [h, w] float32, at least 0.
        out: like the image; may be the image.
        curve: tone curve of the image's space where it is not sRGB's: see
            `rave_runtime.colour.tone_curve`. The division then happens in sRGB's encoding.
    """
    top = np.float32(np.iinfo(image.dtype).max)
    gain = (1 / np.maximum(light, np.float32(LIGHT_FLOOR)))[..., None]
    if curve is None:
        result = image * gain
    else:
        straight = np.linspace(0, 1, len(curve), dtype=np.float32)
        encoded = np.interp(image / top, straight, curve)
        result = np.interp(np.minimum(encoded * gain, 1), curve, straight) * top
    result += np.float32(0.5)
    np.minimum(result, top, out=result)
    np.copyto(out, result, casting="unsafe")
