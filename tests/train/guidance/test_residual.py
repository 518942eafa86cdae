from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rave_train.guidance.residual import (
    Residual,
    direction_of_word,
    mean_direction,
    residual_loss,
    residual_vector,
    shift_away_from_tokens,
    token_similarities,
)

Array = NDArray[np.float64]


def draw(rows: int, seed: int, offset: float = 0.0) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, 7)) + offset


def norm_rows(x: Array) -> Array:
    return np.asarray(x / np.sqrt((x**2).sum(-1, keepdims=True)))


def reference_residual(backlit: Array, well: Array) -> Array:
    back_mean = norm_rows(np.mean([b / np.linalg.norm(b) for b in backlit], axis=0))
    well_mean = norm_rows(np.mean([w / np.linalg.norm(w) for w in well], axis=0))
    difference = well_mean - back_mean
    return difference / np.linalg.norm(difference)


def test_the_residual_vector_is_equation_10() -> None:
    backlit, well = draw(5, 0, 0.4), draw(8, 1, -0.2)
    found = residual_vector(torch.from_numpy(backlit), torch.from_numpy(well)).numpy()
    np.testing.assert_allclose(found, reference_residual(backlit, well), rtol=1e-12)
    assert np.linalg.norm(found) == pytest.approx(1)


def test_lengths_of_embeddings_do_not_matter() -> None:
    backlit, well = draw(5, 0, 0.4), draw(8, 1)
    stretched = backlit * np.arange(1, 6)[:, None]
    np.testing.assert_allclose(
        residual_vector(torch.from_numpy(backlit), torch.from_numpy(well)),
        residual_vector(torch.from_numpy(stretched), torch.from_numpy(well)),
        rtol=1e-12,
    )


def test_the_loss_is_equation_12() -> None:
    backlit, well, enhanced = draw(5, 0, 0.4), draw(8, 1), draw(3, 2)
    direction = reference_residual(backlit, well)
    target = norm_rows(norm_rows(well).mean(0)) @ direction
    expected = np.mean([(e / np.linalg.norm(e) @ direction - target) ** 2 for e in enhanced])
    residual = Residual(torch.from_numpy(direction), torch.tensor(target))
    assert residual_loss(torch.from_numpy(enhanced), residual).item() == pytest.approx(expected, rel=1e-12)


def test_the_loss_has_the_gradient_of_finite_differences() -> None:
    direction = torch.from_numpy(norm_rows(draw(1, 3))[0])
    residual = Residual(direction, torch.tensor(0.3, dtype=torch.float64))
    enhanced = torch.from_numpy(draw(3, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda e: residual_loss(e, residual), enhanced)


def test_the_loss_vanishes_at_the_well_lit_mean() -> None:
    backlit, well = torch.from_numpy(draw(5, 0, 0.4)), torch.from_numpy(draw(8, 1))
    direction = residual_vector(backlit, well)
    mean = mean_direction(well)
    assert residual_loss(mean[None], Residual(direction, mean @ direction)).item() < 1e-20


def test_token_similarities_are_equation_14() -> None:
    tokens, direction = draw(9, 4), norm_rows(draw(1, 5))[0]
    expected = [token @ direction / np.linalg.norm(token) for token in tokens]
    found = token_similarities(torch.from_numpy(tokens), torch.from_numpy(direction))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_shifting_removes_the_direction_of_the_most_telling_tokens() -> None:
    tokens, direction = draw(40, 6), norm_rows(draw(1, 7))[0]
    similarity = norm_rows(tokens) @ direction
    order = np.argsort(-similarity)
    parts = []
    for end in (order[:4], order[-4:]):
        mean = sum(similarity[k] * tokens[k] for k in end) / 4
        parts.append(mean / np.linalg.norm(mean))
    words = norm_rows(parts[0] + parts[1])
    expected = norm_rows(direction - words * (words @ direction))
    found = shift_away_from_tokens(torch.from_numpy(direction), torch.from_numpy(tokens), 4).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert found @ words == pytest.approx(0, abs=1e-12)


def test_a_word_points_at_the_well_lit_pictures_whatever_it_says() -> None:
    backlit, well = torch.from_numpy(draw(5, 0, 0.6)), torch.from_numpy(draw(8, 1, -0.6))
    dark = mean_direction(backlit)
    for word in (dark, -dark):
        found = direction_of_word(3 * word, backlit, well)
        torch.testing.assert_close(found, -dark)


def test_an_empty_set_and_equal_sets_are_errors() -> None:
    some = torch.from_numpy(draw(4, 0))
    with pytest.raises(ValueError, match="the set of pictures is empty"):
        residual_vector(some, some[:0])
    with pytest.raises(ValueError, match="two different sets are needed"):
        residual_vector(some, some)
    with pytest.raises(ValueError, match="directions of the embeddings cancel out"):
        mean_direction(torch.stack([some[0], -some[0]]))
    with pytest.raises(ValueError, match="cannot shift by 9 tokens: a number from 1 to 4"):
        shift_away_from_tokens(some[0], some, 9)
