from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rave_train.guidance.prompt_pair import Margins, backlit_scores, initialization_loss, ranking_loss

Array = NDArray[np.float64]


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def reference_scores(embeddings: Array, pair: Array) -> Array:
    scores = []
    for e in embeddings:
        negative, positive = (np.exp(100 * cosine(e, point)) for point in pair)
        scores.append(negative / (negative + positive))
    return np.array(scores)


@pytest.fixture
def embeddings() -> Array:
    return np.random.default_rng(0).normal(size=(6, 5))


@pytest.fixture
def pair() -> Array:
    # Nearly parallel points keep the sharp softmax away from 0 and 1.
    rng = np.random.default_rng(1)
    point = rng.normal(size=5)
    return np.stack([point, point + 0.03 * rng.normal(size=5)])


def test_the_score_is_equations_6_and_9(embeddings: Array, pair: Array) -> None:
    found = backlit_scores(torch.from_numpy(embeddings), torch.from_numpy(pair))
    expected = reference_scores(embeddings, pair)
    assert 0.05 < expected.min() < expected.max() < 0.99
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_initialization_loss_is_equations_1_and_7(embeddings: Array, pair: Array) -> None:
    well_lit = np.array([True, False, True, True, False, False])
    positive = 1 - reference_scores(embeddings, pair)
    expected = -np.mean(
        [np.log(p if is_well else 1 - p) for p, is_well in zip(positive, well_lit, strict=True)]
    )
    found = initialization_loss(
        torch.from_numpy(embeddings), torch.from_numpy(well_lit), torch.from_numpy(pair)
    )
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_gradients_are_those_of_finite_differences(embeddings: Array, pair: Array) -> None:
    points = torch.from_numpy(pair).requires_grad_()
    pictures = torch.from_numpy(embeddings).requires_grad_()
    well_lit = torch.tensor([True, False, True, True, False, False])
    assert torch.autograd.gradcheck(lambda e, p: initialization_loss(e, well_lit, p), (pictures, points))
    assert torch.autograd.gradcheck(lambda e, p: backlit_scores(e, p).mean(), (pictures, points))
    others = [torch.from_numpy(embeddings[[i, i + 1]]) for i in (0, 2, 4)]

    def ranks(p: torch.Tensor) -> torch.Tensor:
        return ranking_loss([backlit_scores(e, p) for e in others])

    assert torch.autograd.gradcheck(ranks, points)


def reference_ranking(scores: list[Array], m0: float, m1: float, m2: float) -> float:
    """Equation 5 as it is written, term by term."""

    def hinge(low: Array, high: Array, margin: float) -> Array:
        return np.maximum(0, low - high + margin)

    b, w = scores[0], scores[-1]
    if len(scores) == 2:
        return float(hinge(w, b, m0).mean())
    if len(scores) == 3:
        t = scores[1]
        return float((hinge(w, b, m0) + hinge(t, b, m0) + hinge(w, t, m1)).mean())
    older, newer = scores[1:3]
    terms = hinge(w, b, m0) + hinge(older, b, m0) + hinge(w, newer, m1) + hinge(newer, older, m2)
    return float(terms.mean())


@pytest.mark.parametrize(("ranks", "margins"), [(2, (1.0, 0, 0)), (3, (0.9, 0.2, 0)), (4, (0.9, 0.1, 0.1))])
def test_the_ranking_loss_is_equation_5_with_the_published_margins(
    ranks: int, margins: tuple[float, float, float]
) -> None:
    scores = list(np.random.default_rng(ranks).random((ranks, 50)))
    found = ranking_loss([torch.from_numpy(s) for s in scores])
    assert found.item() == pytest.approx(reference_ranking(scores, *margins), rel=1e-12)


def test_the_newer_enhancement_must_score_below_the_older() -> None:
    high, low = torch.tensor([0.6]), torch.tensor([0.3])
    backlit, well = torch.tensor([2.0]), torch.tensor([0.0])
    assert ranking_loss([backlit, high, low, well]).item() == 0
    assert ranking_loss([backlit, low, high, well]).item() == pytest.approx(0.4)


def test_margins_can_be_chosen_and_five_ranks_are_an_error() -> None:
    scores = [torch.tensor([0.9]), torch.tensor([0.2])]
    assert ranking_loss(scores, Margins(0.5, 0)).item() == 0
    with pytest.raises(ValueError, match="5 ranks given: from 2 to 4 are needed"):
        ranking_loss([torch.zeros(1)] * 5)
