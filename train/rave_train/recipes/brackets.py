"""A scene as a photographer with a tripod takes it: three exposures, their fusion, all photographs between.

Where the exposures lie decides what is backlit, so it follows real scenes, of which the mean of the middle
exposure and the span of the brackets are known, and not a rule about highlights alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from rave_runtime.arrays import Array
from rave_train.data.synthesis import SynthesisRange, ToneCurve, linear_to_srgb, photograph

SPAN_STOPS: Final = (4.2, 6.8)
"""Range of the stops between the dark and the bright exposure."""

CAMERA: Final = replace(SynthesisRange(), glare=(0.0, 0.025), jpeg_quality=(60, 96), clean=0.4)
"""What a camera does to the light; only its glare, noise and compression are read."""

_MIDDLE_MEAN, _MIDDLE_SPREAD, _MIDDLE_RANGE = 0.36, 0.15, (0.12, 0.75)
"""Mean sRGB value of middle exposures, its standard deviation and its bounds."""

_HIGHLIGHT_QUANTILE: Final = 0.975
_DARK_HIGHLIGHT: Final = (0.1, 1.6)
"""Light at that quantile in the dark exposure, 1 where the sensor clips: with less the scene is not against
the light, with more the brackets do not hold it."""

_EXPOSED_QUANTILE: Final = (0.93, 0.998)
"""Where a photographer who looks at the highlights finds them: quantile of the brightest channel."""
_EXPOSED_HIGHLIGHT, _EXPOSED_STOPS, _EXPOSED_SPAN = 0.9, (0.0, 1.0), (4.0, 6.6)
"""Their value in the dark exposure, 1 where the sensor clips; the stops it may lie below; its span."""

_PLAIN_CURVE: Final = 0.3
"""Share of cameras whose curve is sRGB's."""

_BISECTIONS: Final = 14


@dataclass(frozen=True)
class Brackets:
    """Three exposures of a scene.

    Attributes:
        linear: [h, w, 3] float32, linear light in any unit.
        dark: factor of the exposure that holds the bright parts.
        span_stops: from there to the exposure that shows the dark parts; the middle is half-way.
        tone: the camera's curve.
    """

    linear: Array
    dark: float
    span_stops: float
    tone: ToneCurve

    def fuse(self) -> Array:
        """Everything lit as if it were photographed for itself, [h, w, 3] float32, sRGB in [0, 1].

        Contrast, saturation and exposure weigh alike. OpenCV's own choice leaves the exposure out, and such
        fusions are brighter.

        Source: Mertens, Kautz and Van Reeth, Exposure Fusion, 2007; OpenCV's implementation.
        """
        shots = [
            self.tone(linear_to_srgb(np.minimum(self.linear * np.float32(self.dark * 2.0**stops), 1)))
            for stops in (0, self.span_stops / 2, self.span_stops)
        ]
        fused = cv2.createMergeMertens(1, 1, 1).process(
            [(255 * shot + 0.5).astype(np.uint8) for shot in shots]
        )
        return np.clip(np.asarray(fused, np.float32), 0, 1)

    def photograph(self, stops_below: float, rng: np.random.Generator) -> Array:
        """A photograph below the middle exposure, above it if negative, at least the dark one.

        Returns:
            [h, w, 3] float32, sRGB in [0, 1], through the camera.
        """
        exposure = self.dark * 2.0 ** max(0.0, self.span_stops / 2 - stops_below)
        return photograph(self.linear * np.float32(exposure), rng, CAMERA, self.tone)


def take_brackets(linear: Array, rng: np.random.Generator) -> Brackets | None:
    """Brackets of a scene, [h, w, 3] float32 linear light; None where its light is too even or too uneven."""
    tone = draw_tone_curve(rng)
    span_stops = rng.uniform(*SPAN_STOPS)
    mean = float(np.clip(rng.normal(_MIDDLE_MEAN, _MIDDLE_SPREAD), *_MIDDLE_RANGE))
    dark = find_exposure(linear, mean, tone) * 2.0 ** (-span_stops / 2)
    highlight = float(np.quantile(linear.max(2), _HIGHLIGHT_QUANTILE)) * dark
    if not _DARK_HIGHLIGHT[0] < highlight < _DARK_HIGHLIGHT[1]:
        return None
    return Brackets(linear, dark, span_stops, tone)


def expose_highlights(linear: Array, rng: np.random.Generator) -> Brackets:
    """Brackets whose dark exposure just holds the highlights, [h, w, 3] float32 linear light.

    So are silhouettes before a sky photographed, whatever the mean of the picture becomes.
    """
    highlight = float(np.quantile(linear.max(2), rng.uniform(*_EXPOSED_QUANTILE)))
    dark = _EXPOSED_HIGHLIGHT / max(highlight, 1e-6) * 2.0 ** -rng.uniform(*_EXPOSED_STOPS)
    return Brackets(linear, dark, rng.uniform(*_EXPOSED_SPAN), draw_tone_curve(rng))


def find_exposure(linear: Array, mean: float, tone: ToneCurve) -> float:
    """The factor with which a scene's mean sRGB value, through the curve, is `mean`."""
    sample = linear[::4, ::4]
    base = 1 / max(float(np.median(sample.max(2))), 1e-6)
    low, high = -12.0, 16.0
    for _ in range(_BISECTIONS):
        stops = (low + high) / 2
        toned = tone(linear_to_srgb(np.minimum(sample * np.float32(base * 2.0**stops), 1)))
        low, high = (stops, high) if float(toned.mean()) < mean else (low, stops)
    return float(base * 2.0**stops)


def draw_tone_curve(rng: np.random.Generator) -> ToneCurve:
    """A camera's curve, from sRGB's own to a contrasty one."""
    if rng.random() < _PLAIN_CURVE:
        return ToneCurve(0.0, 1.0)
    return ToneCurve(rng.uniform(-0.1, 0.45), 2.0 ** rng.normal(0, 0.12))


def stretch(linear: Array, rng: np.random.Generator) -> Array:
    """The light as it is read back from a camera's pictures: their contrast stretches its range."""
    middle = max(float(np.median(linear)), 1e-5)
    return np.asarray(middle * (linear / middle) ** rng.uniform(1.0, 1.9), np.float32)
