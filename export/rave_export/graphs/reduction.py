"""The antialiased reduction of `rave_runtime.light.reduction` in a graph, for pictures of any size."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rave_export.graphs.joining import FLOAT, UINT8, GraphWriter, Tensor, round_half
from rave_runtime.light.reduction import RADIUS_PER_FACTOR, SIDE_PER_RADIUS


class Reduced(NamedTuple):
    """A picture and its reduction."""

    planes: Tensor
    """uint8 [n, 3, h, w]: the picture itself."""
    small: Tensor
    """float32 [n, h2, w2, 3], 0 to 255: the reduction."""
    radius: Tensor
    """int64 [1]: the radius in pixels of the fit that follows."""
    is_small: Tensor
    """float32: 1 if the picture was too small to reduce, else 0."""


class _Side(NamedTuple):
    """How one side is reduced: boxes of pixels are averaged, and their means are weighted."""

    small: Tensor
    box: Tensor
    boxes: Tensor
    padded: Tensor
    pad: Tensor
    taken: Tensor
    weights: Tensor


def reduce_image(graph: GraphWriter, image: Tensor, working_size_px: int) -> Reduced:
    """Reduces a picture, uint8 [n, h, w, 3], to a long side; smaller pictures stay as they are.

    Pillow divides the sum of a box of n pixels by multiplying with 2^24 / n, cut to an integer. Unless n is a
    power of two, the result is then one too low for a sum that n divides, as here.
    """
    shape = graph.Shape(image)
    n, height, width = (shape.entry(axis) for axis in range(3))
    longest = graph.Max(height, width)
    side = graph.Min(longest, working_size_px)
    is_small = graph.Squeeze(graph.LessOrEqual(longest, working_size_px).cast(FLOAT))
    rows, cols = (_reduce_side(graph, length, side, longest) for length in (height, width))
    planes = graph.Transpose(image, perm=[0, 3, 1, 2])

    pads = graph.Concat((0, 0, 0, 0), (0, 0), rows.pad, cols.pad, axis=0)
    padded = graph.Pad(planes, pads, np.uint8(0))
    tall = graph.Reshape(padded, graph.Concat(-1, rows.box, cols.padded, axis=0))
    # The ones are expanded as float32: WebGPU cannot expand bytes (onnxruntime-web 1.30).
    ones = graph.Expand(1.0, graph.Concat(1, rows.box, axis=0)).cast(UINT8)
    row_sums = graph.MatMulInteger(ones, tall).cast(FLOAT)
    wide = graph.Reshape(row_sums, graph.Concat(-1, cols.box, axis=0))
    sums = graph.ReduceSum(wide, 1, keepdims=0)
    totals = graph.Reshape(sums, graph.Concat(n, 3, rows.boxes, cols.boxes, axis=0))
    counts = graph.Unsqueeze(rows.taken, 1) * cols.taken
    half_counts = (counts / 2).cast(FLOAT)
    is_uneven = graph.Not(graph.Equal(graph.Div(1 << 24, counts) * counts, 1 << 24)).cast(FLOAT)
    boxes = graph.Floor((totals + (half_counts - is_uneven * 0.5)) / counts.cast(FLOAT))
    narrow = _round_bytes(graph, graph.MatMul(boxes, graph.Transpose(cols.weights)))
    low = _round_bytes(graph, graph.MatMul(rows.weights, narrow))
    small = graph.Transpose(low, perm=[0, 2, 3, 1])

    small_longest = graph.Max(rows.small, cols.small)
    excess = (longest - small_longest) * int(2 * RADIUS_PER_FACTOR)
    widest = small_longest / SIDE_PER_RADIUS
    radius = graph.Max(graph.Min(round_half(graph, excess, small_longest), widest), 1)
    return Reduced(planes, small, radius, is_small)


def _reduce_side(graph: GraphWriter, length: Tensor, side: Tensor, longest: Tensor) -> _Side:
    """The reduced length, the boxes that are averaged first, the Lanczos weights for the rest."""
    small = graph.Max(round_half(graph, length * side * 2, longest), 2)
    box = graph.Max(length / (small * 2), 1)
    boxes = (length + (box - 1)) / box
    padded = boxes * box
    pad = padded - length
    index = graph.count_to(boxes)
    taken = graph.Min(length - index * box, box)

    scale = length.cast(FLOAT) / box.cast(FLOAT) / small.cast(FLOAT)
    centres = (graph.count_to(small).cast(FLOAT) + 0.5) * scale
    distance = graph.Abs(index.cast(FLOAT) + 0.5 - graph.Unsqueeze(centres, 1))
    x = graph.Max(distance / graph.Max(scale, 1.0), 0.0001)
    angle = x * math.pi
    third = angle / 3.0
    lanczos = graph.Sin(angle) * graph.Sin(third) / (angle * third)
    raw = lanczos * graph.Less(x, 3.0).cast(FLOAT)
    weights = raw / graph.ReduceSum(raw, 1, keepdims=1)
    return _Side(small, box, boxes, padded, pad, taken, weights)


def _round_bytes(graph: GraphWriter, values: Tensor) -> Tensor:
    """Values rounded and limited to those of bytes."""
    return graph.Clip(graph.Floor(values + 0.5), 0.0, 255.0)
