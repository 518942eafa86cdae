"""Graphs that smooth a picture's colours in the shade, and divide it by the divisor with a shoulder.

The arithmetic is that of `rave_runtime.light.normal_way` and of the modules that it names. The brightest
channel counts as at least 1, since black would give 0 / 0. Rows are padded to whole blocks, so that values
shared by the rows of a block can be broadcast over them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import onnx

from rave_export.graphs.joining import Versions, parse_part
from rave_runtime.light.luma import FROM_CBCR, TO_YCBCR
from rave_runtime.light.relight import BLOCK_PX

_LUMA_OF_65536: Final = (19595, 38470, 7471)
"""Pillow's integer weights of red, green and blue in luma, out of 65536."""

_CHROMA: Final = """
chroma (uint8[batch, 3, height, width] planes, float[batch, 1, h2, w2] divisor) =>
    (uint8[batch, 3, tall, width] padded, float[batch, 3, bands, 1, width] colour,
     uint8[batch, 1, points] brightest, float[batch, 1, points] luma_raw)
<int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] three = {{3}},
 int64[1] four = {{4}},
 int64[1] block = {{{block}}}, int64[1] seven = {{{before_block}}}, int64[6] no_pad = {{0, 0, 0, 0, 0, 0}},
 int64[2] zeros = {{0, 0}}, int64[2] sides = {{2, 3}}, int64 start = {{0}}, int64 step = {{1}},
 uint8 no_byte = {{0}}, uint8 one_byte = {{1}}, int64[3] flat = {{0, 3, -1}}, int64[2] split = {{1, 2}},
 int64[1] minus_one = {{-1}}, float none = {{0.0}},
 float unit = {{1.0}}, float shade_to = {{0.7}}, float shade_over = {{0.35}}, float noise = {{{noise}}},
 float noise_square = {{{noise_square}}}, float[3, 3] to_chroma = {{{to_chroma}}},
 float[3, 2] to_colour = {{{to_colour}}}, float[1, 3] luma_of = {{{luma}}}>
{{
    shape = Shape (planes)
    n = Slice (shape, zero, one)
    height_of = Slice (shape, two, three)
    width_of = Slice (shape, three, four)
    height_up = Add (height_of, seven)
    bands = Div (height_up, block)
    tall = Mul (bands, block)
    rows_pad = Sub (tall, height_of)
    pads = Concat <axis = 0> (no_pad, rows_pad, zero)
    padded = Pad (planes, pads, no_byte)
    values = Cast <to = 1> (padded)
    pixels = Reshape (values, flat)
    luma_raw = MatMul (luma_of, pixels)
    flat_bytes = Reshape (padded, flat)
    brightest_raw = ReduceMax <keepdims = 1> (flat_bytes, one)
    brightest = Clip (brightest_raw, one_byte)

    down_raw = Div (height_of, block)
    across_raw = Div (width_of, block)
    down = Max (down_raw, one)
    across = Max (across_raw, one)
    blocks_least = Min (down_raw, across_raw)
    blocks_few = Min (blocks_least, one)
    has_blocks = Cast <to = 1> (blocks_few)
    blocks_all = AveragePool <kernel_shape = [{block}, {block}], strides = [{block}, {block}], ceil_mode = 1>
        (values)
    blocks_size = Concat <axis = 0> (down, across)
    blocks = Slice (blocks_all, zeros, blocks_size, sides)
    blocks_flat = Reshape (blocks, flat)
    chroma_flat = MatMul (to_chroma, blocks_flat)
    chroma_shape = Concat <axis = 0> (n, three, blocks_size)
    chroma_map = Reshape (chroma_flat, chroma_shape)
    luma, colours = Split <axis = 1> (chroma_map, split)
    means = AveragePool <kernel_shape = [5, 5], strides = [1, 1], pads = [2, 2, 2, 2]> (colours)
    shift = Sub (means, colours)
    shift_squares = Mul (shift, shift)
    shift_square = ReduceSum <keepdims = 1> (shift_squares, one)

    shade_left = Sub (shade_to, divisor)
    shade_raw = Div (shade_left, shade_over)
    shade_small = Clip (shade_raw, none, unit)
    shade_size = Concat <axis = 0> (n, one, blocks_size)
    shade_map = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel">
        (shade_small, , , shade_size)
    shade = Mul (shade_map, has_blocks)
    distance = Add (shift_square, noise_square)
    luma_up = Add (luma, noise)
    divided_by = Mul (distance, luma_up)
    weight_raw = Div (luma, divided_by)
    weight_noise = Mul (weight_raw, noise_square)
    weight = Mul (weight_noise, shade)
    moved = Mul (shift, weight)
    two_flat = Concat <axis = 0> (zero, two, minus_one)
    moved_flat = Reshape (moved, two_flat)
    added_flat = MatMul (to_colour, moved_flat)
    added = Reshape (added_flat, chroma_shape)

    bands_s = Squeeze (bands)
    band = Range (start, bands_s, step)
    down_last = Sub (down, one)
    band_block = Min (band, down_last)
    width_up = Add (width_of, seven)
    columns = Div (width_up, block)
    columns_s = Squeeze (columns)
    column = Range (start, columns_s, step)
    across_last = Sub (across, one)
    column_block = Min (column, across_last)
    added_rows = Gather <axis = 2> (added, band_block)
    added_blocks = Gather <axis = 3> (added_rows, column_block)
    wide = Mul (columns, block)
    wide_shape = Concat <axis = 0> (n, three, bands, wide)
    added_wide = Resize
        <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
        (added_blocks, , , wide_shape)
    added_all = Slice (added_wide, zero, width_of, three)
    colour = Unsqueeze (added_all, three)
}}
"""

_RELIGHT: Final = """
relight (uint8[batch, 3, tall, width] padded, float[batch, 3, bands, 1, width] colour,
         uint8[batch, 1, points] brightest, float[batch, 1, points] luma_raw,
         int64[4] shape, float[batch, 2, h2, w2] line, float[batch, 1, 1, 1] low,
         float[batch, 1, 1, 1] high, float[batch, 1, 1] knee, float is_small) =>
    (uint8[batch, height, width, 3] enhanced, float[batch, height, width] light)
<int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] three = {{3}},
 int64[1] four = {{4}},
 int64[1] block = {{{block}}}, int64[2] halves = {{1, 1}}, int64 start = {{0}}, int64 step = {{1}},
 int64[3] flat_one = {{0, 1, -1}}, int64[3] planes_apart = {{1, 1, 1}}, float half = {{0.5}},
 float unit = {{1.0}}, float none = {{0.0}}, float top = {{255.0}}, uint8 no_byte = {{0}},
{plane_shapes}
 float[batch, 1, points] luma_byte, float[batch, 1, points] slope,
 float[batch, 1, points] slanted, float[batch, 1, points] offset, float[batch, 1, points] fitted,
 float[batch, 1, points] at_most, float[batch, 1, points] divisor, float[batch, 1, points] limited,
 float[batch, 1, points] bent_from, float[batch, 1, points] rest, float[batch, 1, points] above,
 float[batch, 1, points] above_share, float[batch, 1, points] above_part, float[batch, 1, points] lifted,
 float[batch, 1, points] bent_raw, float[batch, 1, points] bent, float[batch, 1, points] under_raw,
 float[batch, 1, points] bent_byte, float[batch, 1, points] gain_over, float[batch, 1, points] under,
 float[batch, 1, points] gain>
{{
    n = Slice (shape, zero, one)
    height_of = Slice (shape, two, three)
    width_of = Slice (shape, three, four)
    tall_shape = Shape (padded)
    tall_of = Slice (tall_shape, two, three)

    line_shape = Shape (line)
    small_rows = Slice (line_shape, two, three)
    small_cols = Slice (line_shape, three, four)
    small_rows_f = Cast <to = 1> (small_rows)
    height_f = Cast <to = 1> (height_of)
    ratio = Div (small_rows_f, height_f)
    small_b = Cast <to = 9> (is_small)
    factor = Where (small_b, unit, ratio)
    tall_s = Squeeze (tall_of)
    row = Range (start, tall_s, step)
    row_f = Cast <to = 1> (row)
    row_mid = Add (row_f, half)
    row_scaled = Mul (row_mid, factor)
    row_place = Sub (row_scaled, half)
    row_last = Sub (small_rows_f, unit)
    row_low = Max (row_place, none)
    row_position = Min (row_low, row_last)
    row_positions = Unsqueeze (row_position, one)
    small_rows_s = Squeeze (small_rows)
    small_row = Range (start, small_rows_s, step)
    small_row_f = Cast <to = 1> (small_row)
    row_apart = Sub (row_positions, small_row_f)
    row_distance = Abs (row_apart)
    row_share = Sub (unit, row_distance)
    row_weights = Max (row_share, none)
    lines = MatMul (row_weights, line)
    cols_fewer = Min (small_cols, width_of)
    cols_taken = Where (small_b, cols_fewer, small_cols)
    lines_taken = Slice (lines, zero, cols_taken, three)
    slope_rows, offset_rows = Split <axis = 1> (lines_taken, halves)
    wide_size = Concat <axis = 0> (n, one, tall_of, width_of)

    luma_byte = Round (luma_raw)
    slopes = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel">
        (slope_rows, , , wide_size)
    slope = Reshape (slopes, flat_one)
    slanted = Mul (slope, luma_byte)
    offsets = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel">
        (offset_rows, , , wide_size)
    offset = Reshape (offsets, flat_one)
    fitted = Add (slanted, offset)
    highest = Squeeze (high, three)
    lowest = Squeeze (low, three)
    at_most = Min (fitted, highest)
    divisor = Max (at_most, lowest)
    light_tall = Concat <axis = 0> (n, tall_of, width_of)
    light_rows = Reshape (divisor, light_tall)
    light = Slice (light_rows, zero, height_of, one)

    knee_byte = Mul (knee, top)
    beyond_knee = Sub (unit, knee)
    inverse = Reciprocal (beyond_knee)
    brightest_byte = Cast <to = 1> (brightest)
    limited = Min (divisor, unit)
    bent_from = Mul (limited, knee_byte)
    above = Sub (brightest_byte, bent_from)
    rest = Sub (top, bent_from)
    above_share = Div (above, rest)
    above_part = Max (above_share, none)
    lifted = Sub (unit, limited)
    bent_raw = Mul (lifted, above_part)
    bent = Mul (bent_raw, inverse)
    under_raw = Add (divisor, bent)
    bent_byte = Mul (bent, knee_byte)
    gain_over = Add (bent_byte, brightest_byte)
    under = Mul (under_raw, brightest_byte)
    gain = Div (gain_over, under)

    gain_shape = Shape (gain)
    points_of = Slice (gain_shape, two, three)
    band_points = Mul (width_of, block)
    bands_of_gain = Div (points_of, band_points)
    band_shape = Concat <axis = 0> (n, one, bands_of_gain, block, width_of)
    plane_shape = Concat <axis = 0> (n, one, tall_of, width_of)
    red, green, blue = Split <axis = 1> (padded, planes_apart)
    red_added, green_added, blue_added = Split <axis = 1> (colour, planes_apart)
{planes}
    planes = Concat <axis = 1> (red_plane, green_plane, blue_plane)
    pixels_tall = Transpose <perm = [0, 2, 3, 1]> (planes)
    enhanced = Slice (pixels_tall, zero, height_of, one)
}}
"""
"""The gain is step 4 of `rave_runtime.light.normal_way`, with m in bytes and

    x = a / e (`bent`),  g = (m + k * x) / ((D + x) * m)

since a is 0 where D is above 1. Colours become float32 one plane at a time, after the gain, from which their
shape comes, so that few planes of float32 exist together. `QuantizeLinear` rounds, limits and casts in one
pass. It rounds halves to even, while `relight_gently` rounds them up."""

_PLANE_SHAPES: Final = """ float[batch, 1, bands, {block}, width] {name}_bands,
 float[batch, 1, bands, {block}, width] {name}_corrected,
 float[batch, 1, points] {name}_flat, float[batch, 1, points] {name}_developed,"""

_PLANE: Final = """
    {name}_bytes = Reshape ({name}, band_shape)
    {name}_bands = Cast <to = 1> ({name}_bytes)
    {name}_corrected = Add ({name}_bands, {name}_added)
    {name}_flat = Reshape ({name}_corrected, flat_one)
    {name}_developed = Mul ({name}_flat, gain)
    {name}_rounded = QuantizeLinear ({name}_developed, unit, no_byte)
    {name}_plane = Reshape ({name}_rounded, plane_shape)"""
"""The last step for one colour."""

_COLOURS: Final = ("red", "green", "blue")

_NOISE: Final = 6 / 255


def chroma_graph(versions: Versions) -> onnx.ModelProto:
    """Planes of a picture and its divisor -> planes of whole blocks, the change of their colours, luma."""
    return parse_part(
        "chroma",
        _CHROMA,
        versions,
        block=BLOCK_PX,
        before_block=BLOCK_PX - 1,
        noise=_NOISE,
        noise_square=_NOISE**2,
        to_chroma=_listed(value / 255 for row in TO_YCBCR for value in row),
        to_colour=_listed(value * 255 for row in FROM_CBCR for value in row),
        luma=_listed(share / 65536 for share in _LUMA_OF_65536),
    )


def relight_graph(versions: Versions) -> onnx.ModelProto:
    """Planes, the change of their colours, the divisor as lines -> the enhanced picture, the divisor."""
    return parse_part(
        "relight",
        _RELIGHT,
        versions,
        block=BLOCK_PX,
        plane_shapes="\n".join(_PLANE_SHAPES.format(name=name, block=BLOCK_PX) for name in _COLOURS),
        planes="".join(_PLANE.format(name=name) for name in _COLOURS),
    )


def _listed(values: Iterable[float]) -> str:
    """Numbers as a list in ONNX's text syntax."""
    return ", ".join(f"{value:.10f}" for value in values)
