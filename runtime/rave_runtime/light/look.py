"""From the network's light to the divisor of a photograph: how much is lifted where, before single pixels.

All of it happens on the reduced picture, so that it costs next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.errors import UsageError
from rave_runtime.light.reduction import box_means

MAX_STRENGTH: Final = 2.0

BRIGHT_LIGHT: Final = (0.6, 0.9)
"""Light up to which a part counts as shaded, and from which it counts as bright. `strength` rules the shaded
parts, `highlights` the bright ones, and a smooth step leads from one to the other."""

DIVISOR_BOUNDS: Final = (1e-4, 1e4)
"""Smallest and greatest divisor of the normal way: thirteen stops."""

BLACK_DIVISOR: Final = np.float32(0.5)
"""Smallest divisor where a pixel is black: it at most doubles, which nobody sees as grey."""

_BLACK: Final = (8 / 255, 16 / 255)
"""Value up to which a pixel is black, and from which it is not."""

_DARK: Final = (12 / 255, 20 / 255)
"""Value up to which a neighbour counts wholly where it is asked what lies in the dark, and from which not."""

_EMPTY: Final = (1 / 255, 2.5 / 255)
"""Deviation of the dark neighbours up to which there is nothing in the dark, and from which there is."""

_NEUTRAL: Final = (3 / 255, 6 / 255)
"""Difference between a pixel's channels up to which it has no colour, and from which it has."""

_REACH_SHARE: Final = 1 / 16
"""Reach of a neighbourhood to each side, as a share of the reduced picture's long side."""


@dataclass(frozen=True)
class Look:
    """How much of the model's light is used.

    Attributes:
        strength: power of the light in shaded parts: 0 changes nothing, 1 is the model, up to 2.
        highlights: power of the light in bright parts, such as skies: 0 keeps them, 1 is the model, up to 2.
            None is the strength, but at most 1, so that more light in the shade burns no sky.

    Raises:
        UsageError: a number is out of range.
    """

    strength: float = 1.0
    highlights: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("strength", self.strength), ("highlights", self.highlights)):
            if value is not None and not 0 <= value <= MAX_STRENGTH:
                raise UsageError(f"{name} is {value:g}, a number from 0 to {MAX_STRENGTH:g} is needed")

    @property
    def bright_power(self) -> float:
        """Power of the light in bright parts."""
        return min(self.strength, 1.0) if self.highlights is None else self.highlights

    @property
    def changes_nothing(self) -> bool:
        """Whether every photograph stays as it is."""
        return self.strength == 0 and self.bright_power == 0

    @property
    def knee(self) -> float:
        """Result, in [0, 1], from which highlights roll off; the earlier the more is asked for.

        See `rave_runtime.light.normal_way`.
        """
        return 0.75 - 0.25 * max(0.0, self.strength - 1)


def divisor_of(light: Array, look: Look) -> Array:
    """What a photograph is divided by: the light to the power of strength, or of highlights.

    d = light ^ (strength + (highlights - strength) * s(light)), where s is a smooth step from 0 to 1 over
    `BRIGHT_LIGHT`.

    Args:
        light: any shape, float32, at least 0.
        look: the powers.

    Returns:
        The same shape, float32.
    """
    shade, bright = look.strength, look.bright_power
    if shade == bright:
        return light if shade == 1 else light**shade
    power = shade + (bright - shade) * smooth_step(light, *BRIGHT_LIGHT)
    divisor: Array = light ** power.astype(np.float32)
    return divisor


def guard_black(divisor: Array, pixels: NDArray[Any]) -> Array:
    """Keeps black backgrounds black: where a pixel is black and nothing is in the dark, it at most doubles.

    With m the brightest of a pixel's three channels, n the darkest, of 255, s(x; a, b) a smooth step from 0
    at a to 1 at b, mean_r the mean over a square that reaches r pixels to each side, smaller at the borders,
    R a sixteenth of the long side, rounded, and q = 1 - s(m; 12, 20):

        d' = max(d, 0.5 * (1 - max(s(m; 8, 16), s(sigma; 1, 2.5), s(mean_1(m - n); 3, 6))))
        sigma ^ 2 = max(mean_R(q * m * m) / Q - (mean_R(q * m) / Q) ^ 2, 0),  Q = max(mean_R(q), 0.001)

    Silhouettes, wood in the shade and night skies have texture or colour in the dark, and are lifted; a
    bright subject beside the black does not count.

    Args:
        divisor: [h', w'] float32, on the reduced picture.
        pixels: [h', w', 3] uint8, or float32 in [0, 1]: the reduced picture.

    Returns:
        [h', w'] float32, within `DIVISOR_BOUNDS`.
    """
    top = 255 if pixels.dtype == np.uint8 else 1
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]  # numpy is slow along an axis of three
    largest = np.maximum(np.maximum(red, green), blue)
    smallest = np.minimum(np.minimum(red, green), blue)
    brightest = largest.astype(np.float32) / np.float32(top)
    dark = 1 - smooth_step(brightest, *_DARK)
    reach = max(1, round(max(brightest.shape) * _REACH_SHARE))
    share, first, second = box_means(np.stack([dark, dark * brightest, dark * brightest**2]), reach)
    share = np.maximum(share, np.float32(1e-3))
    deviation = np.sqrt(np.maximum(second / share - (first / share) ** 2, 0))
    spread = (largest - smallest).astype(np.float32) / np.float32(top)
    seen = np.maximum(smooth_step(brightest, *_BLACK), smooth_step(deviation, *_EMPTY))
    seen = np.maximum(seen, smooth_step(box_means(spread[None], 1)[0], *_NEUTRAL))
    low, high = DIVISOR_BOUNDS
    least = BLACK_DIVISOR * (1 - seen)
    guarded: Array = np.clip(np.maximum(divisor, least), np.float32(low), np.float32(high))
    return guarded


def smooth_step(values: Array, low: float, high: float) -> Array:
    """0 up to `low`, 1 from `high`, and t * t * (3 - 2 * t) between them; float32."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), np.float32(0), np.float32(1))
    step: Array = t * t * (3 - 2 * t)
    return step
