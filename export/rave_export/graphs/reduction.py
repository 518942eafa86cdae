"""The antialiased reduction of `rave_runtime.light.reduction` as a graph, for pictures of any size."""

from __future__ import annotations

from typing import Final

import onnx

from rave_export.graphs.joining import Versions, parse_part
from rave_runtime.light.reduction import RADIUS_PER_FACTOR, SIDE_PER_RADIUS

_REDUCE: Final = """
reduce (uint8[batch, height, width, 3] image) =>
    (uint8[batch, 3, height, width] planes, int64[4] shape, float[batch, h2, w2, 3] small,
     int64[1] factor_radius, float is_small)
<int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] three = {{3}},
 int64[1] last = {{-1}}, int64 start = {{0}}, int64 step = {{1}}, int64[1] limit = {{{working_size}}},
 int64[1] twice_radius = {{{twice_radius}}}, int64[1] side_per_radius = {{{side_per_radius}}},
 int64[4] no_pad = {{0, 0, 0, 0}}, int64[2] none = {{0, 0}},
 float half = {{0.5}},
 float black = {{0.0}}, float top = {{255.0}}, float unit = {{1.0}}, float pi = {{3.14159265358979}},
 uint8 no_byte = {{0}}, float one_float = {{1.0}}, float near = {{0.0001}}, float lobes = {{3.0}},
 int64[1] scale_bits = {{16777216}}>
{{
    image_shape = Shape (image)
    n = Slice (image_shape, zero, one)
    row_length = Slice (image_shape, one, two)
    col_length = Slice (image_shape, two, three)
    longest = Max (row_length, col_length)
    side = Min (longest, limit)
    fits = LessOrEqual (longest, limit)
    fits_f = Cast <to = 1> (fits)
    is_small = Squeeze (fits_f)
    twice_longest = Mul (longest, two)
    {axes}
    planes = Transpose <perm = [0, 3, 1, 2]> (image)
    shape = Concat <axis = 0> (n, three, row_length, col_length)

    pads = Concat <axis = 0> (no_pad, none, row_pad, col_pad)
    padded = Pad (planes, pads, no_byte)
    tall_shape = Concat <axis = 0> (last, row_box, col_padded)
    tall = Reshape (padded, tall_shape)
    row_shape = Concat <axis = 0> (one, row_box)
    row_ones_f = Expand (one_float, row_shape)
    row_ones = Cast <to = 2> (row_ones_f)
    row_sums_i = MatMulInteger (row_ones, tall)
    row_sums = Cast <to = 1> (row_sums_i)
    wide_shape = Concat <axis = 0> (last, col_box)
    wide = Reshape (row_sums, wide_shape)
    sums = ReduceSum <keepdims = 0> (wide, one)
    boxes_shape = Concat <axis = 0> (n, three, row_boxes, col_boxes)
    totals = Reshape (sums, boxes_shape)
    row_counts = Unsqueeze (row_taken, one)
    counts_i = Mul (row_counts, col_taken)
    counts_half = Div (counts_i, two)
    counts_up = Cast <to = 1> (counts_half)
    counts_in = Div (scale_bits, counts_i)
    counts_back = Mul (counts_in, counts_i)
    counts_even = Equal (counts_back, scale_bits)
    counts_uneven = Not (counts_even)
    counts_less = Cast <to = 1> (counts_uneven)
    counts_down = Mul (counts_less, half)
    counts_shift = Sub (counts_up, counts_down)
    counts = Cast <to = 1> (counts_i)
    totals_up = Add (totals, counts_shift)
    means = Div (totals_up, counts)
    boxes = Floor (means)
    col_weights_t = Transpose (col_weights)
    narrow = MatMul (boxes, col_weights_t)
    narrow_up = Add (narrow, half)
    narrow_whole = Floor (narrow_up)
    narrow_bytes = Clip (narrow_whole, black, top)
    low = MatMul (row_weights, narrow_bytes)
    low_up = Add (low, half)
    low_whole = Floor (low_up)
    low_bytes = Clip (low_whole, black, top)
    small = Transpose <perm = [0, 2, 3, 1]> (low_bytes)

    small_longest = Max (row_small, col_small)
    excess = Sub (longest, small_longest)
    excess_scaled = Mul (excess, twice_radius)
    radius_numerator = Add (excess_scaled, small_longest)
    radius_denominator = Mul (small_longest, two)
    radius_up = Div (radius_numerator, radius_denominator)
    radius_back = Mul (radius_up, radius_denominator)
    radius_rest = Sub (radius_numerator, radius_back)
    radius_tie = Equal (radius_rest, zero)
    radius_tie_i = Cast <to = 7> (radius_tie)
    radius_half = Div (radius_up, two)
    radius_even = Mul (radius_half, two)
    radius_odd = Sub (radius_up, radius_even)
    radius_less = Mul (radius_tie_i, radius_odd)
    radius = Sub (radius_up, radius_less)
    widest = Div (small_longest, side_per_radius)
    narrower = Min (radius, widest)
    factor_radius = Max (narrower, one)
}}
"""
"""`small` is the reduced picture, 0 to 255; `is_small` is 1 if the picture was too small to reduce, else 0.

Pillow divides the sum of a box of n pixels by multiplying with 2^24 / n, cut to an integer. Unless n is a
power of two, the result is then one too low for a sum that n divides. `counts_down` reproduces that here."""

_REDUCE_AXIS: Final = """
    {axis}_scaled = Mul ({axis}_length, side)
    {axis}_twice = Mul ({axis}_scaled, two)
    {axis}_numerator = Add ({axis}_twice, longest)
    {axis}_up = Div ({axis}_numerator, twice_longest)
    {axis}_back = Mul ({axis}_up, twice_longest)
    {axis}_rest = Sub ({axis}_numerator, {axis}_back)
    {axis}_tie = Equal ({axis}_rest, zero)
    {axis}_tie_i = Cast <to = 7> ({axis}_tie)
    {axis}_half = Div ({axis}_up, two)
    {axis}_even = Mul ({axis}_half, two)
    {axis}_odd = Sub ({axis}_up, {axis}_even)
    {axis}_less = Mul ({axis}_tie_i, {axis}_odd)
    {axis}_nearest = Sub ({axis}_up, {axis}_less)
    {axis}_small = Max ({axis}_nearest, two)

    {axis}_small_twice = Mul ({axis}_small, two)
    {axis}_gap = Div ({axis}_length, {axis}_small_twice)
    {axis}_box = Max ({axis}_gap, one)
    {axis}_before = Sub ({axis}_box, one)
    {axis}_full = Add ({axis}_length, {axis}_before)
    {axis}_boxes = Div ({axis}_full, {axis}_box)
    {axis}_padded = Mul ({axis}_boxes, {axis}_box)
    {axis}_pad = Sub ({axis}_padded, {axis}_length)
    {axis}_boxes_s = Squeeze ({axis}_boxes)
    {axis}_index = Range (start, {axis}_boxes_s, step)
    {axis}_first = Mul ({axis}_index, {axis}_box)
    {axis}_left = Sub ({axis}_length, {axis}_first)
    {axis}_taken = Min ({axis}_left, {axis}_box)

    {axis}_length_f = Cast <to = 1> ({axis}_length)
    {axis}_box_f = Cast <to = 1> ({axis}_box)
    {axis}_small_f = Cast <to = 1> ({axis}_small)
    {axis}_area = Div ({axis}_length_f, {axis}_box_f)
    {axis}_scale = Div ({axis}_area, {axis}_small_f)
    {axis}_wide = Max ({axis}_scale, unit)
    {axis}_small_s = Squeeze ({axis}_small)
    {axis}_target = Range (start, {axis}_small_s, step)
    {axis}_target_f = Cast <to = 1> ({axis}_target)
    {axis}_target_mid = Add ({axis}_target_f, half)
    {axis}_centre = Mul ({axis}_target_mid, {axis}_scale)
    {axis}_centres = Unsqueeze ({axis}_centre, one)
    {axis}_index_f = Cast <to = 1> ({axis}_index)
    {axis}_index_mid = Add ({axis}_index_f, half)
    {axis}_apart = Sub ({axis}_index_mid, {axis}_centres)
    {axis}_distance = Abs ({axis}_apart)
    {axis}_argument = Div ({axis}_distance, {axis}_wide)
    {axis}_x = Max ({axis}_argument, near)
    {axis}_inside = Less ({axis}_x, lobes)
    {axis}_mask = Cast <to = 1> ({axis}_inside)
    {axis}_angle = Mul ({axis}_x, pi)
    {axis}_third = Div ({axis}_angle, lobes)
    {axis}_sine = Sin ({axis}_angle)
    {axis}_sine_third = Sin ({axis}_third)
    {axis}_sines = Mul ({axis}_sine, {axis}_sine_third)
    {axis}_angles = Mul ({axis}_angle, {axis}_third)
    {axis}_lanczos = Div ({axis}_sines, {axis}_angles)
    {axis}_raw = Mul ({axis}_lanczos, {axis}_mask)
    {axis}_sum = ReduceSum <keepdims = 1> ({axis}_raw, one)
    {axis}_weights = Div ({axis}_raw, {axis}_sum)
"""
"""The part for one axis computes its reduced length, rounded half to even, the boxes that are averaged first,
and the Lanczos weights for the rest of the reduction. The ones that add up the rows of a box are expanded as
float32: WebGPU cannot expand bytes (onnxruntime-web 1.30)."""


def reduction_graph(versions: Versions, working_size_px: int) -> onnx.ModelProto:
    """The graph from a picture to its planes, its reduction, and the radius of the fit that follows.

    Args:
        versions: the versions of the model's format and operators.
        working_size_px: long side of the reduction; smaller pictures stay as they are.
    """
    axes = "".join(_REDUCE_AXIS.format(axis=axis) for axis in ("row", "col"))
    twice_radius = int(2 * RADIUS_PER_FACTOR)
    sizes = {"working_size": working_size_px, "twice_radius": twice_radius}
    sizes["side_per_radius"] = SIDE_PER_RADIUS
    return parse_part("reduce", _REDUCE, versions, axes=axes, **sizes)
