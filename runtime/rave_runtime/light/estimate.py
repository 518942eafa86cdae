"""Estimates the light of what was photographed: not of a frame around it, and not of a drawing."""

from __future__ import annotations

import functools
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.backends.network import Network
from rave_runtime.light.look import greatest_nearby, smooth_step
from rave_runtime.light.tiled import whole_light

FRAME_LEAST: Final = 153
"""Least value, of 255, of each channel of a frame's colour: paper that has yellowed counts as well."""

FRAME_SPREAD: Final = 24
"""Most by which a frame's pixels differ from its colour in any channel, of 255."""

FRAME_SHARE: Final = 0.25
"""Most of the height or width that a frame takes on one side: a Polaroid's takes 0.21 below the picture."""

BARS_SHARE: Final = 0.35
"""Most of the height or width that each of two bars takes: 0.342 beside 9 to 16 upright in 16 to 9."""

BARS_EDGE: Final = 0.5
"""Least share of the second row or column beside a bar that has another colour: bars have straight edges, a
subject before a white background has not."""

FRAME_AXES: Final = ((0, 1), (0,), (1,))
"""Axes along which a frame is looked for, in this order: on all sides, above and below, left and right."""

FRAME_SPECKS: Final = 0.125
"""Most of a frame's row or column that has another colour: dust, a printed date, rounded corners."""

DRAWN: Final = (0.35, 0.5)
"""Shares of a picture that are dark and even, in its two commonest colours: up to the first it is a
photograph, also one that was taken much too dark; from the second on it is a drawing or a screenshot. Only
small dark photographs that were compressed very much lie between the two."""

DRAWN_VALUES: Final = (8, 128)
"""Brightest channels, of 255. Up to the first, a pixel is black and does not count, since black is even in
photographs too; so are skies that were overexposed, so only pixels up to the second count as dark."""

COLOUR_BINS: Final = 1024
COLOUR_WEIGHTS: Final = (1, 15, 225)
"""Weights of red, green and blue in a colour's number, modulo `COLOUR_BINS`: it differs among all greys and
between colours whose channels differ by up to 7, and so few can be counted in a graph too."""


def estimate_light(
    network: Network, image: NDArray[Any], tile_px: int | None, batch: int = 1
) -> tuple[Array, tuple[slice, slice]]:
    """Computes the whole light of what was photographed, [h, w] float32, and 1 elsewhere.

    The network, which looks at the whole picture, would take a white frame for light, and the photograph in
    it for one that needs little. So it is shown the photograph's mean colour in the place of the frame, and
    of the photograph's outermost pixels, which the reduction has mixed with the frame's. The more such a
    pixel looks like the frame, the nearer to 1 is its light: otherwise the frame would glow beside it. What
    has the frame's colour inside, such as the paper between the prints on an album's page, gets no light
    above 1: it would look grey beside the frame.

    The light of a drawing is 1 everywhere: dark screenshots would become grey, with clouds in it.

    Arguments and errors are those of `rave_runtime.light.tiled.full_light`.

    Returns:
        The light, and the rows and columns inside the frame: all of them where there is no frame.
    """
    frame = frame_of(image)
    if frame is None:
        light = whole_light(network, image, tile_px, batch)
        return _of_photographs(light, image), (slice(None), slice(None))
    unmixed = frame.unmixed
    mean = image[unmixed].mean((0, 1), np.float64)
    shown = np.empty_like(image)
    shown[:] = np.rint(mean) if image.dtype.kind == "u" else mean
    shown[unmixed] = image[unmixed]
    light = whole_light(network, shown, tile_px, batch)
    kept = np.zeros_like(light)
    kept[frame.inside] = frame.differences[frame.inside] / frame.differences[unmixed].mean()
    kept[unmixed] = frame.differences[unmixed] / FRAME_SPREAD
    result = 1 + (light - 1) * np.minimum(kept, 1)
    result[unmixed] = np.minimum(result[unmixed], light[unmixed])
    return _of_photographs(result, image), frame.inside


class Frame(NamedTuple):
    """A bright frame around a photograph.

    Attributes:
        inside: rows and columns of what is inside the frame.
        unmixed: the same without the pixels beside the frame, which the reduction has mixed with it.
        differences: [h, w] float32, by how much, of 255, each pixel differs from the frame's colour at most.
    """

    inside: tuple[slice, slice]
    unmixed: tuple[slice, slice]
    differences: Array


def frame_of(pixels: NDArray[Any]) -> Frame | None:
    """Finds a bright frame around a photograph: a scanned print's border, or bars on two opposite sides.

    A frame has one colour. The outermost pixels do not count, since a scan often shows a line of the
    scanner's lid there: the colour is the mean of the pixels next to them. The frame's rows and columns are
    those at the borders whose pixels have that colour, within `FRAME_SPREAD`, except for a share of up to
    `FRAME_SPECKS`. Bars, with which other programs bring a photograph to another shape, have a straight edge.

    Args:
        pixels: [h, w, 3] uint8, uint16 or float32 in [0, 1].

    Returns:
        The frame; None where there is none.
    """
    if min(pixels.shape[:2]) < 5:
        return None
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    scale = np.float32(255 / top)
    for axes in FRAME_AXES:
        ends = [pixels[1:-1, 1:-1].take([0, -1], axis) for axis in axes]
        beside = np.concatenate([end.reshape(-1, 3) for end in ends])
        colour = beside.astype(np.float32).mean(0) * scale
        if colour.min() < FRAME_LEAST:
            continue
        channels = (np.abs(pixels[..., i] * scale - colour[i]) for i in range(3))  # numpy is slow along three
        differences = functools.reduce(np.maximum, channels)
        inside, unmixed = [slice(None)] * 2, [slice(None)] * 2
        for axis in axes:
            found = _inside(differences[1:-1, 1:-1] > FRAME_SPREAD, axis, is_bar=len(axes) == 1)
            if found is None:
                break
            inside[axis], unmixed[axis] = found, slice(found.start + 1, found.stop - 1)
        else:
            return Frame((inside[0], inside[1]), (unmixed[0], unmixed[1]), differences)
    return None


def _inside(is_apart: NDArray[np.bool_], axis: int, *, is_bar: bool) -> slice | None:
    """Rows (axis 0) or columns inside a frame, None where there is none.

    Args:
        is_apart: [h - 2, w - 2], which pixels, without the outermost, have another colour than the frame.
        axis: 0 or 1.
        is_bar: whether the frame is bars on two sides.
    """
    length, across = (is_apart.shape[each] + 2 for each in (axis, 1 - axis))
    counts = is_apart.sum(1 - axis)
    places = np.flatnonzero(counts > FRAME_SPECKS * across) + 1
    if not places.size:
        return None
    first, last = int(places[0]), int(places[-1])
    most = BARS_SHARE if is_bar else FRAME_SHARE
    if min(first, length - 1 - last) < 2 or max(first, length - 1 - last) > most * length:
        return None
    if is_bar and min(counts[first], counts[last - 2]) < BARS_EDGE * across:
        return None
    return slice(first, last + 1)


def _of_photographs(light: Array, pixels: NDArray[Any]) -> Array:
    """Brings the light the nearer to 1 the more of a picture is drawn; a photograph's stays itself."""
    share = smooth_step(np.array(drawn_share(pixels), np.float32), *DRAWN)
    return light if share == 0 else 1 + (light - 1) * (1 - share)


def drawn_share(pixels: NDArray[Any]) -> float:
    """Returns the share of a picture's pixels that are dark and even, in their two commonest colours.

    A pixel is even if its eight neighbours have the same colour, in 8 bits. Blocks of JPEG files that
    were compressed much are even too, but have many colours; a page and its boxes have two.

    Args:
        pixels: [h, w, 3] uint8, uint16 or float32 in [0, 1].

    Returns:
        Of the pixels that are not black (see `DRAWN_VALUES`), 0 to 1; 0 where it is easily seen to be less
        than `DRAWN[0]`.
    """
    if pixels.dtype != np.uint8:
        scale = np.float32(255 / (65535 if pixels.dtype == np.uint16 else 1))
        pixels = np.rint(pixels * scale).astype(np.uint8)
    red, green, blue = (np.ascontiguousarray(pixels[..., i]) for i in range(3))
    black, dark = DRAWN_VALUES
    brightest = np.maximum(np.maximum(red, green), blue)
    is_lit = brightest > black
    is_dark = is_lit & (brightest <= dark)
    count = max(1, int(np.count_nonzero(is_lit)))
    is_like_next = is_dark[:, 1:] & (green[:, 1:] == green[:, :-1])
    if np.count_nonzero(is_like_next) + len(is_dark) < DRAWN[0] * count:
        return 0.0  # most photographs: the rest takes ten times as long
    numbers = red + np.int32(256) * green + np.int32(65536) * blue
    is_even = greatest_nearby(numbers) == -greatest_nearby(-numbers)
    numbers = np.tensordot(COLOUR_WEIGHTS, (red, green, blue), 1) % COLOUR_BINS
    counts = np.bincount(numbers[is_even & is_dark], minlength=COLOUR_BINS)
    return float(np.sort(counts)[-2:].sum() / count)
