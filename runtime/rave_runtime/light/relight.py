"""Dividing a photograph by its illumination map."""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.light.planes import load_planes, store_planes
from rave_runtime.light.workspace import Workspace

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
    correction: tuple[slice, Array] | None = None,
    curve: Array | None = None,
    workspace: Workspace | None = None,
) -> None:
    """Writes an image divided by its light, with a shoulder for the highlights, into `out`.

    See `rave_runtime.light.normal_way` for its equations.

    Args:
        image: [h, w, c] uint8 or uint16, one channel or three.
        divisor: [h, w] float32, within `rave_runtime.light.look.DIVISOR_BOUNDS`.
        out: like the image; may be the image.
        knee: result, in [0, 1], from which highlights roll off.
        correction: columns of pixels, and [c, n, columns] float32, what is added to their values in [0, 1]
            before the gain: each row to `BLOCK_PX` rows of the image, the last one also to those that remain.
            None adds nothing. See `rave_runtime.light.chroma`.
        curve: tone curve of the image's space where it is not sRGB's, as for `relight`.
        workspace: memory for what is computed on the way; fresh memory unless given.
    """
    top = np.iinfo(image.dtype).max
    space = workspace or Workspace()
    planes, scale = load_planes(image, space), np.float32(top)
    if curve is not None:
        encode, decode = value_tables(curve.tobytes(), top)
        for channel, plane in enumerate(planes):
            plane[...] = encode[image[..., channel]]
        scale = np.float32(1)
    gain = _gain(divisor, _brightest(planes, 1 / scale, space), knee, space)
    for channel, plane in enumerate(planes):
        if correction is None:
            plane *= gain
        else:
            columns, added = correction
            _add_blocks(plane[:, columns], added[channel] * scale)
            plane *= gain
            part = plane[:, columns]
            np.clip(part, np.float32(0), scale, out=part)
        if curve is not None:
            plane[...] = _decode(plane, decode, top)
    store_planes(planes, out)  # nothing is above white, nor below black


def _gain(divisor: Array, brightest: Array, knee: float, space: Workspace) -> Array:
    """The gain of each pixel, step 4 of `rave_runtime.light.normal_way`; `brightest` is overwritten."""
    zero, one = np.float32(0), np.float32(1)
    shape = divisor.shape
    darkens = bool(divisor.max() > 1)
    limited = np.clip(divisor, zero, one, out=space.array("limited", shape)) if darkens else divisor
    rest: Array = np.multiply(limited, np.float32(knee), out=space.array("rest", shape))
    above: Array = np.subtract(brightest, rest, out=space.array("above", shape))
    if above.max() <= 0:  # no highlights here: the division alone
        np.divide(one, divisor, out=rest)
        return rest
    plain = np.less_equal(above, zero, out=space.array("plain", shape, np.bool_))
    np.clip(above, zero, one, out=above)
    np.subtract(one, rest, out=rest)
    bent: Array = np.subtract(one, limited, out=space.array("bent", shape))
    bent *= above
    bent *= steepness(knee)
    brightest += np.float32(LIGHT_FLOOR)  # without it, black would be 0 / 0
    below: Array = np.multiply(limited, rest, out=above)
    below += bent
    below *= brightest
    rest *= brightest
    bent *= np.float32(knee)
    rest += bent
    rest /= below
    if darkens:
        np.divide(limited, divisor, out=below)
        rest *= below
    np.copyto(rest, np.divide(one, divisor, out=below), where=plain)
    return rest


def steepness(knee: float) -> np.float32:
    """1 / (1 - k), for step 4 of `rave_runtime.light.normal_way`."""
    return np.float32(1 / (1 - knee))


def _brightest(planes: list[Array], scale: np.float32, space: Workspace) -> Array:
    """The greatest channel of each pixel, scaled, [h, w]."""
    brightest: Array = space.array("brightest", planes[0].shape)
    if len(planes) == 1:
        np.multiply(planes[0], scale, out=brightest)
    else:
        np.maximum(planes[0], planes[1], out=brightest)
        np.maximum(brightest, planes[2], out=brightest)
        brightest *= scale
    return brightest


def _add_blocks(plane: Array, added: Array) -> None:
    """Adds [n, w] to [h, w]: each row to `BLOCK_PX` rows, the last one also to those that remain."""
    blocks, width = added.shape
    whole = blocks * BLOCK_PX
    rows = plane[:whole].reshape(blocks, BLOCK_PX, width) if plane.flags.c_contiguous else None
    if rows is not None:
        rows += added[:, None]
    else:
        for row in range(BLOCK_PX):
            plane[row:whole:BLOCK_PX] += added
    plane[whole:] += added[-1]


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


def _write(result: Array, out: NDArray[Any], top: int) -> None:
    """Rounds half up, as the published code does, and limits to what a pixel holds."""
    result += np.float32(0.5)
    np.clip(result, np.float32(0), np.float32(top), out=result)
    np.copyto(out, result.reshape(out.shape), casting="unsafe")


def _repeat(gain: Array, channels: int) -> Array:
    """[h, w] -> [h, w * channels], as `np.repeat` but in half of its time."""
    if channels == 1:
        return gain
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
