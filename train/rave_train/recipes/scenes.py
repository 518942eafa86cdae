"""The kinds of training pairs: a photograph as a camera took it, and the picture that it should become.

Views into panoramas, and dark subjects before such a view or before a photograph, have a wider range of
light than a photograph holds; their truth is the fusion of their brackets. The truth of a partly darkened
photograph is the photograph itself; such pairs teach by how much to raise a silhouette before a sky that was
exposed well. Well-lit and low-key pictures are their own truth, since a network must leave them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from rave_runtime.arrays import Array
from rave_runtime.photos.headers.colour_codes import LUMINANCE
from rave_train.data.synthesis import (
    SynthesisRange,
    ToneCurve,
    linear_to_srgb,
    photograph,
    shade_mask,
    srgb_to_linear,
)
from rave_train.recipes.brackets import (
    CAMERA,
    Brackets,
    expose_highlights,
    find_exposure,
    stretch,
    take_brackets,
)
from rave_train.recipes.panoramas import Direction, view_into
from rave_train.recipes.subjects import draw_mask

Pair = tuple[Array, Array]

STOPS_BELOW: Final = (-0.4, 2.4)
"""Range of exposures of photographs of bracketed scenes, in stops below the middle."""

SILHOUETTE_STOPS_BELOW: Final = (0.3, 2.4)
"""The same range for scenes whose highlights set the exposure."""

SHADE: Final = replace(SynthesisRange(), coverage=(0.3, 0.8), softness=(0.015, 0.1), field_weight=(0.0, 0.25))
"""Shape of the region in which a photograph is darkened; by how much, `_SHADE_STOPS` says."""

_SHADE_STOPS, _LIT_STOPS = (-3.0, -1.0), (-0.15, 0.25)
"""Ranges, in stops, of the changes of the shaded and of the lit part of a darkened photograph."""

_SUBJECT_STOPS: Final = (-5.5, -1.5)
"""Range of the light on a subject relative to the bright parts behind it, in stops."""

_LUMINANCE: Final = np.array(LUMINANCE, np.float32)

_PLAIN: Final = ToneCurve(0.0, 1.0)
_SMALL_PX, _LEAST_FIELD_DEG = 1024, {True: 62.0, False: 45.0}
"""Least field of view by whether a panorama is narrower than `_SMALL_PX`. Such a one has few pixels per
degree, so views into it must be wider to be sharp."""


@dataclass(frozen=True)
class Sources:
    """The pictures that pairs are made of.

    Attributes:
        photographs: [h, w, 3] float32 each, sRGB in [0, 1], well lit.
        panoramas: [h, 2h, 3] float32 each, linear light.
    """

    photographs: list[Array]
    panoramas: list[Array]

    def view(self, rng: np.random.Generator, height: int, width: int) -> Array:
        """Draws a view into a panorama, [height, width, 3] float32, linear light."""
        panorama = self.panoramas[rng.integers(len(self.panoramas))]
        least_deg = _LEAST_FIELD_DEG[panorama.shape[1] < _SMALL_PX]
        pitch_deg = float(np.clip(rng.normal(2, 12), -35, 35))
        direction = Direction(
            rng.uniform(-180, 180), pitch_deg, rng.uniform(least_deg, 98), float(rng.normal(0, 3))
        )
        linear = view_into(panorama, direction, height, width)
        linear = stretch(linear * np.exp2(rng.normal(0, 0.15, 3)).astype(np.float32), rng)
        return linear[:, ::-1] if rng.random() < 0.5 else linear

    def crop(
        self, rng: np.random.Generator, height: int, width: int, share: tuple[float, float] = (0.5, 1.0)
    ) -> Array:
        """Draws a crop of a photograph, in half of the cases mirrored.

        Args:
            rng: where every random choice comes from.
            height: height of the result in pixels.
            width: width of the result in pixels.
            share: range of the crop's side as a share of the largest crop of that shape.

        Returns:
            [height, width, 3] float32, sRGB in [0, 1].
        """
        picture = self.photographs[rng.integers(len(self.photographs))]
        full_h, full_w = picture.shape[:2]
        scale = min(full_h / height, full_w / width) * rng.uniform(*share)
        crop_h, crop_w = max(1, int(height * scale)), max(1, int(width * scale))
        top, left = rng.integers(full_h - crop_h + 1), rng.integers(full_w - crop_w + 1)
        crop = picture[top : top + crop_h, left : left + crop_w]
        way = cv2.INTER_AREA if scale >= 1 else cv2.INTER_LINEAR
        small = np.asarray(cv2.resize(crop, (width, height), interpolation=way), np.float32)
        return small[:, ::-1] if rng.random() < 0.5 else small


def draw_view(sources: Sources, rng: np.random.Generator, height: int, width: int) -> list[Pair]:
    """Two photographs of a view into a panorama; none where its light is too even or too uneven."""
    brackets = take_brackets(sources.view(rng, height, width), rng)
    return [] if brackets is None else _photograph_scene(brackets, STOPS_BELOW, rng)


def draw_silhouette(sources: Sources, rng: np.random.Generator, height: int, width: int) -> list[Pair]:
    """Two photographs of a view into a panorama, exposed for its highlights."""
    brackets = expose_highlights(sources.view(rng, height, width), rng)
    return _photograph_scene(brackets, SILHOUETTE_STOPS_BELOW, rng)


def draw_subject(sources: Sources, rng: np.random.Generator, height: int, width: int) -> list[Pair]:
    """Two photographs of a subject in its own shade before a view or a photograph; none as in `draw_view`."""
    if sources.panoramas and rng.random() < 0.7:
        behind = sources.view(rng, height, width)
    else:
        behind = _expand_highlights(srgb_to_linear(sources.crop(rng, height, width)), rng)
    surface = srgb_to_linear(sources.crop(rng, height, width, (0.4, 1.0)))
    brackets = take_brackets(place_subject(behind, surface, rng), rng)
    return [] if brackets is None else _photograph_scene(brackets, STOPS_BELOW, rng)


def draw_shade(sources: Sources, rng: np.random.Generator, height: int, width: int) -> list[Pair]:
    """A partly darkened photograph, by its luminance or within an outline; the truth is the photograph."""
    truth = _expose(sources.crop(rng, height, width), rng.normal(-0.05, 0.2))
    if rng.random() < 0.5:
        mask = shade_mask(truth, rng, SHADE)[..., None]
    else:
        mask = draw_mask(height, width, rng)
        truth = mask * truth + (1 - mask) * sources.crop(rng, height, width)
    stops = rng.uniform(*_SHADE_STOPS) * mask + rng.uniform(*_LIT_STOPS) * (1 - mask)
    linear = (srgb_to_linear(truth) * np.exp2(stops)).astype(np.float32)
    return [(photograph(linear, rng, CAMERA, _PLAIN), truth)]


def draw_lit(sources: Sources, rng: np.random.Generator, height: int, width: int) -> list[Pair]:
    """A well-lit, low-key or spot-lit picture as its own truth, in half of the cases through a camera."""
    kind = rng.random()
    if kind < 0.14 and sources.panoramas:
        truth = _even_view(sources, rng, height, width)
    elif kind < 0.28:
        truth = _subject_on_black(sources, rng, height, width)
    elif kind < 0.33:
        truth = _spot_lit(sources, rng, height, width)
    elif kind < 0.4:
        # A low-key picture is dark as a whole, while its highlights stay as bright as in others.
        truth = sources.crop(rng, height, width, (0.6, 1.0)) ** np.float32(rng.uniform(1.2, 2.0))
    else:
        truth = _expose(sources.crop(rng, height, width, (0.6, 1.0)), rng.normal(-0.05, 0.25))
    if rng.random() < 0.25:
        truth = np.clip(truth * np.exp2(rng.normal(0, 0.08, 3)), 0, 1).astype(np.float32)
    if rng.random() < 0.5:
        return [(truth, truth)]
    return [(photograph(srgb_to_linear(truth), rng, CAMERA, _PLAIN), truth)]


def place_subject(behind: Array, surface: Array, rng: np.random.Generator) -> Array:
    """A subject before a bright background, cut out as sharply as a lens would.

    Args:
        behind: [h, w, 3] float32, linear light in any unit.
        surface: [h, w, 3] float32, linear light: what the subject reflects.
        rng: where every random choice comes from.

    Returns:
        [h, w, 3] float32 in the background's unit.
    """
    height, width = behind.shape[:2]
    mask = draw_mask(height, width, rng)
    bright = np.quantile(behind.max(2), 0.92)
    surface = surface / max(float(surface.mean()), 0.02) * 0.25
    # Light falls around the subject: its shade is deepest away from the edge.
    around = cv2.GaussianBlur(mask, (0, 0), max(1.0, width * rng.uniform(0.01, 0.12)))[..., None]
    stops = rng.uniform(*_SUBJECT_STOPS) + (1 - around) * rng.uniform(0, 0.8)
    return np.asarray(mask * surface * bright * np.exp2(stops) + (1 - mask) * behind, np.float32)


def _photograph_scene(
    brackets: Brackets, stops_below: tuple[float, float], rng: np.random.Generator
) -> list[Pair]:
    """Two pairs: a photograph from each half of a range of exposures, with the fused brackets as truth."""
    truth = brackets.fuse()
    low, high = stops_below
    middle = (low + high) / 2
    return [
        (brackets.photograph(rng.uniform(*stops), rng), truth) for stops in ((low, middle), (middle, high))
    ]


def lifted_stops(picture: Array, truth: Array) -> tuple[float, float]:
    """By how many stops a photograph is darker than its truth, in its darkest third and its brightest fifth.

    Args:
        picture: the photograph, [h, w, 3] float32, sRGB in [0, 1].
        truth: the truth in the same shape and range.
    """
    before, after = (srgb_to_linear(side[::2, ::2]) @ _LUMINANCE for side in (picture, truth))
    dark, bright = before <= np.quantile(before, 1 / 3), before >= np.quantile(before, 0.8)
    shade, light = (
        float(np.log2((after[part].mean() + 1e-4) / (before[part].mean() + 1e-4))) for part in (dark, bright)
    )
    return shade, light


def _expand_highlights(linear: Array, rng: np.random.Generator) -> Array:
    """Raises the upper end of the light by up to ten times, as if a photograph had compressed a sky."""
    share = rng.uniform(0, 0.9)
    return np.asarray(linear * (1 - share) / (1 - share * np.minimum(linear, 1)), np.float32)


def _expose(picture: Array, powers: float) -> Array:
    """Multiplies sRGB values by a power of two, so that a network sees each photograph at many exposures.

    If it knew few photographs by heart, each at one exposure, it would make all pictures as bright as those.
    """
    return np.asarray(np.clip(picture * 2.0**powers, 0, 1), np.float32)


def _subject_on_black(sources: Sources, rng: np.random.Generator, height: int, width: int) -> Array:
    """A lit subject before an almost black background, which must not turn grey."""
    mask = draw_mask(height, width, rng)
    black = rng.uniform(0, 0.04) * np.exp(rng.normal(0, 0.2, 3))
    subject = sources.crop(rng, height, width) * rng.uniform(0.6, 1.1)
    return np.clip(mask * subject + (1 - mask) * black, 0, 1).astype(np.float32)


def _spot_lit(sources: Sources, rng: np.random.Generator, height: int, width: int) -> Array:
    """A lit subject before a dark background, as a flash, a spotlight or the sun through leaves makes it."""
    mask = draw_mask(height, width, rng)
    blurred = cv2.GaussianBlur(mask, (0, 0), max(0.5, width * rng.uniform(0.0, 0.08)))
    mask = np.asarray(blurred, np.float32)[..., None]
    picture = sources.crop(rng, height, width, (0.6, 1.0))
    if rng.random() < 0.5:
        picture = mask * picture + (1 - mask) * sources.crop(rng, height, width)
    stops = -rng.uniform(1.0, 4.5) * (1 - mask)
    lit = _expose(picture, rng.normal(0.0, 0.2))
    return np.asarray(linear_to_srgb((srgb_to_linear(lit) * np.exp2(stops)).astype(np.float32)), np.float32)


def _even_view(sources: Sources, rng: np.random.Generator, height: int, width: int) -> Array:
    """A view that one exposure shows without clipped or dark parts; a photograph after eight failed tries."""
    for _ in range(8):
        linear = sources.view(rng, height, width)
        exposure = find_exposure(linear, rng.uniform(0.36, 0.5), _PLAIN)
        picture: Array = linear_to_srgb(np.minimum(linear * np.float32(exposure), 1))
        brightest = picture.max(2)
        if (brightest >= 1).mean() < 0.01 and (brightest < 0.12).mean() < 0.1:
            return picture
    return sources.crop(rng, height, width)
