"""A scene as a photographer with a tripod takes it: three exposures, their fusion, and photographs between.

The exposures decide how backlit a photograph is. They are drawn as they are in real scenes, of which the mean
of the middle exposure and the span of the brackets are known; a rule about highlights alone would not do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from rave_runtime.arrays import Array
from rave_train.data.fusion import fuse_exposures
from rave_train.data.synthesis import SynthesisRange, ToneCurve, linear_to_srgb, photograph

SPAN_STOPS: Final = (4.2, 6.8)
"""Range from which the stops between the dark and the bright exposure are drawn."""

CAMERA: Final = replace(SynthesisRange(), glare=(0.0, 0.0), jpeg_quality=(60, 96), clean=0.4)
"""What a camera does to the light; only its noise and compression are read. Its glare is in the scene."""

GLARE: Final = (0.0, 0.025)
"""Light that a lens scatters over the whole picture, as a share of the picture's mean."""

_GLARING_QUANTILE: Final = 0.99
"""Light above this quantile counts as the quantile: the sun's disc scatters less than its light says."""

_MIDDLE_MEAN, _MIDDLE_SPREAD, _MIDDLE_RANGE = 0.36, 0.15, (0.12, 0.75)
"""Mean of the mean sRGB value of middle exposures, its standard deviation, and its bounds."""

_HIGHLIGHT_QUANTILE: Final = 0.975
_DARK_HIGHLIGHT: Final = (0.1, 1.6)
"""Bounds of the light at that quantile in the dark exposure; 1 is where the sensor clips. With less light the
scene is not backlit, with more the brackets do not hold its range."""

_EXPOSED_QUANTILE: Final = (0.93, 0.998)
"""Range of the quantile of the brightest channel that is exposed for, where the highlights decide."""
_EXPOSED_HIGHLIGHT, _EXPOSED_STOPS, _EXPOSED_SPAN = 0.9, (0.0, 1.0), (4.0, 6.6)
"""The highlights' light in the dark exposure, where 1 clips; the stops below that; the stops of the span."""

_PLAIN_CURVE: Final = 0.3
"""Probability that a camera's curve is sRGB's."""

_BISECTIONS: Final = 14


@dataclass(frozen=True)
class Brackets:
    """Three exposures of a scene.

    Attributes:
        linear: [h, w, 3] float32, linear light in any unit.
        dark: factor on the light of the dark exposure, which holds the bright parts.
        span_stops: stops from the dark exposure to the bright one; the middle one is half-way.
        tone: the camera's curve.
    """

    linear: Array
    dark: float
    span_stops: float
    tone: ToneCurve

    def fuse(self) -> Array:
        """The scene as if each part had been exposed for itself, [h, w, 3] float32, sRGB in [0, 1]."""
        shots = [
            self.tone(linear_to_srgb(np.minimum(self.linear * np.float32(self.dark * 2.0**stops), 1)))
            for stops in (0, self.span_stops / 2, self.span_stops)
        ]
        return fuse_exposures([(255 * shot + 0.5).astype(np.uint8) for shot in shots])

    def photograph(self, stops_below: float, rng: np.random.Generator) -> Array:
        """Takes a photograph of the scene.

        Args:
            stops_below: stops below the middle exposure, above it if negative; never below the dark exposure.
            rng: where every random choice comes from.

        Returns:
            [h, w, 3] float32, sRGB in [0, 1], through the camera.
        """
        exposure = self.dark * 2.0 ** max(0.0, self.span_stops / 2 - stops_below)
        return photograph(self.linear * np.float32(exposure), rng, CAMERA, self.tone)


def take_brackets(linear: Array, rng: np.random.Generator) -> Brackets | None:
    """Takes brackets of a scene; None where its light is too even or too uneven for them.

    The lens scatters some of the light over all of them.

    Args:
        linear: [h, w, 3] float32, linear light in any unit.
        rng: where every random choice comes from.
    """
    linear = _veil(linear, rng)
    tone = draw_tone_curve(rng)
    span_stops = rng.uniform(*SPAN_STOPS)
    mean = float(np.clip(rng.normal(_MIDDLE_MEAN, _MIDDLE_SPREAD), *_MIDDLE_RANGE))
    dark = find_exposure(linear, mean, tone) * 2.0 ** (-span_stops / 2)
    highlight = float(np.quantile(linear.max(2), _HIGHLIGHT_QUANTILE)) * dark
    if not _DARK_HIGHLIGHT[0] < highlight < _DARK_HIGHLIGHT[1]:
        return None
    return Brackets(linear, dark, span_stops, tone)


def expose_highlights(linear: Array, rng: np.random.Generator) -> Brackets:
    """Takes brackets whose dark exposure just holds the highlights.

    Silhouettes before a sky are photographed so, however dark the mean of the picture becomes. The lens
    scatters some of the light over all brackets.

    Args:
        linear: [h, w, 3] float32, linear light in any unit.
        rng: where every random choice comes from.
    """
    linear = _veil(linear, rng)
    highlight = float(np.quantile(linear.max(2), rng.uniform(*_EXPOSED_QUANTILE)))
    dark = _EXPOSED_HIGHLIGHT / max(highlight, 1e-6) * 2.0 ** -rng.uniform(*_EXPOSED_STOPS)
    return Brackets(linear, dark, rng.uniform(*_EXPOSED_SPAN), draw_tone_curve(rng))


def find_exposure(linear: Array, mean: float, tone: ToneCurve) -> float:
    """The factor on a scene's light with which its mean sRGB value, after the curve, is `mean`."""
    sample = linear[::4, ::4]
    base = 1 / max(float(np.median(sample.max(2))), 1e-6)
    low, high = -12.0, 16.0
    for _ in range(_BISECTIONS):
        stops = (low + high) / 2
        toned = tone(linear_to_srgb(np.minimum(sample * np.float32(base * 2.0**stops), 1)))
        low, high = (stops, high) if float(toned.mean()) < mean else (low, stops)
    return float(base * 2.0**stops)


def draw_tone_curve(rng: np.random.Generator) -> ToneCurve:
    """Draws a camera's curve, from sRGB's to one of high contrast."""
    if rng.random() < _PLAIN_CURVE:
        return ToneCurve(0.0, 1.0)
    return ToneCurve(rng.uniform(-0.1, 0.45), 2.0 ** rng.normal(0, 0.12))


def stretch(linear: Array, rng: np.random.Generator) -> Array:
    """Stretches the range of linear light about its median, as the contrast of a camera's pictures does."""
    middle = max(float(np.median(linear)), 1e-5)
    return np.asarray(middle * (linear / middle) ** rng.uniform(1.0, 1.9), np.float32)


def _veil(linear: Array, rng: np.random.Generator) -> Array:
    """Adds the light that a lens scatters, evenly over the whole picture.

    The scatter is in all brackets of a scene, so it is in their fusion, too. If it were in the photograph
    alone, a network would learn to take it away: silhouettes would become darker where they should be lifted.

    Args:
        linear: [h, w, 3] float32, linear light in any unit.
        rng: where every random choice comes from.
    """
    bounded = np.minimum(linear, np.quantile(linear, _GLARING_QUANTILE))
    return np.asarray(linear + np.float32(rng.uniform(*GLARE)) * bounded.mean((0, 1)), np.float32)
