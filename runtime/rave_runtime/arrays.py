"""The kinds of arrays that all packages pass around. The docstrings of functions give the shapes."""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
"""float32 values of any shape, such as light and luminance."""

Picture = NDArray[np.uint8]
"""[h, w, 3] uint8 sRGB: a picture as training, exporting and measuring read it."""

Pixels = NDArray[np.unsignedinteger[Any]]
"""[h, w, c] uint8 or uint16: a photograph's values as its file holds them."""

_WIDE_BYTES: Final = 4


def wide_pixels(height: int, width: int) -> Picture:
    """Returns memory for a picture whose pixels lie four bytes apart, as Pillow and libjpeg-turbo keep them.

    What decodes into such memory, divides in it and encodes from it copies nothing on the way.

    Args:
        height: in pixels.
        width: in pixels.

    Returns:
        [h, w, 3] uint8, not initialised: all but the fourth byte of every pixel.
    """
    return np.empty((height, width, _WIDE_BYTES), np.uint8)[..., :3]


def is_wide(pixels: NDArray[Any]) -> bool:
    """Whether an array [h, w, 3] uint8 is memory of `wide_pixels`, or whole rows of it."""
    base = pixels.base
    return (
        isinstance(base, np.ndarray)
        and base.dtype == pixels.dtype == np.uint8
        and pixels.ndim == base.ndim == 3
        and base.shape[1:] == (pixels.shape[1], _WIDE_BYTES)
        and base.flags.c_contiguous
        and pixels.shape[2] == 3
        and pixels.strides == base.strides
        and (pixels.ctypes.data - base.ctypes.data) % _WIDE_BYTES == 0
        and sys.byteorder == "little"
    )


def with_fourth_byte(pixels: Picture) -> NDArray[np.uint8]:
    """Returns the memory of pixels that `is_wide` accepts, with the fourth byte: [h, w, 4] uint8, no copy."""
    assert is_wide(pixels)
    return np.lib.stride_tricks.as_strided(pixels, (*pixels.shape[:2], _WIDE_BYTES))


def empty_like_pixels(pixels: NDArray[Any]) -> NDArray[Any]:
    """Returns uninitialised memory of the shape, dtype and layout of a photograph's pixels."""
    return wide_pixels(*pixels.shape[:2]) if is_wide(pixels) else np.empty_like(pixels)
