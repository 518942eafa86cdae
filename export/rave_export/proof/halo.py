"""Checks that a network sees no further around a pixel than its manifest says.

Tiles are exact only if the halo around them is wide enough. How much the outermost pixels matter depends on
the weights: with one network it may be less than any tolerance, with the next it may be visible. So comparing
pictures does not prove a halo. Here everything beyond the halo is made a million times brighter than white.
If that changes the middle of the picture, the halo is too small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from rave_runtime.arrays import Array
from rave_runtime.backends.network import Network

_LOUD: Final = 1e6
"""Factor on the values beyond the halo; white is 1."""

_TRIES: Final = 8
"""How many pictures are tried, since the last rectifier may hide the change in some."""

_BEYOND_PX: Final = 4
"""Width of the border beyond the halo, in pixels, that is made brighter."""

_ROUNDING: Final = 1e-5
"""Largest relative difference that a different order of float32 sums can make."""


def check_halo(network: Network) -> list[str]:
    """Checks the halos in a network's facts.

    Args:
        network: a network in float32 that takes float32 images.

    Returns:
        A sentence for each halo that is too small; none if both are wide enough.

    Raises:
        BundleError, DeviceError: the graphs do not load or run.
    """
    facts = network.facts
    rng = np.random.default_rng(0)
    bins = sum(facts.bins)
    pooled = rng.uniform(0, 0.5, (_TRIES, facts.channels, bins, bins)).astype(np.float32)

    def features_in_the_middle(image: Array) -> Array:
        # Every bin holds the middle pixel alone, so the pooled features are those of the middle.
        one = np.zeros((_TRIES, bins, image.shape[1]), np.float32)
        one[..., image.shape[1] // 2] = 1
        return network.pool(image, one, one)

    def light_in_the_middle(image: Array) -> Array:
        place = np.full((_TRIES, image.shape[1], bins), 1 / bins, np.float32)
        middle = image.shape[1] // 2
        return network.illuminate(image, pooled, place, place)[:, middle, middle]

    claims: dict[str, tuple[int, Callable[[Array], Array]]] = {
        "context_halo_px": (facts.context_halo_px, features_in_the_middle),
        "halo_px": (facts.halo_px, light_in_the_middle),
    }
    failures = []
    for name, (halo_px, value_of) in claims.items():
        side = 2 * (halo_px + _BEYOND_PX) + 1
        quiet = rng.random((_TRIES, side, side, 3), np.float32)
        sign = rng.choice(np.array([-1, 1], np.float32), quiet.shape)
        inside = slice(_BEYOND_PX, side - _BEYOND_PX)
        loud = quiet * sign * np.float32(_LOUD)
        loud[:, inside, inside] = quiet[:, inside, inside]
        expected, actual = value_of(quiet), value_of(loud)
        if not np.abs(actual - expected).max() <= _ROUNDING * np.abs(expected).max():
            failures.append(
                f"{name} is {halo_px} in the manifest, but the graphs look further around a pixel: tiles "
                "would show at their borders"
            )
    return failures
