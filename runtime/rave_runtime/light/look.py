"""Turns the network's light into the divisor of a photograph: how much each part is brightened.

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

BRIGHT_LIGHT: Final = (0.8, 0.97)
"""Up to the first light a part counts as shaded, from the second on as bright. `strength` applies to shaded
parts, `highlights` to bright ones, and a smooth step leads from one to the other. The model's light of
silhouettes before a sky is about 0.7 to 0.8, that of the sky above 0.97."""

KNEE: Final = (0.75, 0.5)
"""Results, in [0, 1], from which highlights roll off: up to a strength of 1, and at one of 2."""

DIVISOR_BOUNDS: Final = (1e-4, 1e4)
"""Smallest and greatest divisor of the normal way: thirteen stops each way."""

UNSEEN_STOPS: Final = (0.1, 0.2)
"""Sizes of a photograph's change, in stops. Up to the first it hardly shows and is not made; from the second
on it is made in full; a smooth step leads from one to the other."""

WHITE: Final = (230 / 255, 250 / 255)
"""A pixel whose darkest channel is at most the first value is not white; from the second on it is, and gets
no darker, nor do its neighbours. A smooth step leads from one to the other."""

BLACK_DIVISOR: Final = np.float32(0.5)
"""Smallest divisor of a black pixel: its value at most doubles, which still looks black."""

# In `guard_black`, each pair has the values between which a smooth step leads from one state to the other.
BLACK: Final = (8 / 255, 16 / 255)
"""A pixel whose brightest channel is at most the first value is black; from the second on it is not."""

DARK: Final = (12 / 255, 20 / 255)
"""A neighbour with at most the first value is dark and counts fully; from the second on it does not count."""

EMPTY: Final = (1 / 255, 2.5 / 255)
"""Dark neighbours with at most the first standard deviation show nothing; from the second on, a texture."""

NEUTRAL: Final = (3 / 255, 6 / 255)
"""A pixel whose channels differ by at most the first value has no colour; from the second on it has."""

REACH_SHARE: Final = 1 / 16
"""How far a neighbourhood reaches to each side, as a share of the reduced picture's long side."""


@dataclass(frozen=True)
class Look:
    """How much of the model's light is used.

    Attributes:
        strength: exponent of the light in shaded parts, 0 to 2: 0 changes nothing, 1 is the model.
        highlights: exponent of the light in bright parts, such as skies, 0 to 2: 0 keeps them, 1 is the
            model, and above 1 they are brightened more, but not darkened more. None is the strength, but at
            most 1, so that a greater strength does not burn out skies.

    Raises:
        UsageError: a number is out of range.
    """

    strength: float = 1.0
    highlights: float | None = None

    def __post_init__(self) -> None:
        highlights = 0 if self.highlights is None else self.highlights
        for name, value in (("strength", self.strength), ("highlights", highlights)):
            is_number = isinstance(value, (int, float, np.number))
            if not is_number or not 0 <= value <= MAX_STRENGTH:
                given = f"{value:g}" if is_number else repr(value)
                raise UsageError(f"{name} is {given}, a number from 0 to {MAX_STRENGTH:g} is needed")

    @property
    def bright_power(self) -> float:
        """Exponent of the light in bright parts."""
        return min(self.strength, 1.0) if self.highlights is None else self.highlights

    @property
    def changes_nothing(self) -> bool:
        """Whether every photograph stays as it is."""
        return self.strength == 0 and self.bright_power == 0

    @property
    def knee(self) -> float:
        """Result, in [0, 1], from which highlights roll off: see `rave_runtime.light.normal_way`."""
        return KNEE[0] - (KNEE[0] - KNEE[1]) * max(0.0, self.strength - 1)


def without_unseen(light: Array) -> Array:
    """Returns the light, or 1 everywhere for a photograph that it would hardly change.

    l' = l ^ s(c), where c = mean(log2(l) ^ 4) ^ (1 / 4) is the size of the change in stops and s is a smooth
    step from 0 to 1 over `UNSEEN_STOPS`. The fourth power lets a small subject in the shade count: one that
    covers a thousandth of the photograph and lacks a stop is seen.

    Args:
        light: [h', w'] float32, at least 0: the light of a whole photograph, at full or at reduced size.

    Returns:
        [h', w'] float32. Where c is at least 0.2 it is `light` itself.
    """
    low, high = DIVISOR_BOUNDS
    stops = np.log2(np.clip(light, np.float32(low), np.float32(high)))
    change = np.sqrt(np.sqrt(np.mean(np.square(np.square(stops)))))
    share = smooth_step(change, *UNSEEN_STOPS)
    if share == 1:
        return light
    result: Array = light**share
    return result


def divisor_of(light: Array, look: Look) -> Array:
    """Returns the divisor of a photograph: the light to the power of strength, or of highlights.

    d = light ^ (strength + (highlights - strength) * s(light)), where s is a smooth step from 0 to 1 over
    `BRIGHT_LIGHT`. Where the light is above 1, its power is at most 1: twice as dark, a sun would be grey.

    Args:
        light: any shape, float32, at least 0.
        look: the exponents.

    Returns:
        The same shape, float32.
    """
    shade, bright = look.strength, look.bright_power
    if shade == bright <= 1:
        return light if shade == 1 else light**shade
    power = shade + (bright - shade) * smooth_step(light, *BRIGHT_LIGHT)
    divisor: Array = light ** power.astype(np.float32)
    return divisor if bright <= 1 else np.minimum(divisor, np.maximum(light, np.float32(1)))


def guard_white(divisor: Array, pixels: NDArray[Any]) -> Array:
    """Keeps white white: a sky without anything to see in it, paper, and white backgrounds.

    Above a light of 1 the model darkens bright parts, which gives skies their tone back. White has none that
    could come back, and would be grey. With n the darkest of a pixel's three channels, in [0, 255], the
    greatest such value among the pixel and its eight neighbours, and s a smooth step from 0 at 230 to 1 at
    250: d' = d - max(d - 1, 0) * s(n). Neighbours count because the reduction mixes white with what lies
    beside it. Such pixels above 1 would bend the fitted light, and give the white a grey fringe.

    Args:
        divisor: [h', w'] float32, on the reduced picture.
        pixels: [h', w', 3] uint8, or float32 in [0, 1]: the reduced picture.

    Returns:
        [h', w'] float32.
    """
    top = 255 if pixels.dtype == np.uint8 else 1
    darkest = np.minimum(np.minimum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])
    darkest = greatest_nearby(darkest)
    brightness: Array = darkest.astype(np.float32) / np.float32(top)
    darkening: Array = np.maximum(divisor - 1, np.float32(0))
    darkening *= smooth_step(brightness, *WHITE)
    return divisor - darkening


def guard_black(divisor: Array, pixels: NDArray[Any]) -> Array:
    """Keeps black backgrounds black: black pixels at most double where the dark around them shows nothing.

    m is the brightest of a pixel's three channels and n the darkest, in [0, 255]; s(x; a, b) is a smooth step
    from 0 at a to 1 at b; mean_r is the mean over a square that reaches r pixels to each side, smaller at the
    borders; R is a sixteenth of the long side, rounded; and q = 1 - s(m; 12, 20):

        d' = max(d, 0.5 * (1 - max(s(m; 8, 16), s(sigma; 1, 2.5), s(mean_1(m - n); 3, 6))))
        sigma ^ 2 = max(mean_R(q * m * m) / Q - (mean_R(q * m) / Q) ^ 2, 0),  Q = max(mean_R(q), 0.001)

    Silhouettes, wood in the shade and night skies have texture or colour in the dark, and are brightened.
    Since only dark neighbours count (q), a bright subject beside a black background does not brighten it.

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
    dark = 1 - smooth_step(brightest, *DARK)
    reach = max(1, round(max(brightest.shape) * REACH_SHARE))
    share, first, second = box_means(np.stack([dark, dark * brightest, dark * brightest**2]), reach)
    share = np.maximum(share, np.float32(1e-3))
    deviation = np.sqrt(np.maximum(second / share - (first / share) ** 2, 0))
    spread = (largest - smallest).astype(np.float32) / np.float32(top)
    content = np.maximum(smooth_step(brightest, *BLACK), smooth_step(deviation, *EMPTY))
    content = np.maximum(content, smooth_step(box_means(spread[None], 1)[0], *NEUTRAL))
    low, high = DIVISOR_BOUNDS
    minimum = BLACK_DIVISOR * (1 - content)
    result: Array = np.clip(np.maximum(divisor, minimum), np.float32(low), np.float32(high))
    return result


def greatest_nearby(values: NDArray[Any]) -> NDArray[Any]:
    """Returns the greatest value among each pixel and its eight neighbours, like `values`, [h, w]."""
    for _ in range(2):  # down columns, then transposed
        beside = np.pad(values, ((1, 1), (0, 0)), "edge")
        values = np.maximum(np.maximum(beside[:-2], values), beside[2:]).T
    return values


def smooth_step(values: Array, low: float, high: float) -> Array:
    """Returns 0 up to `low`, 1 from `high` on, and t * t * (3 - 2 * t) between them, as float32.

    t rises linearly from 0 at `low` to 1 at `high`.
    """
    t = np.clip((values - np.float32(low)) / np.float32(high - low), np.float32(0), np.float32(1))
    step: Array = t * t * (3 - 2 * t)
    return step
