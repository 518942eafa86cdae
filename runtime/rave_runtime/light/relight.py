"""Dividing a photograph by its illumination map."""

from __future__ import annotations

import functools
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
            `rave_runtime.photos.colour.tone_curve`. The division then happens in sRGB's encoding.
    """
    height, width, channels = image.shape
    top = np.iinfo(image.dtype).max
    # `clip`, also where one bound would do: with a scalar, `minimum` and `maximum` take five times as long
    # (numpy 2.4 with AVX2).
    gain = np.clip(light, np.float32(LIGHT_FLOOR), np.float32(np.inf))
    np.reciprocal(gain, out=gain)
    # Rows of values rather than of pixels: numpy is slow where its inner loop has three turns.
    result = _repeat(gain, channels) if channels > 1 else gain
    values = image.reshape(height, width * channels)
    if curve is None:
        np.multiply(values, result, out=result)
    else:
        encode, decode = _tables(curve.tobytes(), top)
        np.multiply(encode[values], result, out=result)
        np.clip(result, np.float32(0), np.float32(1), out=result)
        np.multiply(result, len(decode) - 1, out=result)
        if top == np.iinfo(np.uint8).max:
            result = decode[result.astype(np.uint16)]
        else:  # 16 bits see the steps of a table
            lower = np.minimum(result.astype(np.int32), len(decode) - 2)
            result -= lower
            result *= decode[lower + 1] - decode[lower]
            result += decode[lower]
    result += np.float32(0.5)
    np.clip(result, np.float32(0), np.float32(top), out=result)
    np.copyto(out, result.reshape(image.shape), casting="unsafe")


def _repeat(gain: Array, channels: int) -> Array:
    """[h, w] -> [h, w * channels], as `np.repeat` but in half of its time."""
    height, width = gain.shape
    repeated = np.empty((height, width, channels), np.float32)
    for channel in range(channels):
        repeated[..., channel] = gain
    return repeated.reshape(height, width * channels)


@functools.lru_cache(maxsize=8)
def _tables(curve: bytes, top: int) -> tuple[Array, Array]:
    """A curve for every pixel value, and its inverse for 65536 equal steps, in pixel values."""
    shape = np.frombuffer(curve, np.float32)
    straight = np.linspace(0, 1, len(shape))
    encode = np.interp(np.linspace(0, 1, top + 1), straight, shape)
    decode = np.interp(np.linspace(0, 1, 65536), shape, straight) * top
    return encode.astype(np.float32), decode.astype(np.float32)
