"""Exposure fusion gives the same picture of the same shots."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from rave_train.data.fusion import fuse_exposures


def test_a_fusion_is_made_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two, a pixel was a grey level off now and then, and a test failed once in a long while."""
    seen = []
    make = cv2.createMergeMertens

    class Watched:
        def __init__(self, *weights: float) -> None:
            self._merge = make(*weights)

        def process(self, shots: Any) -> Any:
            seen.append(cv2.getNumThreads())
            return self._merge.process(shots)

    monkeypatch.setattr(cv2, "createMergeMertens", Watched)
    before = cv2.getNumThreads()
    rng = np.random.default_rng(0)
    shots = [rng.integers(0, 256, (40, 60, 3), np.uint8) // part for part in (4, 2, 1)]
    fused = fuse_exposures(shots)
    assert (seen, cv2.getNumThreads()) == ([1], before)
    assert fused.shape == (40, 60, 3)
    assert fused.dtype == np.float32
    assert 0 <= fused.min() < fused.max() <= 1
    assert shots[0].mean() < 255 * fused.mean() < shots[2].mean()
