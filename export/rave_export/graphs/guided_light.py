"""The light at full size and the division by it as graphs, after `GuidedLight` and `relight`."""

from __future__ import annotations

from typing import Final

import onnx

from rave_export.graphs.joining import Versions, parse_part
from rave_runtime.light.reduction import EPSILON
from rave_runtime.light.relight import LIGHT_FLOOR

_LUMA_OF_65536: Final = (19595, 38470, 7471)
"""Shares of red, green and blue in luma, as Pillow's integers have them."""

_FIT: Final = """
fit (float[batch, h2, w2, 3] small, float[batch, h2, w2] network_light, float strength, int64[1] radius,
     float is_small) =>
    (float[batch, 2, h2, w2] line, float[batch, 1, 1, 1] low, float[batch, 1, 1, 1] high)
<int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] three = {{3}},
 int64 start = {{0}}, int64 step = {{1}}, int64[2] sides = {{2, 3}}, int64[3] per_picture = {{-1, 1, 1}},
 float unit = {{1.0}}, float none = {{0.0}}, float[3, 1] luma = {{{luma}}}, float top = {{255.0}},
 float epsilon = {{{epsilon}}}, int64[2] halves = {{1, 1}}, int64[4] quarters = {{1, 1, 1, 1}}>
{{
    power = Reshape (strength, per_picture)
    light_map = Pow (network_light, power)
    light = Unsqueeze (light_map, one)
    low = ReduceMin <keepdims = 1> (light, sides)
    high = ReduceMax <keepdims = 1> (light, sides)
    shades = MatMul (small, luma)
    shades_planar = Transpose <perm = [0, 3, 1, 2]> (shades)
    guide = Div (shades_planar, top)
    product = Mul (guide, light)
    square = Mul (guide, guide)
    fitted = Concat <axis = 1> (guide, light, product, square)
    shape = Shape (fitted)
    row_length = Slice (shape, two, three)
    four = Add (three, one)
    col_length = Slice (shape, three, four)
    {axes}
    col_box_t = Transpose (col_box)
    across = MatMul (fitted, col_box_t)
    means = MatMul (row_box, across)
    mean_guide, mean_light, mean_product, mean_square = Split <axis = 1> (means, quarters)
    product_of_means = Mul (mean_guide, mean_light)
    covariance = Sub (mean_product, product_of_means)
    square_of_mean = Mul (mean_guide, mean_guide)
    spread = Sub (mean_square, square_of_mean)
    variance = Max (spread, none)
    steady = Add (variance, epsilon)
    slope = Div (covariance, steady)
    share = Mul (slope, mean_guide)
    offset = Sub (mean_light, share)
    coefficients = Concat <axis = 1> (slope, offset)
    smooth_across = MatMul (coefficients, col_box_t)
    smooth = MatMul (row_box, smooth_across)
    slopes, offsets = Split <axis = 1> (smooth, halves)
    is_reduced = Sub (unit, is_small)
    slopes_255 = Div (slopes, top)
    slopes_used = Mul (slopes_255, is_reduced)
    offsets_fit = Mul (offsets, is_reduced)
    offsets_own = Mul (light, is_small)
    offsets_used = Add (offsets_fit, offsets_own)
    line = Concat <axis = 1> (slopes_used, offsets_used)
}}
"""

_FIT_AXIS: Final = """
    {axis}_stop = Squeeze ({axis}_length)
    {axis}_place = Range (start, {axis}_stop, step)
    {axis}_places = Unsqueeze ({axis}_place, one)
    {axis}_apart = Sub ({axis}_place, {axis}_places)
    {axis}_distance = Abs ({axis}_apart)
    {axis}_near = LessOrEqual ({axis}_distance, radius)
    {axis}_near_f = Cast <to = 1> ({axis}_near)
    {axis}_count = ReduceSum <keepdims = 1> ({axis}_near_f, one)
    {axis}_box = Div ({axis}_near_f, {axis}_count)
"""
"""Means over windows that are smaller at the borders, as a matrix."""

_RELIGHT: Final = """
relight (uint8[batch, 3, height, width] planes, float[batch, 2, h2, w2] line, float[batch, 1, 1, 1] low,
         float[batch, 1, 1, 1] high, float is_small) =>
    (uint8[batch, height, width, 3] enhanced, float[batch, height, width] light)
<int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] four = {{4}},
 int64[2] zeros = {{0, 0}}, int64[2] sides = {{2, 3}}, int64[2] halves = {{1, 1}}, float half = {{0.5}},
 float unit = {{1.0}}, uint8 no_byte = {{0}}, float floor = {{{floor}}}, float[1, 3] luma = {{{luma}}},
 int64[3] flat = {{0, 3, -1}}, int64[3] flat_one = {{0, 1, -1}}, int64[1] three = {{3}}>
{{
    shape = Shape (planes)
    n = Slice (shape, zero, one)
    size = Slice (shape, two, four)
    line_shape = Shape (line)
    line_size = Slice (line_shape, two, four)
    smaller = Min (size, line_size)
    small_b = Cast <to = 9> (is_small)
    taken = Where (small_b, smaller, line_size)
    lines = Slice (line, zeros, taken, sides)
    slope_small, offset_small = Split <axis = 1> (lines, halves)
    full_size = Concat <axis = 0> (n, one, size)

    flat_bytes = Reshape (planes, flat)
    values = Cast <to = 1> (flat_bytes)
    shade = MatMul (luma, values)
    shade_up = Add (shade, half)
    shade_byte = Floor (shade_up)
    slopes = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel">

        (slope_small, , , full_size)
    slope = Reshape (slopes, flat_one)
    slanted = Mul (slope, shade_byte)
    offsets = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel">

        (offset_small, , , full_size)
    offset = Reshape (offsets, flat_one)
    fitted = Add (slanted, offset)
    highest = Squeeze (high, three)
    at_most = Min (fitted, highest)
    lowest_map = Max (low, floor)
    lowest = Squeeze (lowest_map, three)
    divisor = Max (at_most, lowest)
    light_shape = Concat <axis = 0> (n, size)
    light = Reshape (divisor, light_shape)
    gain = Reciprocal (divisor)
    bright = Mul (values, gain)
    rounded = QuantizeLinear (bright, unit, no_byte)
    planes_shape = Concat <axis = 0> (n, three, size)
    enhanced_planes = Reshape (rounded, planes_shape)
    enhanced = Transpose <perm = [0, 2, 3, 1]> (enhanced_planes)
}}
"""
"""`QuantizeLinear` rounds, limits and casts in one pass. It rounds halves to even, `relight` up."""


def fit_graph(versions: Versions) -> onnx.ModelProto:
    """The network's light and the reduced picture -> lines over luma, and the range of the light."""
    axes = "".join(_FIT_AXIS.format(axis=axis) for axis in ("row", "col"))
    return parse_part("fit", _FIT, versions, axes=axes, luma="0.299, 0.587, 0.114", epsilon=EPSILON)


def relight_graph(versions: Versions) -> onnx.ModelProto:
    """A picture's planes and the lines -> the light at full size, and the enhanced picture."""
    luma = ", ".join(repr(share / 65536) for share in _LUMA_OF_65536)
    return parse_part("relight", _RELIGHT, versions, luma=luma, floor=LIGHT_FLOOR)
