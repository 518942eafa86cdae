from __future__ import annotations

import numpy as np
import pytest
import torch

from rave_train.guidance.identity import identity_loss, stage_weights

SHAPES = [(2, 3, 4, 4), (2, 5, 2, 2), (2, 7, 6)]


def features(seed: int) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.normal(size=shape)) for shape in SHAPES]


def test_it_is_equation_4_with_mean_squared_errors() -> None:
    before, after, weights = features(0), features(1), [1.0, 1.0, 0.5]
    expected = sum(
        w * ((a.numpy() - b.numpy()) ** 2).sum() / a.numel()
        for a, b, w in zip(after, before, weights, strict=True)
    )
    assert identity_loss(before, after, weights).item() == pytest.approx(expected, rel=1e-12)


def test_its_gradient_is_that_of_finite_differences() -> None:
    before = features(0)
    after = tuple(f.requires_grad_() for f in features(1))
    assert torch.autograd.gradcheck(lambda *a: identity_loss(before, a, [1.0, 1.0, 0.5]), after)


def test_a_batch_has_the_mean_of_its_pictures_losses() -> None:
    before, after, weights = features(0), features(1), [1.0, 1.0, 0.5]
    each = [
        identity_loss([b[i : i + 1] for b in before], [a[i : i + 1] for a in after], weights).item()
        for i in range(2)
    ]
    assert identity_loss(before, after, weights).item() == pytest.approx(np.mean(each), rel=1e-12)


def test_published_stage_weights() -> None:
    assert stage_weights(5, warm_up=False) == [1, 1, 1, 1, 0.5]
    assert stage_weights(5, warm_up=True) == [1, 1, 1, 1, 1]


def test_stages_must_match() -> None:
    with pytest.raises(ValueError, match="3 and 2 stages with 3 weights: equal numbers are needed"):
        identity_loss(features(0), features(1)[:2], [1, 1, 0.5])
