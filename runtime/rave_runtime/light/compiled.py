"""Calls the compiled passes over all pixels of an 8-bit photograph, or of a film's luma.

The passes exist where the package was built with a C compiler: `hatch_build.py` compiles their source,
`passes.c`. Without them numpy and Pillow give the same results, bit for bit, but take longer.
`RAVE_COMPILED=0` in the environment leaves them unused.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array, is_wide
from rave_runtime.light.relight import BLOCK_PX
from rave_runtime.light.workspace import Workspace

MOST_ROWS: Final = 257
"""Most rows of bytes whose sum fits into 16 bits."""

_VERSION: Final = 3
"""What `rave_version` returns: raised in both places when a pass takes other arguments."""

_ENDING: Final = ".dylib" if sys.platform == "darwin" else ".so"


@functools.cache
def library() -> ctypes.CDLL | None:
    """Returns the compiled passes; None where there are none for this processor, or they are turned off.

    Passes of another version count as none: an editable installation keeps those that it compiled.
    """
    if os.environ.get("RAVE_COMPILED") == "0":
        return None
    try:
        passes = ctypes.CDLL(str(Path(__file__).with_name(f"passes{_ENDING}")))
        return passes if passes.rave_version() == _VERSION else None
    except (OSError, AttributeError):
        return None


def takes(pixels: NDArray[Any]) -> bool:
    """Whether the compiled passes are there and take these pixels: [h, w, 3] uint8, row by row in memory.

    Pixels may lie four bytes apart, see `rave_runtime.arrays.wide_pixels`.
    """
    if library() is None or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        return False
    return bool(pixels.flags.c_contiguous) or is_wide(pixels)


def box_means(pixels: NDArray[np.uint8], across: int, down: int, boxes: NDArray[np.uint8]) -> None:
    """Writes means over boxes of pixels, as `PIL.Image.Image.reduce` gives them.

    Args:
        pixels: [h, w, 3] uint8 pixels that `takes` accepts.
        across: width of a box in pixels.
        down: height of a box in pixels, at most `MOST_ROWS`.
        boxes: [ceil(h / down), ceil(w / across), 3] uint8, where the means are written.
    """
    assert down <= MOST_ROWS
    assert boxes.flags.c_contiguous
    height, width = pixels.shape[:2]
    step = _step(pixels)
    sums = np.empty(step * width, np.uint16)
    sizes = map(Size, (step, height, width, across, down))
    passes().rave_box_means(address(pixels), *sizes, address(boxes), address(sums))


def block_means(pixels: NDArray[np.uint8], rows: slice, columns: slice, weights: Array, means: Array) -> None:
    """Writes weighted means of red, green and blue over blocks of `BLOCK_PX` x `BLOCK_PX` pixels.

    Args:
        pixels: [h, w, 3] uint8 pixels that `takes` accepts.
        rows: the rows of blocks; all must lie wholly within the picture.
        columns: the columns of blocks; all must lie wholly within the picture.
        weights: [3, 3] float32, what the sums of red, green and blue over a block count in each mean.
        means: [3, rows, columns] float32, where the means are written; its rows must lie one after another.
    """
    across = columns.stop - columns.start
    step = _step(pixels)
    assert means.strides[1:] == (4 * across, 4)
    sums = np.empty(across * (BLOCK_PX * step + 4), np.uint16)
    corner = pixels[rows.start * BLOCK_PX :, columns.start * BLOCK_PX :]
    passes().rave_block_means(
        address(corner),
        *map(Size, (step, pixels.shape[1] * step, rows.stop - rows.start, across)),
        address(np.ascontiguousarray(weights, np.float32)),
        Size(means.strides[0] // 4),
        address(means),
        address(sums),
    )


def window_means(values: Array, radius: int) -> Array:
    """Returns what `rave_runtime.light.reduction.box_means` returns.

    Args:
        values: [n, h, w] float32.
        radius: how far a window reaches to each side, at least 0.
    """
    values = np.ascontiguousarray(values, np.float32)
    height, width = values.shape[1:]
    longer = max(height, width)
    means, lanes, sums = np.empty_like(values), np.empty(16 * longer, np.float32), np.empty(8 * longer + 8)
    sizes = map(Size, (*values.shape, radius))
    passes().rave_window_means(address(values), *sizes, address(means), address(lanes), address(sums))
    return means


def widen(values: Array, left: NDArray[np.int64], share: Array, wide: Array) -> None:
    """Writes values interpolated along their last axis.

    Args:
        values: [..., n] float32.
        left: [w] int64, the index among the n values of each result's left neighbour.
        share: [w] float32 in [0, 1], the weight of its right neighbour, at the index after.
        wide: [..., w] float32, where the result is written.
    """
    values = np.ascontiguousarray(values, np.float32)
    assert wide.flags.c_contiguous
    length, width = values.shape[-1], wide.shape[-1]
    sizes = map(Size, (values.size // length, length, width))
    passes().rave_widen(address(values), *sizes, address(left), address(share), address(wide))


class OtherCurve(NamedTuple):
    """What `develop` needs for pixels whose tone curve is not sRGB's.

    Attributes:
        guide: like the pixels and laid out like them, in sRGB's curve.
        encode: [256] float32, for each value of a pixel its value in sRGB's encoding, in [0, 1].
        decode: [65536] uint8, for equal steps of sRGB's encoding the value of a pixel.
    """

    guide: NDArray[np.uint8]
    encode: Array
    decode: NDArray[np.uint8]


def look_up(pixels: NDArray[np.uint8], table: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Writes the value of a table for each value of a picture.

    Args:
        pixels: [h, w, 3] uint8 pixels that `takes` accepts.
        table: [256] uint8.
        out: like the pixels and laid out like them, where the result is written.
    """
    assert _step(pixels) == _step(out)
    count = pixels.shape[0] * pixels.shape[1] * _step(pixels)
    passes().rave_look_up(
        address(pixels), Size(count), address(np.ascontiguousarray(table, np.uint8)), address(out)
    )


def develop(
    pixels: NDArray[np.uint8],
    out: NDArray[np.uint8],
    line: Array,
    upper: NDArray[np.int64],
    share: Array,
    bounds: tuple[float, float],
    knee: float,
    steepness: float,
    added: Array | None,
    space: Workspace,
    curve: OtherCurve | None = None,
) -> None:
    """Enhances rows of a photograph in the normal way. The first row must be the first of a block.

    Args:
        pixels: [h, w, 3] uint8 pixels that `takes` accepts.
        out: like the pixels and laid out like them, where the result is written; may be the pixels.
        line: [2, n, w] float32: the light's slope over luma in [0, 255], and its offset.
        upper: [h] int64, the index among the n lines of the one above each row.
        share: [h] float32 in [0, 1], the weight of the line below.
        bounds: least and greatest light.
        knee: result, in [0, 1], from which highlights roll off: see `rave_runtime.light.normal_way`.
        steepness: 1 / (1 - knee).
        added: [3, blocks, blocks across] float32, added to a block's values in [0, 255], or with another
            curve in [0, 1] of sRGB's encoding; None adds nothing.
        space: memory for intermediate values.
        curve: the pixels' tone curve, with the guide for these rows; None for sRGB's.
    """
    height, width = pixels.shape[:2]
    step = _step(pixels)
    assert step == _step(out)
    assert curve is None or step == _step(curve.guide)
    assert line.flags.c_contiguous
    low, high = bounds
    blocks = (0, 0) if added is None else added.shape[1:]
    wide = space.array("added", (3, width))
    upper, share = np.ascontiguousarray(upper, np.int64), np.ascontiguousarray(share, np.float32)
    passes().rave_develop(
        address(pixels),
        address(out),
        *map(Size, (step, height, width)),
        address(line),
        Size(line.shape[1]),
        address(upper),
        address(share),
        *(ctypes.c_float(value) for value in (low, high, knee, steepness)),
        None if added is None else address(added),
        *map(Size, blocks),
        address(wide),
        *(
            (None, None, None)
            if curve is None
            else (address(curve.guide), address(curve.encode), address(curve.decode))
        ),
    )


def divide_luma(
    plane: NDArray[Any],
    values: Array,
    line: Array,
    upper: NDArray[np.int64],
    share: Array,
    bounds: Array,
    across: int,
    down: int,
    sums: Array,
    space: Workspace,
) -> None:
    """Divides rows of a film's luma by their light, in place.

    Args:
        plane: [h, w] uint8 or uint16; rows may be padded. The first row is the first of a row of chroma.
        values: [5] float32: black, 1 / span, span, black + 0.5, and the greatest value.
        line: [2, n, w] float32: the light's slope over luma in [0, 1], and its offset.
        upper: [h] int64, the index among the n lines of the one above each row.
        share: [h] float32 in [0, 1], the weight of the line below.
        bounds: [4] float32: least and greatest light of this frame, the least divisor of any frame, and the
            knee; 0 for no knee.
        across: columns of luma for each column of chroma, 1 or 2.
        down: rows of luma for each row of chroma, 1 or 2.
        sums: [3, ceil(h / down), ceil(w / across)] float32, where this writes the sums of luma and of divided
            luma over the pixels that share a value of chroma, and the divisor at the first of them.
        space: memory for intermediate values.
    """
    height, width = plane.shape
    assert plane.strides[1] == plane.itemsize
    assert line.flags.c_contiguous
    assert sums.flags.c_contiguous
    upper, share = np.ascontiguousarray(upper, np.int64), np.ascontiguousarray(share, np.float32)
    passes().rave_divide_luma(
        address(plane),
        Size(plane.strides[0]),
        ctypes.c_int(plane.itemsize),
        *map(Size, (height, width)),
        address(values),
        address(line),
        Size(line.shape[1]),
        address(upper),
        address(share),
        address(bounds),
        *map(Size, (across, down)),
        *(address(part) for part in sums),
        address(space.array("rows of luma", (6, width))),
    )


def passes() -> ctypes.CDLL:
    """Returns the compiled passes, where it is known that there are any."""
    loaded = library()
    assert loaded is not None
    return loaded


def _step(pixels: NDArray[Any]) -> int:
    """Returns the bytes from a pixel to the next, 3 or 4."""
    return 4 if is_wide(pixels) else 3


def address(array: NDArray[Any]) -> ctypes.c_void_p:
    """Returns where the values of an array are in memory, as a pass takes it."""
    return ctypes.c_void_p(array.ctypes.data)


Size = ctypes.c_ssize_t
"""A number of values or bytes, as a pass takes it."""
