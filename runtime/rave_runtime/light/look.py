"""From the network's light to the divisor of a photograph: how much is lifted where, before single pixels.

All of it happens on the reduced picture, so that it costs next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.errors import UsageError

Array = NDArray[np.float32]

MAX_STRENGTH: Final = 2.0

BRIGHT_LIGHT: Final = (0.6, 0.9)
"""Light up to which a part counts as shaded, and from which it counts as bright. `strength` rules the shaded
parts, `highlights` the bright ones, and a smooth step leads from one to the other."""

DIVISOR_BOUNDS: Final = (1e-4, 1e4)
"""Smallest and greatest divisor of the normal way: thirteen stops, of which the eighth power is a float32."""

_BLACK: Final = (8 / 255, 16 / 255)
"""Brightest value of a neighbourhood up to which it is black, and from which it is not."""

_FLAT: Final = (1 / 255, 4 / 255)
"""Difference in a neighbourhood up to which it is empty, and from which there is something in the dark."""

_NEIGHBOURHOOD_SHARE: Final = 1 / 48
"""Reach of a neighbourhood to each side, as a share of the picture's long side."""


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
    def roundness(self) -> float:
        """Power p of the shoulder in which highlights end: see `rave_runtime.light.normal_way`.

        It bends where little is lifted late, and sooner the more is asked for.
        """
        return 8.0 / max(1.0, self.strength)


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
    """Keeps black backgrounds black: where a neighbourhood is black and empty, the divisor becomes 1.

    d' = max(d, 1 - w), w = max(s(n; 8, 16), s(n - n'; 1, 4)), where n and n' are the greatest and the least
    value around a pixel, of 255, of the brightest of its three channels, and s is a smooth step.

    Args:
        divisor: [h', w'] float32, on the reduced picture.
        pixels: [h', w', 3] uint8, or float32 in [0, 1]: the reduced picture.

    Returns:
        [h', w'] float32, within `DIVISOR_BOUNDS`.
    """
    top = 255 if pixels.dtype == np.uint8 else 1
    brightest = pixels.max(2).astype(np.float32) / np.float32(top)
    reach = max(1, round(max(brightest.shape) * _NEIGHBOURHOOD_SHARE))
    greatest = _greatest_around(brightest, reach)
    least = -_greatest_around(-brightest, reach)
    seen = np.maximum(smooth_step(greatest, *_BLACK), smooth_step(greatest - least, *_FLAT))
    low, high = DIVISOR_BOUNDS
    guarded: Array = np.clip(np.maximum(divisor, 1 - seen), np.float32(low), np.float32(high))
    return guarded


def smooth_step(values: Array, low: float, high: float) -> Array:
    """0 up to `low`, 1 from `high`, and t * t * (3 - 2 * t) between them; float32."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), np.float32(0), np.float32(1))
    step: Array = t * t * (3 - 2 * t)
    return step


def _greatest_around(values: Array, reach: int) -> Array:
    """The greatest value of a square window around each pixel, smaller at the borders."""
    for _ in range(2):
        padded = np.pad(values, ((0, 0), (reach, reach)), constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, 1)
        values = windows.max(2).T
    return values
