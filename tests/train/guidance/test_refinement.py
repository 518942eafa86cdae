from __future__ import annotations

import numpy as np
import pytest
import torch

from rave_train.encoders import Encoder
from rave_train.guidance.clip_lit_latent import LatentGuidance
from rave_train.guidance.prompt_pair import backlit_scores, initialization_loss, ranking_loss
from rave_train.guidance.refinement import ViewBank, embed_views, pair_loss, separation
from rave_train.network import EnhancementNetwork

CPU = torch.device("cpu")


def bank(enhanced: int) -> ViewBank:
    generator = torch.Generator().manual_seed(0)

    def draw(rows: int) -> torch.Tensor:
        return torch.randn(rows, 2, 6, generator=generator)

    return ViewBank(draw(5) + 1, tuple(draw(5) for _ in range(enhanced)), draw(7) - 1)


def test_a_latent_pair_is_drawn_from_a_standard_normal() -> None:
    vectors = LatentGuidance(5000, seed=3).pair()
    assert vectors.shape == (2, 5000)
    assert vectors.mean().item() == pytest.approx(0, abs=0.05)
    assert vectors.std().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(vectors, LatentGuidance(5000, seed=3).pair())


@pytest.mark.parametrize(("enhanced", "drawn"), [(0, 8), (1, 16), (2, 16)])
def test_a_refinement_step_ranks_as_many_tuples_as_published(
    enhanced: int, drawn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def draw(side: torch.Tensor, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        counts.append(count)
        return torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.int64)

    monkeypatch.setattr("rave_train.guidance.refinement._draw", draw)
    pair_loss(bank(enhanced), torch.randn(2, 6), 16, np.random.default_rng(0))
    assert counts == [drawn, drawn]


@pytest.mark.parametrize("enhanced", [0, 1, 2])
def test_a_step_draws_half_a_batch_of_each_side(enhanced: int) -> None:
    """With single views of one picture each, what is drawn is known, and so is the loss."""
    whole = bank(enhanced)
    one = ViewBank(whole.backlit[:1, :1], tuple(e[:1, :1] for e in whole.enhanced), whole.well_lit[:1, :1])
    pair = torch.randn(2, 6, generator=torch.Generator().manual_seed(1)) * 0.01 + torch.ones(6)
    found = pair_loss(one, pair, 4, np.random.default_rng(0))
    sides = [side.flatten(0, 1) for side in (one.backlit, *one.enhanced, one.well_lit)]
    if enhanced:
        expected = ranking_loss([backlit_scores(side, pair) for side in sides])
    else:
        expected = initialization_loss(torch.cat(sides), torch.tensor([False, True]), pair)
    # Batches of another size add in another order.
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_same_generator_draws_the_same() -> None:
    pair = LatentGuidance(6, 0).pair()
    losses = [pair_loss(bank(1), pair, 8, np.random.default_rng(seed)).item() for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_learning_parts_the_two_sets() -> None:
    whole, guidance = bank(0), LatentGuidance(6, 0)
    optimizer = torch.optim.Adam(guidance.parameters(), 0.05)
    rng = np.random.default_rng(0)
    first = pair_loss(whole, guidance.pair(), 16, rng).item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = pair_loss(whole, guidance.pair(), 16, rng)
        loss.backward()
        optimizer.step()
    backlit, well_lit = separation(whole, guidance.pair())
    assert loss.item() < first / 5
    assert backlit > 0.8 > 0.2 > well_lit


def test_views_are_augmented_alike_with_and_without_enhancement(toy_clip: Encoder) -> None:
    rng = np.random.default_rng(0)
    squares = [rng.integers(0, 255, (16, 16, 3), dtype=np.uint8) for _ in range(3)]
    plain = embed_views(toy_clip, squares, 4, (1, 2), CPU)
    assert plain.shape == (3, 4, 16)
    assert torch.equal(plain, embed_views(toy_clip, squares, 4, (1, 2), CPU))
    assert not torch.equal(plain, embed_views(toy_clip, squares, 4, (1, 3), CPU))
    network = EnhancementNetwork(channels=4)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.ones_(network.cond_add1.bias)  # type: ignore[arg-type]
    same = embed_views(toy_clip, squares, 4, (1, 2), CPU, network)
    torch.testing.assert_close(same, plain)
    torch.nn.init.constant_(network.cond_add1.bias, 0.5)  # type: ignore[arg-type]
    brighter = embed_views(toy_clip, squares, 4, (1, 2), CPU, network)
    assert not torch.allclose(brighter, plain)
