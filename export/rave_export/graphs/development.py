"""The last steps of the normal way in a graph: colours of the shade are smoothed, and the picture is divided.

The arithmetic is that of `rave_runtime.light.normal_way` and of the modules that it names. The brightest
channel counts as at least 1, since black would give 0 / 0. Rows are padded to whole blocks, so that values
shared by the rows of a block can be broadcast over them.
"""

from __future__ import annotations

import functools
import itertools
import operator
from typing import Final, NamedTuple

import numpy as np

from rave_export.graphs.guided_light import Fitted
from rave_export.graphs.joining import BOOL, FLOAT, GraphWriter, Tensor
from rave_runtime.light.chroma import NOISE, OTHER_COLOUR, REACH_BLOCKS, SHADE
from rave_runtime.light.luma import FROM_CBCR, TO_YCBCR
from rave_runtime.light.relight import BLOCK_PX

_LUMA_OF_65536: Final = (19595, 38470, 7471)
"""Pillow's integer weights of red, green and blue in luma, out of 65536."""

_POINTS: Final = ("batch", 1, "points")


class Smoothed(NamedTuple):
    """A picture of whole blocks, and what smooths its colours."""

    padded: Tensor
    """uint8 [n, 3, tall, w]: the picture, padded to whole blocks of rows."""
    colour: Tensor
    """float32 [n, 3, bands, 1, w]: what is added to the rows of each block."""
    brightest: Tensor
    """uint8 [n, 1, tall * w]: the brightest channel, at least 1."""
    luma: Tensor
    """float32 [n, 1, tall * w]: luma that is not rounded yet."""


def smooth_colours(graph: GraphWriter, planes: Tensor, divisor: Tensor) -> Smoothed:
    """Finds what smooths the colours of a picture's shade.

    Args:
        graph: the graph that is written.
        planes: uint8 [n, 3, h, w], the picture.
        divisor: float32 [n, 1, h2, w2], on the reduced picture.
    """
    shape = graph.Shape(planes)
    n, height, width = (shape.entry(axis) for axis in (0, 2, 3))
    bands = (height + (BLOCK_PX - 1)) / BLOCK_PX
    pads = graph.Concat((0, 0, 0, 0, 0, 0), bands * BLOCK_PX - height, 0, axis=0)
    padded = graph.Pad(planes, pads, np.uint8(0))
    values = padded.cast(FLOAT)
    luma_of = np.array([_LUMA_OF_65536]) / 65536
    luma = graph.MatMul(luma_of, graph.Reshape(values, (0, 3, -1)))
    brightest = graph.Clip(graph.ReduceMax(graph.Reshape(padded, (0, 3, -1)), 1, keepdims=1), np.uint8(1))

    down_raw, across_raw = height / BLOCK_PX, width / BLOCK_PX
    down, across = graph.Max(down_raw, 1), graph.Max(across_raw, 1)
    has_blocks = graph.Min(graph.Min(down_raw, across_raw), 1).cast(FLOAT)
    block = [BLOCK_PX, BLOCK_PX]
    blocks_all = graph.AveragePool(values, kernel_shape=block, strides=block, ceil_mode=1)
    size = graph.Concat(down, across, axis=0)
    blocks = graph.Slice(blocks_all, (0, 0), size, (2, 3))
    to_chroma = np.array(TO_YCBCR) / 255
    chroma_flat = graph.MatMul(to_chroma, graph.Reshape(blocks, (0, 3, -1)))
    chroma_shape = graph.Concat(n, 3, size, axis=0)
    block_luma, colours = graph.Split(graph.Reshape(chroma_flat, chroma_shape), (1, 2), axis=1)
    shift = _shift(graph, colours, down, across)

    shade_small = graph.Clip((SHADE[1] - divisor) / (SHADE[1] - SHADE[0]), 0.0, 1.0)
    shade_size = graph.Concat(n, 1, size, axis=0)
    shade = _resize(graph, shade_small, shade_size) * has_blocks
    weight = block_luma / (block_luma + NOISE) * shade
    moved = graph.Reshape(shift * weight, graph.Concat(0, 2, -1, axis=0))
    added = graph.Reshape(graph.MatMul(np.array(FROM_CBCR) * 255, moved), chroma_shape)

    columns = (width + (BLOCK_PX - 1)) / BLOCK_PX
    row_block = graph.Min(graph.count_to(bands), down - 1)
    column_block = graph.Min(graph.count_to(columns), across - 1)
    added_blocks = graph.Gather(graph.Gather(added, row_block, axis=2), column_block, axis=3)
    wide_shape = graph.Concat(n, 3, bands, columns * BLOCK_PX, axis=0)
    nearest = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    added_wide = graph.Resize(added_blocks, None, None, wide_shape, mode="nearest", **nearest)
    colour = graph.Unsqueeze(graph.Slice(added_wide, 0, width, 3), 3)
    return Smoothed(padded, colour, brightest, luma)


def _shift(graph: GraphWriter, colours: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """The mean difference of the blocks around each block to its colour, in which large ones count for less.

    Args:
        graph: the graph that is written.
        colours: float32 [n, 2, down, across], the chroma of blocks.
        down, across: how many blocks there are.
    """
    reach, side = REACH_BLOCKS, 2 * REACH_BLOCKS + 1
    padded = graph.Pad(colours, (0, 0, reach, reach, 0, 0, reach, reach), mode="edge")
    shifts = []
    for top, left in itertools.product(range(side), range(side)):
        part = graph.Slice(padded, (top, left), graph.Concat(down + top, across + left, axis=0), (2, 3))
        apart = part - colours
        square = graph.ReduceSum(apart * apart, 1, keepdims=1)
        shifts.append(apart * graph.Max(1.0 - square * (1 / OTHER_COLOUR**2), 0.0))
    return functools.reduce(operator.add, shifts) * (1 / side**2)


def relight(
    graph: GraphWriter, planes: Tensor, smoothed: Smoothed, fitted: Fitted, is_small: Tensor
) -> tuple[Tensor, Tensor]:
    """Divides a picture by its light, with a shoulder.

    The gain is step 4 of `rave_runtime.light.normal_way`, with m in bytes and

        x = a / e (`bent`),  g = (m + k * x) / ((D + x) * m)

    since a is 0 where D is above 1. Colours become float32 one plane at a time, after the gain, from which
    their shape comes, so that few planes of float32 exist together. `QuantizeLinear` rounds, limits and casts
    in one pass. It rounds halves to even, while `relight_gently` rounds them up.

    Returns:
        The enhanced picture, uint8 [n, h, w, 3], and the divisor, float32 [n, h, w].
    """
    shape = graph.Shape(planes)
    n, height, width = (shape.entry(axis) for axis in (0, 2, 3))
    tall = graph.Shape(smoothed.padded).entry(2)
    slope_rows, offset_rows = _lines_of_rows(graph, fitted.line, is_small, height, width, tall)
    wide_size = graph.Concat(n, 1, tall, width, axis=0)

    def at_points(rows: Tensor) -> Tensor:
        return graph.stated(graph.Reshape(_resize(graph, rows, wide_size), (0, 1, -1)), _POINTS)

    luma = graph.stated(graph.Round(smoothed.luma), _POINTS)
    slanted = at_points(slope_rows) * luma
    on_line = slanted + at_points(offset_rows)
    highest, lowest = graph.Squeeze(fitted.high, 3), graph.Squeeze(fitted.low, 3)
    divisor = graph.Max(graph.Min(on_line, highest), lowest)
    light = graph.Slice(graph.Reshape(divisor, graph.Concat(n, tall, width, axis=0)), 0, height, 1)

    knee_byte = fitted.knee * 255.0
    inverse = graph.Reciprocal(1.0 - fitted.knee)
    brightest = smoothed.brightest.cast(FLOAT)
    limited = graph.Min(divisor, 1.0)
    bent_from = limited * knee_byte
    above = graph.Max((brightest - bent_from) / (255.0 - bent_from), 0.0)
    bent = (1.0 - limited) * above * inverse
    gain = (bent * knee_byte + brightest) / ((divisor + bent) * brightest)

    bands = graph.Shape(gain).entry(2) / (width * BLOCK_PX)
    band_shape = graph.Concat(n, 1, bands, BLOCK_PX, width, axis=0)
    developed = []
    for plane, added in zip(
        graph.Split(smoothed.padded, (1, 1, 1), axis=1),
        graph.Split(smoothed.colour, (1, 1, 1), axis=1),
        strict=True,
    ):
        values = graph.Reshape(plane, band_shape).cast(FLOAT)
        corrected = graph.stated(values, ("batch", 1, "bands", BLOCK_PX, "width")) + added
        bright = graph.stated(graph.Reshape(corrected, (0, 1, -1)), _POINTS) * gain
        developed.append(graph.Reshape(graph.QuantizeLinear(bright, 1.0, np.uint8(0)), wide_size))
    pixels = graph.Transpose(graph.Concat(*developed, axis=1), perm=[0, 2, 3, 1])
    return graph.Slice(pixels, 0, height, 1), light


def _lines_of_rows(
    graph: GraphWriter, line: Tensor, is_small: Tensor, height: Tensor, width: Tensor, tall: Tensor
) -> list[Tensor]:
    """Slopes and offsets, float32 [n, 1, tall, w2], brought to the picture's rows by linear interpolation."""
    shape = graph.Shape(line)
    small_rows, small_cols = shape.entry(2), shape.entry(3)
    is_same = is_small.cast(BOOL)
    factor = graph.Where(is_same, 1.0, small_rows.cast(FLOAT) / height.cast(FLOAT))
    place = (graph.count_to(tall).cast(FLOAT) + 0.5) * factor - 0.5
    place = graph.Min(graph.Max(place, 0.0), small_rows.cast(FLOAT) - 1.0)
    apart = graph.Abs(graph.Unsqueeze(place, 1) - graph.count_to(small_rows).cast(FLOAT))
    lines = graph.MatMul(graph.Max(1.0 - apart, 0.0), line)
    columns = graph.Where(is_same, graph.Min(small_cols, width), small_cols)
    return graph.Split(graph.Slice(lines, 0, columns, 3), (1, 1), axis=1)


def _resize(graph: GraphWriter, values: Tensor, size: Tensor) -> Tensor:
    """Values interpolated linearly to another size."""
    mode = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    return graph.Resize(values, None, None, size, **mode)
