"""A room against its window, and a photograph: what the recipe's pairs are made of in tests."""

from __future__ import annotations

import numpy as np
import pytest

from rave_runtime.arrays import Array
from rave_train.recipes.scenes import Sources


def make_panorama(height: int = 64) -> Array:
    """A bright window straight ahead, in a room a hundred times darker."""
    rng = np.random.default_rng(0)
    room = rng.uniform(0.02, 0.05, (height, 2 * height, 3)).astype(np.float32)
    room[height // 3 : height // 2, height - 8 : height + 8] = 4
    return room


@pytest.fixture(scope="session")
def sources() -> Sources:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:1:96j, 0:1:128j]
    waves = [np.sin(rng.uniform(3, 25) * x + rng.uniform(3, 25) * y) for _ in range(3)]
    picture = np.clip(0.55 + 0.2 * np.stack(waves, -1) - 0.2 * y[..., None], 0, 1)
    return Sources([picture.astype(np.float32)] * 3, [make_panorama()])
