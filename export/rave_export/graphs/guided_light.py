"""A graph of the divisor on the reduced picture, computed as in `rave_runtime.light.look`, `.reduction`."""

from __future__ import annotations

import math
from typing import Final

import onnx

from rave_export.graphs.joining import Versions, parse_part
from rave_runtime.light.look import BLACK_DIVISOR, BRIGHT_LIGHT, DIVISOR_BOUNDS, UNSEEN_STOPS
from rave_runtime.light.luma import LUMA_BT601
from rave_runtime.light.reduction import EPSILON

_FIT: Final = """
fit (float[batch, h2, w2, 3] small, float[batch, h2, w2] network_light, float strength, int64[1] radius,
     float is_small) =>
    (float[batch, 2, h2, w2] line, float[batch, 1, 1, 1] low, float[batch, 1, 1, 1] high,
     float[batch, 1, h2, w2] divisor, float[batch, 1, 1] knee)
<int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] three = {{3}}, int64[1] sixteen = {{16}},
 int64[1] thirty_two = {{32}}, int64 start = {{0}}, int64 step = {{1}},
 int64[2] sides = {{2, 3}}, int64[3] per_picture = {{-1, 1, 1}}, int64[1] channel = {{3}},
 int64[2] plane = {{1, 2}},
 float stops_per_neper = {{{stops_per_neper}}}, float unseen_from = {{{unseen_from}}},
 float unseen_over = {{{unseen_over}}},
 float unit = {{1.0}}, float none = {{0.0}}, float[3, 1] luma = {{{luma}}},
 float top = {{255.0}},
 float epsilon = {{{epsilon}}}, int64[2] halves = {{1, 1}}, int64[3] thirds = {{1, 1, 1}},
 int64[4] quarters = {{1, 1, 1, 1}}, float bright_from = {{{bright_from}}},
 float bright_over = {{{bright_over}}},
 float couple = {{2.0}}, float triple = {{3.0}}, float dark_from = {{12.0}}, float dark_over = {{8.0}},
 float black_from = {{8.0}}, float black_over = {{8.0}}, float empty_from = {{{empty_from}}},
 float empty_over = {{{empty_over}}}, float neutral_from = {{3.0}}, float neutral_over = {{3.0}},
 float least_share = {{0.001}}, float lowest = {{{lowest}}}, float highest = {{{highest}}},
 float black_divisor = {{{black_divisor}}}, float knee_at_most = {{0.75}}, float knee_less = {{0.25}}>
{{
    power = Reshape (strength, per_picture)
    tamed_light = Clip (network_light, lowest, highest)
    exponents = Log (tamed_light)
    stops = Mul (exponents, stops_per_neper)
    stops_square = Mul (stops, stops)
    stops_fourth = Mul (stops_square, stops_square)
    change_fourth = ReduceMean <keepdims = 1> (stops_fourth, plane)
    change_square = Sqrt (change_fourth)
    change = Sqrt (change_square)
    {unseen}
    seen_light = Pow (network_light, unseen_step)
    bright_power = Min (power, unit)
    power_less = Sub (bright_power, power)
    {bright}
    power_part = Mul (power_less, bright_step)
    powers = Add (power, power_part)
    lifted_map = Pow (seen_light, powers)
    lifted = Unsqueeze (lifted_map, one)
    beyond = Sub (power, unit)
    beyond_up = Max (beyond, none)
    knee_down = Mul (beyond_up, knee_less)
    knee = Sub (knee_at_most, knee_down)

    shape = Shape (small)
    row_length = Slice (shape, one, two)
    col_length = Slice (shape, two, three)
    longest = Max (row_length, col_length)
    longest_twice = Mul (longest, two)
    reach_numerator = Add (longest_twice, sixteen)
    reach_up = Div (reach_numerator, thirty_two)
    reach_back = Mul (reach_up, thirty_two)
    reach_tie = Equal (reach_numerator, reach_back)
    reach_tie_i = Cast <to = 7> (reach_tie)
    reach_half = Div (reach_up, two)
    reach_even = Mul (reach_half, two)
    reach_odd = Sub (reach_up, reach_even)
    reach_less = Mul (reach_tie_i, reach_odd)
    reach_nearest = Sub (reach_up, reach_less)
    reach = Max (reach_nearest, one)
    {axes}

    brightest_last = ReduceMax <keepdims = 1> (small, channel)
    darkest_last = ReduceMin <keepdims = 1> (small, channel)
    brightest = Transpose <perm = [0, 3, 1, 2]> (brightest_last)
    darkest = Transpose <perm = [0, 3, 1, 2]> (darkest_last)
    colourful = Sub (brightest, darkest)
    {dark}
    dark = Sub (unit, dark_step)
    value = Div (brightest, top)
    dark_value = Mul (dark, value)
    dark_square = Mul (dark_value, value)
    darks = Concat <axis = 1> (dark, dark_value, dark_square)
    darks_across = MatMul (darks, col_reach_box_t)
    darks_means = MatMul (row_reach_box, darks_across)
    share_raw, first, second = Split <axis = 1> (darks_means, thirds)
    share = Max (share_raw, least_share)
    dark_mean = Div (first, share)
    dark_mean_square = Mul (dark_mean, dark_mean)
    dark_second = Div (second, share)
    dark_spread = Sub (dark_second, dark_mean_square)
    dark_variance = Max (dark_spread, none)
    deviation = Sqrt (dark_variance)
    {black}
    {empty}
    colour_across = MatMul (colourful, col_next_box_t)
    colour = MatMul (row_next_box, colour_across)
    {neutral}
    seen_first = Max (black_step, empty_step)
    seen = Max (seen_first, neutral_step)
    unseen = Sub (unit, seen)
    least = Mul (unseen, black_divisor)
    guarded = Max (lifted, least)
    divisor = Clip (guarded, lowest, highest)

    low = ReduceMin <keepdims = 1> (divisor, sides)
    high = ReduceMax <keepdims = 1> (divisor, sides)
    shades = MatMul (small, luma)
    shades_planar = Transpose <perm = [0, 3, 1, 2]> (shades)
    guide = Div (shades_planar, top)
    product = Mul (guide, divisor)
    square = Mul (guide, guide)
    fitted = Concat <axis = 1> (guide, divisor, product, square)
    across = MatMul (fitted, col_fit_box_t)
    means = MatMul (row_fit_box, across)
    mean_guide, mean_light, mean_product, mean_square = Split <axis = 1> (means, quarters)
    product_of_means = Mul (mean_guide, mean_light)
    covariance = Sub (mean_product, product_of_means)
    square_of_mean = Mul (mean_guide, mean_guide)
    spread = Sub (mean_square, square_of_mean)
    variance = Max (spread, none)
    steady = Add (variance, epsilon)
    slope = Div (covariance, steady)
    slope_part = Mul (slope, mean_guide)
    offset = Sub (mean_light, slope_part)
    coefficients = Concat <axis = 1> (slope, offset)
    smooth_across = MatMul (coefficients, col_fit_box_t)
    smooth = MatMul (row_fit_box, smooth_across)
    slopes, offsets = Split <axis = 1> (smooth, halves)
    is_reduced = Sub (unit, is_small)
    slopes_255 = Div (slopes, top)
    slopes_used = Mul (slopes_255, is_reduced)
    offsets_fit = Mul (offsets, is_reduced)
    offsets_own = Mul (divisor, is_small)
    offsets_used = Add (offsets_fit, offsets_own)
    line = Concat <axis = 1> (slopes_used, offsets_used)
}}
"""
"""`line` holds slope and offset of the divisor over luma, or 0 and the divisor if the picture was not
reduced."""

_PLACES: Final = """
    {axis}_stop = Squeeze ({axis}_length)
    {axis}_place = Range (start, {axis}_stop, step)
    {axis}_places = Unsqueeze ({axis}_place, one)
    {axis}_apart = Sub ({axis}_place, {axis}_places)
    {axis}_distance = Abs ({axis}_apart)
"""

_BOX: Final = """
    {axis}_{name}_near = LessOrEqual ({axis}_distance, {radius})
    {axis}_{name}_near_f = Cast <to = 1> ({axis}_{name}_near)
    {axis}_{name}_count = ReduceSum <keepdims = 1> ({axis}_{name}_near_f, one)
    {axis}_{name}_box = Div ({axis}_{name}_near_f, {axis}_{name}_count)
    {axis}_{name}_box_t = Transpose ({axis}_{name}_box)
"""
"""A matrix of means over windows of a radius, which are smaller at the borders."""

_STEP: Final = """
    {name}_over_low = Sub ({values}, {name}_from)
    {name}_raw = Div ({name}_over_low, {name}_over)
    {name}_t = Clip ({name}_raw, none, unit)
    {name}_twice = Mul ({name}_t, couple)
    {name}_rest = Sub (triple, {name}_twice)
    {name}_t_square = Mul ({name}_t, {name}_t)
    {name}_step = Mul ({name}_t_square, {name}_rest)
"""
"""A smooth step from 0 to 1: `rave_runtime.light.look.smooth_step`."""


def fit_graph(versions: Versions) -> onnx.ModelProto:
    """The graph from the network's light and the reduced picture to the divisor as lines over luma.

    It also gives the divisor itself, its range, and the knee of the shoulder.
    """
    radii = {"fit": "radius", "reach": "reach", "next": "one"}
    axes = "".join(
        _PLACES.format(axis=axis)
        + "".join(_BOX.format(axis=axis, name=name, radius=radius) for name, radius in radii.items())
        for axis in ("row", "col")
    )
    steps = {
        "unseen": "change",
        "bright": "seen_light",
        "dark": "brightest",
        "black": "brightest",
        "empty": "deviation",
        "neutral": "colour",
    }
    texts = {name: _STEP.format(name=name, values=values) for name, values in steps.items()}
    bright_from, bright_to = BRIGHT_LIGHT
    unseen_from, unseen_to = UNSEEN_STOPS
    lowest, highest = DIVISOR_BOUNDS
    texts["luma"] = ", ".join(map(str, LUMA_BT601))
    numbers = {
        "epsilon": EPSILON,
        "stops_per_neper": 1 / math.log(2),
        "unseen_from": unseen_from,
        "unseen_over": unseen_to - unseen_from,
        "bright_from": bright_from,
        "bright_over": bright_to - bright_from,
        "black_divisor": float(BLACK_DIVISOR),
        "empty_from": 1 / 255,
        "empty_over": 1.5 / 255,
        "lowest": lowest,
        "highest": highest,
    }
    return parse_part("fit", _FIT, versions, axes=axes, **texts, **numbers)
