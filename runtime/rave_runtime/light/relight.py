"""Dividing a photograph by its illumination map."""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

BLOCK_PX: Final = 8
"""Side of the blocks of which the mean colour is corrected: JPEG's. What happens inside a block stays."""

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
        encode, decode = value_tables(curve.tobytes(), top)
        np.multiply(encode[values], result, out=result)
        result = _decode(result, decode, top)
    _write(result, out, top)


def relight_gently(
    image: NDArray[Any],
    divisor: Array,
    out: NDArray[Any],
    knee: float,
    correction: tuple[slice, Array] | None = None,
    curve: Array | None = None,
) -> None:
    """Writes an image divided by its light, with a shoulder for the highlights, into `out`.

    See `rave_runtime.light.normal_way` for its equations.

    Args:
        image: [h, w, c] uint8 or uint16, one channel or three.
        divisor: [h, w] float32, within `rave_runtime.light.look.DIVISOR_BOUNDS`.
        out: like the image; may be the image.
        knee: result, in [0, 1], from which highlights roll off.
        correction: columns of pixels, and [n, columns * c] float32, what is added to their values in [0, 1]
            before the gain: each row to `BLOCK_PX` rows of the image, the last one also to those that remain.
            None adds nothing. See `rave_runtime.light.chroma`.
        curve: tone curve of the image's space where it is not sRGB's, as for `relight`.
    """
    height, width, channels = image.shape
    top = np.iinfo(image.dtype).max
    values = image.reshape(height, width * channels)
    scale = np.float32(top)
    if curve is not None:
        encode, decode = value_tables(curve.tobytes(), top)
        values, scale = encode[values], np.float32(1)
    gain = _gain(divisor, _brightest(values, channels) * (1 / scale), knee)
    result = _repeat(gain, channels) if channels > 1 else gain
    if correction is None:
        np.multiply(values, result, out=result)
    else:
        columns, added = correction
        _multiply_corrected(values, added * scale, slice(columns.start * 3, columns.stop * 3), scale, result)
    if curve is not None:
        result = _decode(result, decode, top)
    _write(result, out, top, limit=False)  # nothing is above white, nor below black


def _gain(divisor: Array, brightest: Array, knee: float) -> Array:
    """The gain of each pixel, step 4 of `rave_runtime.light.normal_way`; `brightest` is overwritten."""
    one = np.float32(1)
    darkens = bool(divisor.max() > 1)
    limited = np.clip(divisor, np.float32(0), one) if darkens else divisor
    rest = limited * np.float32(knee)
    above = brightest - rest
    np.clip(above, np.float32(0), one, out=above)
    np.subtract(one, rest, out=rest)
    bent = one - limited
    bent *= above
    bent *= np.float32(1 / (1 - knee))
    brightest += np.float32(LIGHT_FLOOR)  # without it, black would be 0 / 0
    below = np.multiply(limited, rest, out=above)
    below += bent
    below *= brightest
    rest *= brightest
    bent *= np.float32(knee)
    rest += bent
    rest /= below
    if darkens:
        rest *= limited / divisor
    return rest


def _brightest(values: NDArray[Any], channels: int) -> NDArray[Any]:
    """The greatest channel of each pixel: [h, w * c] -> [h, w]."""
    if channels == 1:
        return values
    # Along neighbours in memory rather than along pixels, which takes a fifth of the time.
    flat = values.reshape(-1)
    pairs = np.maximum(flat[:-1], flat[1:])
    brightest: NDArray[Any] = np.maximum(pairs[:-1], flat[2:])[::3].reshape(values.shape[0], -1)
    return brightest


def _multiply_corrected(
    values: NDArray[Any], added: Array, columns: slice, top: np.float32, result: Array
) -> None:
    """Multiplies `result`, the gains, by values to which something is added in some columns."""
    for rest in (slice(0, columns.start), slice(columns.stop, None)):
        np.multiply(values[:, rest], result[:, rest], out=result[:, rest])
    blocks, length = added.shape
    whole = blocks * BLOCK_PX
    blocked = (blocks, BLOCK_PX, length)
    part = values[:, columns]
    corrected = np.empty(part.shape, np.float32)
    np.add(part[:whole].reshape(blocked), added[:, None], out=corrected[:whole].reshape(blocked))
    np.add(part[whole:], added[-1], out=corrected[whole:])
    corrected *= result[:, columns]
    np.clip(corrected, np.float32(0), top, out=result[:, columns])


def _decode(result: Array, decode: Array, top: int) -> Array:
    """Values in [0, 1] of sRGB's encoding as pixel values of another space."""
    np.clip(result, np.float32(0), np.float32(1), out=result)
    np.multiply(result, len(decode) - 1, out=result)
    if top == np.iinfo(np.uint8).max:
        decoded: Array = decode[result.astype(np.uint16)]
        return decoded
    lower = np.minimum(result.astype(np.int32), len(decode) - 2)  # 16 bits see the steps of a table
    result -= lower
    result *= decode[lower + 1] - decode[lower]
    result += decode[lower]
    return result


def _write(result: Array, out: NDArray[Any], top: int, *, limit: bool = True) -> None:
    """Rounds half up, as the published code does, and limits to what a pixel holds."""
    half = np.float32(0.5)
    if limit:
        result += half
        np.clip(result, np.float32(0), np.float32(top), out=result)
        np.copyto(out, result.reshape(out.shape), casting="unsafe")
    else:
        np.add(result.reshape(out.shape), half, out=out, casting="unsafe")


def _repeat(gain: Array, channels: int) -> Array:
    """[h, w] -> [h, w * channels], as `np.repeat` but in half of its time."""
    height, width = gain.shape
    repeated = np.empty((height, width, channels), np.float32)
    for channel in range(channels):
        repeated[..., channel] = gain
    return repeated.reshape(height, width * channels)


@functools.lru_cache(maxsize=8)
def value_tables(curve: bytes, top: int) -> tuple[Array, Array]:
    """A curve for every pixel value, and its inverse for 65536 equal steps, in pixel values."""
    shape = np.frombuffer(curve, np.float32)
    straight = np.linspace(0, 1, len(shape))
    encode = np.interp(np.linspace(0, 1, top + 1), straight, shape)
    decode = np.interp(np.linspace(0, 1, 65536), shape, straight) * top
    return encode.astype(np.float32), decode.astype(np.float32)
