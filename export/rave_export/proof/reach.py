"""Whether a network looks no further around a pixel than its manifest says.

Tiles are as exact as the halo is wide enough. How much the outermost pixels matter depends on the weights
and may be less than any tolerance on one network and visible on the next, so pictures alone do not prove
a halo. Here everything beyond it is made a million times brighter than white: what then reaches
the middle, the halo has missed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from rave_runtime.arrays import Array
from rave_runtime.backends.network import Network

_LOUD: Final = 1e6
"""Times as bright as white."""

_TRIES: Final = 8
"""Pictures: a rectifier at the end hides what reaches it in some."""

_BEYOND_PX: Final = 4
"""How many pixels are looked at beyond the halo."""

_ROUNDING: Final = 1e-5
"""Relative difference that sums of float32 in another order may make."""


def check_reach(network: Network) -> list[str]:
    """Why the halos of a network's facts are too small, empty where they are not.

    Args:
        network: float32; its graphs must take float32 images.

    Returns:
        A sentence for each halo that is too small.

    Raises:
        BundleError, DeviceError: the graphs do not load or run.
    """
    facts = network.facts
    rng = np.random.default_rng(0)
    bins = sum(facts.bins)
    pooled = rng.uniform(0, 0.5, (_TRIES, facts.channels, bins, bins)).astype(np.float32)

    def features_in_the_middle(image: Array) -> Array:
        # "Bins" of one pixel each: the middle's features are what is pooled.
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
        seen = slice(_BEYOND_PX, side - _BEYOND_PX)
        loud = quiet * sign * np.float32(_LOUD)
        loud[:, seen, seen] = quiet[:, seen, seen]
        expected, found = value_of(quiet), value_of(loud)
        if not np.abs(found - expected).max() <= _ROUNDING * np.abs(expected).max():
            failures.append(
                f"{name} is {halo_px} in the manifest, but the graphs look further around a pixel: tiles "
                "would show at their borders"
            )
    return failures
