"""Scores how backlit a photograph is, from the network's light."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from rave_runtime.arrays import Array, Pixels

BACKLIT_SCORE: Final = 0.25
"""Score, in [0, 1], from which on `--only-backlit` takes a photograph for backlit."""

_STEPS: Final = 4096
"""Light is counted in this many steps: a score is exact to 1/4096."""


class Scored(NamedTuple):
    """An enhanced photograph.

    Attributes:
        pixels: like the photograph's, in the same colour space; None where its score was too small.
        backlit: its score, see `Enhancer.backlit_score`; None where it was not needed, at strength 0.
        is_same: whether the pixels are the photograph's own, since its light asks for no change.
    """

    pixels: Pixels | None
    backlit: float | None
    is_same: bool = False


def backlit_score(lights: Iterable[Array]) -> float:
    """Returns how much light the darkest third of a photograph lacks, from 0 to 1.

    The score is 1 minus the mean of the smallest third of the light's values, each at most 1. At 0 the model
    leaves the photograph as it is; at 0.5 it makes the darkest third about twice as bright.

    Args:
        lights: the light of every part of a photograph, at least 0, in any shapes and order.
    """
    counts = np.zeros(_STEPS, np.int64)
    for light in lights:
        steps = np.clip(light, np.float32(0), np.float32(1)) * np.float32(_STEPS - 1) + np.float32(0.5)
        counts += np.bincount(steps.astype(np.int32).ravel(), minlength=_STEPS)
    third = max(1.0, counts.sum() / 3)
    third_counts = np.diff(np.minimum(np.cumsum(counts), third), prepend=0)
    return float(1 - (third_counts * np.arange(_STEPS)).sum() / third / (_STEPS - 1))
