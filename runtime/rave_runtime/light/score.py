"""How backlit a photograph is, from its network's light."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from rave_runtime.arrays import Array

BACKLIT_SCORE: Final = 0.25
"""Score from which a photograph counts as backlit, for `--only-backlit`."""

_STEPS: Final = 4096
"""Steps in which light is counted: a score is right to 1/4096."""


def backlit_score(lights: Iterable[Array]) -> float:
    """How much light the darkest third of a photograph lacks, from 0 to 1.

    1 minus the mean of the smaller third of the light's values, each at most 1. 0 is a photograph that the
    model leaves as it is; at 0.5 its darkest third is made about twice as bright.

    Args:
        lights: the light of every part of a photograph, at least 0, in any shapes and order.
    """
    counts = np.zeros(_STEPS, np.int64)
    for light in lights:
        steps = np.clip(light, np.float32(0), np.float32(1)) * np.float32(_STEPS - 1) + np.float32(0.5)
        counts += np.bincount(steps.astype(np.int32).ravel(), minlength=_STEPS)
    third = max(1.0, counts.sum() / 3)
    taken = np.diff(np.minimum(np.cumsum(counts), third), prepend=0)
    return float(1 - (taken * np.arange(_STEPS)).sum() / third / (_STEPS - 1))
