"""Divides a photograph by its illumination map."""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.light.workspace import Workspace

BLOCK_PX: Final = 8
"""Side of the blocks whose mean colour is corrected, as in JPEG. Differences inside a block are kept."""

LIGHT_FLOOR: Final = 1e-12
"""Smallest divisor: too small to matter with 8 or 16 bits, but above zero, so that black stays black."""


def relight(image: NDArray[Any], light: Array, out: NDArray[Any], curve: Array | None = None) -> None:
    """Writes clip(image / light) into `out`, rounded half up as the published code does.

    Args:
        image: [h, w, c] uint8 or uint16.
        light: [h, w] float32, at least 0.
        out: like the image; may be the image.
        curve: tone curve of the image's colour space; None for sRGB's: see
            `rave_runtime.photos.colour.tone_curve`. The division happens in sRGB's encoding.
    """
    height, width, channels = image.shape
    top = np.iinfo(image.dtype).max
    # `clip` is used even for one bound: `maximum` with a scalar takes five times as long (numpy 2.4, AVX2).
    gain = np.clip(light, np.float32(LIGHT_FLOOR), np.float32(np.inf))
    np.reciprocal(gain, out=gain)
    # Arrays have rows of values, not of pixels: numpy is slow along a last axis of length three.
    result = _repeat(gain, channels)
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
    correction: Array | None = None,
    curve: Array | None = None,
    workspace: Workspace | None = None,
) -> None:
    """Writes an image divided by its light, with a roll-off of highlights, into `out`.

    `rave_runtime.light.normal_way` gives the equations.

    Args:
        image: [h, w, c] uint8 or uint16, one channel or three.
        divisor: [h, w] float32, within `rave_runtime.light.look.DIVISOR_BOUNDS`.
        out: like the image; may be the image.
        knee: result, in [0, 1], from which highlights roll off.
        correction: [c, n, w] float32 values that are added to the pixels, in [0, 1], before the gain: each
            row to `BLOCK_PX` rows of the image, the last one also to the rows that remain. None adds nothing.
        curve: tone curve of the image's colour space, as for `relight`.
        workspace: memory for intermediate values; None allocates new memory.
    """
    top = np.iinfo(image.dtype).max
    space = workspace or Workspace()
    planes, scale = _load_planes(image, space), np.float32(top)
    if curve is not None:
        encode, decode = value_tables(curve.tobytes(), top)
        for channel, plane in enumerate(planes):
            plane[...] = encode[image[..., channel]]
        scale = np.float32(1)
    gain = _gain(divisor, _brightest(planes, 1 / scale, space), knee, space)
    for channel, plane in enumerate(planes):
        if correction is not None:
            _add_blocks(plane, correction[channel] * scale)
        plane *= gain
        if correction is not None:
            np.clip(plane, np.float32(0), scale, out=plane)
        if curve is not None:
            plane[...] = _decode(plane, decode, top)
    _store_planes(planes, out)  # nothing is above white, nor below black


def _load_planes(pixels: NDArray[Any], space: Workspace) -> list[Array]:
    """Returns the channels of a picture, [h, w, c] uint8 or uint16, as [h, w] float32 each, not rescaled.

    Processors are fast on values that lie side by side.
    """
    height, width, channels = pixels.shape
    planes = [space.array(f"plane {channel}", (height, width)) for channel in range(channels)]
    for channel, plane in enumerate(planes):
        np.copyto(plane, pixels[..., channel])
    return planes


def _store_planes(planes: list[Array], out: NDArray[Any]) -> None:
    """Writes planes as a picture, rounded half up; the planes are overwritten.

    Args:
        planes: [h, w] float32 each, within the range of a pixel.
        out: [h, w, c] uint8 or uint16.
    """
    for channel, plane in enumerate(planes):
        plane += np.float32(0.5)
        np.copyto(out[..., channel], plane, casting="unsafe")


def _gain(divisor: Array, brightest: Array, knee: float, space: Workspace) -> Array:
    """Returns the gain g of each pixel, step 4 of `rave_runtime.light.normal_way`, with its names.

    Memory is used again for several of them. `brightest`, which is m, is overwritten.
    """
    zero, one = np.float32(0), np.float32(1)
    shape = divisor.shape
    darkens = bool(divisor.max() > 1)
    d1 = np.clip(divisor, zero, one, out=space.array("d1", shape)) if darkens else divisor
    threshold: Array = np.multiply(d1, np.float32(knee), out=space.array("gain", shape))  # k * D1
    w: Array = np.subtract(brightest, threshold, out=space.array("w", shape))
    if w.max() <= 0:  # no highlights here: the division alone
        gain: Array = np.divide(one, divisor, out=threshold)
        return gain
    is_below_knee = np.less_equal(w, zero, out=space.array("below knee", shape, np.bool_))
    np.clip(w, zero, one, out=w)
    e: Array = np.subtract(one, threshold, out=threshold)
    a: Array = np.subtract(one, d1, out=space.array("a", shape))
    a *= w
    a *= steepness(knee)
    brightest += np.float32(LIGHT_FLOOR)  # without it, black would be 0 / 0
    denominator: Array = np.multiply(d1, e, out=w)
    denominator += a
    denominator *= brightest
    gain = np.multiply(e, brightest, out=e)
    a *= np.float32(knee)
    gain += a
    gain /= denominator
    if darkens:
        gain *= np.divide(d1, divisor, out=denominator)
    np.copyto(gain, np.divide(one, divisor, out=denominator), where=is_below_knee)
    return gain


def steepness(knee: float) -> np.float32:
    """Returns 1 / (1 - k), for step 4 of `rave_runtime.light.normal_way`."""
    return np.float32(1 / (1 - knee))


def _brightest(planes: list[Array], scale: np.float32, space: Workspace) -> Array:
    """Returns the greatest channel of each pixel times `scale`, [h, w]."""
    brightest: Array = space.array("brightest", planes[0].shape)
    if len(planes) == 1:
        np.multiply(planes[0], scale, out=brightest)
    else:
        np.maximum(planes[0], planes[1], out=brightest)
        np.maximum(brightest, planes[2], out=brightest)
        brightest *= scale
    return brightest


def _add_blocks(plane: Array, values: Array) -> None:
    """Adds [n, w] values to a [h, w] plane: each row to `BLOCK_PX` rows, the last one also to the rest."""
    blocks, width = values.shape
    whole = blocks * BLOCK_PX
    rows = plane[:whole].reshape(blocks, BLOCK_PX, width)
    rows += values[:, None]
    plane[whole:] += values[-1]


def _decode(result: Array, decode: Array, top: int) -> Array:
    """Converts values in [0, 1] of sRGB's encoding to pixel values of another colour space.

    Args:
        result: the values, which are overwritten.
        decode: the second table of `value_tables`.
        top: the greatest pixel value.
    """
    np.clip(result, np.float32(0), np.float32(1), out=result)
    np.multiply(result, len(decode) - 1, out=result)
    if top == np.iinfo(np.uint8).max:
        decoded: Array = decode[result.astype(np.uint16)]
        return decoded
    # The steps of the table matter with 16 bits: values between two of its entries are interpolated.
    lower = np.minimum(result.astype(np.int32), len(decode) - 2)
    result -= lower
    result *= decode[lower + 1] - decode[lower]
    result += decode[lower]
    return result


def _write(result: Array, out: NDArray[Any], top: int) -> None:
    """Writes values rounded half up, as the published code does, and limited to the range of a pixel."""
    result += np.float32(0.5)
    np.clip(result, np.float32(0), np.float32(top), out=result)
    np.copyto(out, result.reshape(out.shape), casting="unsafe")


def _repeat(gain: Array, channels: int) -> Array:
    """Repeats each value of [h, w] to [h, w * channels], as `np.repeat` does but in half the time."""
    if channels == 1:
        return gain
    height, width = gain.shape
    repeated = np.empty((height, width, channels), np.float32)
    for channel in range(channels):
        repeated[..., channel] = gain
    return repeated.reshape(height, width * channels)


@functools.lru_cache(maxsize=8)
def value_tables(curve: bytes, top: int) -> tuple[Array, Array]:
    """Returns two tables of a tone curve.

    Args:
        curve: bytes of float32 values in [0, 1], the curve at equal steps.
        top: the greatest pixel value, 255 or 65535.

    Returns:
        [top + 1] float32, the curve for every pixel value; and [65536] float32, its inverse at equal steps of
        [0, 1], in pixel values.
    """
    results = np.frombuffer(curve, np.float32)
    arguments = np.linspace(0, 1, len(results))
    encode = np.interp(np.linspace(0, 1, top + 1), arguments, results)
    decode = np.interp(np.linspace(0, 1, 65536), results, arguments) * top
    return encode.astype(np.float32), decode.astype(np.float32)
