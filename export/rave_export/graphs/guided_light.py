"""The divisor on the reduced picture in a graph, computed as in `rave_runtime.light.look`, `.reduction`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rave_export.graphs.joining import FLOAT, GraphWriter, Tensor, round_half
from rave_runtime.light.estimate import (
    BARS_EDGE,
    BARS_SHARE,
    COLOUR_BINS,
    COLOUR_WEIGHTS,
    DRAWN,
    DRAWN_VALUES,
    FRAME_AXES,
    FRAME_LEAST,
    FRAME_SHARE,
    FRAME_SPECKS,
    FRAME_SPREAD,
)
from rave_runtime.light.look import (
    BLACK,
    BLACK_DIVISOR,
    BRIGHT_LIGHT,
    DARK,
    DIVISOR_BOUNDS,
    EMPTY,
    KNEE,
    NEUTRAL,
    REACH_SHARE,
    UNSEEN_STOPS,
    WHITE,
)
from rave_runtime.light.luma import LUMA_BT601
from rave_runtime.light.reduction import EPSILON


class Fitted(NamedTuple):
    """The divisor on the reduced picture, all float32."""

    line: Tensor
    """[n, 2, h2, w2]: slope and offset of the divisor over luma, or 0 and the divisor if the picture was not
    reduced."""
    low: Tensor
    """[n, 1, 1, 1]: the lowest divisor."""
    high: Tensor
    """[n, 1, 1, 1]: the highest divisor."""
    divisor: Tensor
    """[n, 1, h2, w2]: the divisor itself."""
    knee: Tensor
    """[n, 1, 1]: where the shoulder begins."""


class _Framed(NamedTuple):
    """A frame that was looked for on some sides."""

    is_framed: Tensor
    """bool [n, 1, 1]: whether there is one."""
    depth: Tensor
    """float32 [n, h2, w2], or 1 in the place of h2 or w2: how many pixels each lies within it, at least 0
    inside."""
    differences: Tensor
    """float32 [n, h2, w2]: by how much each pixel differs from its colour."""


def hide_frame(graph: GraphWriter, small: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gives a bright frame the mean colour of the photograph in it. Pictures without one stay as they are.

    Args:
        graph: the graph that is written.
        small: float32 [n, h2, w2, 3], 0 to 255, the reduced picture.

    Returns:
        What the network sees, like `small`; bool [n, h2, w2], where that is the mean colour; and float32
        [n, h2, w2], how much of the light's distance from 1 is kept: see `rave_runtime.light.estimate`.
    """
    is_framed, depth, differences = _look_for_frame(graph, small, FRAME_AXES[-1])
    for axes in reversed(FRAME_AXES[:-1]):
        first = _look_for_frame(graph, small, axes)
        depth = graph.Where(first.is_framed, first.depth, depth)
        differences = graph.Where(first.is_framed, first.differences, differences)
        is_framed = graph.Not(graph.And(graph.Not(first.is_framed), graph.Not(is_framed)))
    frame, hidden = (graph.And(is_framed, graph.Less(depth, limit)) for limit in (0.0, 1.0))
    masked = graph.Unsqueeze(hidden, 3)
    kept = graph.Where(masked, 0.0, 1.0)
    counts = graph.ReduceSum(kept, (1, 2), keepdims=1)
    mean = graph.Round(graph.ReduceSum(small * kept, (1, 2), keepdims=1) / counts)
    sums = graph.ReduceSum(differences * graph.Squeeze(kept, 3), (1, 2), keepdims=1)
    like_frame = graph.Where(
        hidden, differences / (sums / graph.Squeeze(counts, 3)), differences / float(FRAME_SPREAD)
    )
    kept_light = graph.Where(frame, 0.0, graph.Where(is_framed, graph.Min(like_frame, 1.0), 1.0))
    return graph.Where(masked, mean, small), hidden, kept_light


def _look_for_frame(graph: GraphWriter, small: Tensor, axes: Sequence[int]) -> _Framed:
    """Looks for a frame at both ends of some axes of the reduced picture (0: rows, 1: columns)."""
    lengths = [graph.Shape(small).entry(axis) for axis in (1, 2)]
    places = [
        graph.Unsqueeze(graph.count_to(length), (0, other))
        for length, other in zip(lengths, (2, 1), strict=True)
    ]
    from_ends = [graph.Min(place, length - 1 - place) for place, length in zip(places, lengths, strict=True)]
    from_border = graph.Min(*from_ends)
    counted = graph.GreaterOrEqual(from_border, 1)
    from_sides = from_border if len(axes) == 2 else from_ends[axes[0]]
    beside = graph.Unsqueeze(graph.And(graph.Equal(from_sides, 1), counted).cast(FLOAT), 3)
    colour = graph.ReduceSum(small * beside, (1, 2), keepdims=1) / graph.ReduceSum(beside, (1, 2), keepdims=1)
    differences = graph.ReduceMax(graph.Abs(small - colour), 3, keepdims=0)
    is_apart = graph.Not(graph.LessOrEqual(differences, float(FRAME_SPREAD)))
    apart = graph.And(is_apart, counted).cast(FLOAT)
    least = graph.Squeeze(graph.ReduceMin(colour, 3, keepdims=1), 3)
    is_framed = graph.GreaterOrEqual(least, float(FRAME_LEAST))
    is_bars = len(axes) == 1
    depths = []
    for axis in axes:
        size, across = (lengths[each].cast(FLOAT) for each in (axis, 1 - axis))
        place = places[axis].cast(FLOAT)
        counts = graph.ReduceSum(apart, 2 - axis, keepdims=1)
        is_inside = graph.Less(across * float(FRAME_SPECKS), counts)
        first = graph.ReduceMin(graph.Where(is_inside, place, size), axis + 1, keepdims=1)
        last = graph.ReduceMax(graph.Where(is_inside, place, -1.0), axis + 1, keepdims=1)
        after = size - 1.0 - last
        is_wide = graph.GreaterOrEqual(graph.Min(first, after), 2.0)
        most = BARS_SHARE if is_bars else FRAME_SHARE
        is_narrow = graph.LessOrEqual(graph.Max(first, after), size * float(most))
        is_framed = graph.And(is_framed, graph.And(is_wide, is_narrow))
        depth = graph.Min(place - first, last - place)
        if is_bars:
            is_second = graph.Equal(depth, 1.0)
            at_edges = graph.ReduceMin(graph.Where(is_second, counts, across), axis + 1, keepdims=1)
            is_framed = graph.And(is_framed, graph.LessOrEqual(across * float(BARS_EDGE), at_edges))
        depths.append(depth)
    return _Framed(is_framed, functools.reduce(graph.Min, depths), differences)


def photograph_share(graph: GraphWriter, small: Tensor) -> Tensor:
    """How much of the light's distance from 1 is kept: 1 for photographs, 0 for drawings.

    Args:
        graph: the graph that is written.
        small: float32 [n, h2, w2, 3], whole numbers from 0 to 255, the reduced picture.

    Returns:
        float32 [n, 1, 1]: see `rave_runtime.light.estimate.drawn_share`.
    """
    black, dark = (float(value) for value in DRAWN_VALUES)
    brightest = graph.Squeeze(graph.ReduceMax(small, 3, keepdims=1), 3)
    is_lit = graph.Less(black, brightest)
    is_dark = graph.And(is_lit, graph.LessOrEqual(brightest, dark)).cast(FLOAT)
    weights = np.array([1, 256, 65536], np.float32)[:, None]
    packed = graph.Transpose(graph.MatMul(small, weights), perm=[0, 3, 1, 2])
    greatest, least_negated = (
        graph.MaxPool(values, kernel_shape=[3, 3], pads=[1, 1, 1, 1]) for values in (packed, 0.0 - packed)
    )
    is_even = graph.Squeeze(graph.Equal(greatest + least_negated, 0.0), 1).cast(FLOAT) * is_dark
    total = graph.ReduceSum(is_lit.cast(FLOAT), (1, 2), keepdims=1)
    return 1.0 - _smooth_step(graph, _count_commonest(graph, small, is_even) / graph.Max(total, 1.0), *DRAWN)


def _count_commonest(graph: GraphWriter, small: Tensor, counted: Tensor) -> Tensor:
    """How many of the counted pixels [n, h2, w2], 0 or 1, have the two commonest colours: float32 [n, 1, 1].

    A colour's number has two digits, so that the product of which pixels have which digit counts the numbers.
    """
    numbers = graph.MatMul(small, np.array(COLOUR_WEIGHTS, np.float32)[:, None])
    numbers -= graph.Floor(numbers / float(COLOUR_BINS)) * float(COLOUR_BINS)
    base = math.isqrt(COLOUR_BINS)
    first = graph.Floor(numbers / float(base))
    digits = [
        graph.Equal(digit, np.arange(base, dtype=np.float32)).cast(FLOAT)
        for digit in (first, numbers - first * float(base))
    ]
    firsts, seconds = (
        graph.Reshape(each, (0, -1, base)) for each in (digits[0] * graph.Unsqueeze(counted, 3), digits[1])
    )
    counts = graph.Reshape(graph.MatMul(graph.Transpose(firsts, perm=[0, 2, 1]), seconds), (0, 1, -1))
    greatest = graph.ReduceMax(counts, 2, keepdims=1)
    is_greatest = graph.Equal(counts, greatest)
    next_greatest = graph.ReduceMax(graph.Where(is_greatest, 0.0, counts), 2, keepdims=1)
    is_alone = graph.Less(graph.ReduceSum(is_greatest.cast(FLOAT), 2, keepdims=1), 2.0)
    return greatest + graph.Where(is_alone, next_greatest, greatest)


def fit_light(
    graph: GraphWriter,
    small: Tensor,
    network_light: Tensor,
    strength: Tensor,
    radius: Tensor,
    is_small: Tensor,
) -> Fitted:
    """Fits the divisor, which comes from the network's light, to the reduced picture as lines over luma.

    Args:
        graph: the graph that is written.
        small: float32 [n, h2, w2, 3], 0 to 255, the reduced picture.
        network_light: float32 [n, h2, w2], its light.
        strength: a float32 scalar, 0 to 2.
        radius: int64 [1], the radius of the fit in pixels.
        is_small: float32, 1 if the picture was too small to reduce, else 0.
    """
    power = graph.Reshape(strength, (-1, 1, 1))
    stops = graph.Log(graph.Clip(network_light, *DIVISOR_BOUNDS)) * (1 / math.log(2))
    squares = stops * stops
    change = graph.Sqrt(graph.Sqrt(graph.ReduceMean(squares * squares, (1, 2), keepdims=1)))
    seen_light = graph.Pow(network_light, _smooth_step(graph, change, *UNSEEN_STOPS))
    less = graph.Min(power, 1.0) - power
    powers = power + less * _smooth_step(graph, seen_light, *BRIGHT_LIGHT)
    lifted = graph.Unsqueeze(graph.Pow(seen_light, powers), 1)
    knee = KNEE[0] - graph.Max(power - 1.0, 0.0) * (KNEE[0] - KNEE[1])

    shape = graph.Shape(small)
    lengths = [shape.entry(axis) for axis in (1, 2)]
    reach = graph.Max(round_half(graph, graph.Max(*lengths) * 2, round(1 / REACH_SHARE)), 1)
    places = [graph.count_to(length) for length in lengths]
    distances = [graph.Abs(place - graph.Unsqueeze(place, 1)) for place in places]

    brightest, darkest = (
        graph.Transpose(values, perm=[0, 3, 1, 2])
        for values in (graph.ReduceMax(small, 3, keepdims=1), graph.ReduceMin(small, 3, keepdims=1))
    )
    nearby = graph.MaxPool(darkest, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    whiteness = _smooth_step(graph, nearby, *_in_bytes(WHITE))
    whitened = lifted - graph.Max(lifted - 1.0, 0.0) * whiteness
    dark = 1.0 - _smooth_step(graph, brightest, *_in_bytes(DARK))
    value = brightest / 255.0
    dark_value = dark * value
    darks = graph.Concat(dark, dark_value, dark_value * value, axis=1)
    share_raw, first, second = graph.Split(_window_means(graph, distances, reach)(darks), (1, 1, 1), axis=1)
    share = graph.Max(share_raw, 0.001)
    mean = first / share
    deviation = graph.Sqrt(graph.Max(second / share - mean * mean, 0.0))
    colour = _window_means(graph, distances, 1)(brightest - darkest)
    seen = graph.Max(
        graph.Max(_smooth_step(graph, brightest, *_in_bytes(BLACK)), _smooth_step(graph, deviation, *EMPTY)),
        _smooth_step(graph, colour, *_in_bytes(NEUTRAL)),
    )
    divisor = graph.Clip(graph.Max(whitened, (1.0 - seen) * float(BLACK_DIVISOR)), *DIVISOR_BOUNDS)

    low = graph.ReduceMin(divisor, (2, 3), keepdims=1)
    high = graph.ReduceMax(divisor, (2, 3), keepdims=1)
    luma = np.array(LUMA_BT601)[:, None]
    guide = graph.Transpose(graph.MatMul(small, luma), perm=[0, 3, 1, 2]) / 255.0
    means = _window_means(graph, distances, radius)
    fitted = means(graph.Concat(guide, divisor, guide * divisor, guide * guide, axis=1))
    mean_guide, mean_light, mean_product, mean_square = graph.Split(fitted, (1, 1, 1, 1), axis=1)
    covariance = mean_product - mean_guide * mean_light
    variance = graph.Max(mean_square - mean_guide * mean_guide, 0.0)
    slope = covariance / (variance + EPSILON)
    offset = mean_light - slope * mean_guide
    slopes, offsets = graph.Split(means(graph.Concat(slope, offset, axis=1)), (1, 1), axis=1)
    is_reduced = 1.0 - is_small
    line = graph.Concat(slopes / 255.0 * is_reduced, offsets * is_reduced + divisor * is_small, axis=1)
    return Fitted(line, low, high, divisor, knee)


def _window_means(
    graph: GraphWriter, distances: Sequence[Tensor], radius: Tensor | int
) -> Callable[[Tensor], Tensor]:
    """What takes means over windows of a radius, which are smaller at the borders.

    Args:
        graph: the graph that is written.
        distances: int64 [h2, h2] and [w2, w2], how far each row, and each column, is from each other.
        radius: of the windows, in pixels.
    """
    near = [graph.LessOrEqual(distance, radius).cast(FLOAT) for distance in distances]
    rows, cols = (each / graph.ReduceSum(each, 1, keepdims=1) for each in near)
    cols_t = graph.Transpose(cols)
    return lambda values: graph.MatMul(rows, graph.MatMul(values, cols_t))


def _smooth_step(graph: GraphWriter, values: Tensor, start: float, stop: float) -> Tensor:
    """A smooth step from 0 to 1: `rave_runtime.light.look.smooth_step`."""
    t = graph.Clip((values - float(start)) / float(stop - start), 0.0, 1.0)
    return t * t * (3.0 - t * 2.0)


def _in_bytes(bounds: tuple[float, float]) -> list[float]:
    """Bounds of values in [0, 1] as bounds of bytes."""
    return [255 * bound for bound in bounds]
