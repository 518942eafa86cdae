"""The recipe's loss, and that a run learns and repeats itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from rave_train.errors import TrainingError
from rave_train.network import EnhancementNetwork, relight
from rave_train.recipes.bank import Mix, make_bank
from rave_train.recipes.losses import light_error, preference_weights, similarity
from rave_train.recipes.recovery import Recovery
from rave_train.recipes.scenes import Sources
from rave_train.recipes.training import Finish, Recipe, Stage, _light, loss_of, train


def test_the_error_of_the_light_counts_where_the_pictures_tell_it() -> None:
    truth = torch.full((1, 3, 8, 8), 0.5)
    truth[..., :4] = 1.0  # blown out: nobody knows
    light = torch.full((1, 1, 8, 8), 0.4)
    backlit = truth * light
    assert float(light_error(backlit, truth, light)) < 0.01
    assert float(light_error(backlit, truth, 2 * light)) == pytest.approx(np.log(2), rel=0.05)
    light[..., :4] = 7.0
    assert float(light_error(backlit, truth, light)) < 0.01
    assert float(light_error(torch.zeros_like(truth), truth, light)) == 0


def test_similarity_is_one_for_equal_pictures_and_falls() -> None:
    torch.manual_seed(0)
    picture = torch.rand(2, 1, 32, 32)
    assert float(similarity(picture, picture)) == pytest.approx(1, abs=1e-5)
    values = [
        float(similarity(picture, (picture + k * torch.rand_like(picture)).clamp(0, 1))) for k in (0.1, 0.5)
    ]
    assert 1 > values[0] > values[1]


def test_the_loss_is_least_at_the_true_light() -> None:
    torch.manual_seed(0)
    truth = torch.rand(2, 3, 32, 32) * 0.9
    light = torch.full((2, 1, 32, 32), 0.4)
    backlit = truth * light
    at_truth = float(loss_of(Recipe(), backlit, truth, light, 2e-4))
    for factor in (0.7, 0.9, 1.1, 1.5):
        assert float(loss_of(Recipe(), backlit, truth, light * factor, 2e-4)) > at_truth


def test_shade_is_rather_lifted_too_much_where_a_picture_changes() -> None:
    photograph = torch.full((2, 3, 8, 8), 0.2)
    photograph[:, :, 4:] = 0.8
    truth = photograph.clone()
    truth[0, :, :4] = 0.5  # the first picture changes, the second stays
    error = torch.full_like(truth, 0.1)
    error[..., 4:] = -0.1
    weights = preference_weights(photograph, truth, error, 0.3)
    assert torch.allclose(weights[0, :, :4, :4], torch.tensor(0.7))
    assert torch.allclose(weights[0, :, :4, 4:], torch.tensor(1.3))
    assert (weights[0, :, 4:] == 1).all()
    assert (weights[1] == 1).all()
    assert (preference_weights(photograph, truth, error, 0.0) == 1).all()
    # Between two truths that are as likely as each other, the loss is least near the brighter one.
    light = [torch.full((2, 1, 8, 8), value) for value in (0.4, 0.6)]
    truths = torch.stack([torch.full((3, 8, 8), 0.3), torch.full((3, 8, 8), 0.5)])
    photographs = torch.full((2, 3, 8, 8), 0.2)
    dim, bright = (
        float(loss_of(Recipe(ssim_weight=0, log_weight=0), photographs, truths, one, 2e-3, 0.3))
        for one in (light[1], light[0])
    )
    assert bright < dim


def test_what_clipped_still_has_a_gradient() -> None:
    truth, backlit = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.4)
    light = torch.full((1, 1, 16, 16), 0.1, requires_grad=True)
    loss_of(Recipe(ssim_weight=0), backlit, truth, light, 2e-4).backward()
    assert light.grad is not None
    assert (light.grad < 0).all()  # more light, please


def test_coarse_light_near_1_is_1() -> None:
    """A well-lit picture that hardly changes then has no loss."""
    network = EnhancementNetwork(8, "reflect")
    with torch.no_grad():
        network.cond_add1.weight.zero_()
        assert network.cond_add1.bias is not None
        network.cond_add1.bias.fill_(0.9985)
    photographs = torch.rand(1, 3, 24, 36)
    with torch.autocast("cpu", torch.bfloat16):
        coarse, fine = (_light(network, photographs, is_coarse) for is_coarse in (True, False))
    assert coarse.dtype == torch.bfloat16
    assert (coarse == 1).all()
    assert torch.allclose(fine, torch.tensor(0.9985))
    torch.testing.assert_close(_light(network, photographs, True), network(photographs))


SMALL = Recipe(
    channels=8,
    long_side_px=36,
    pairs=24,
    small=Stage(8, 4, 0.5),
    large=Stage(4, 4, 0.75),
    chosen=Stage(3, 4, 0.75),
)


def test_a_run_learns_and_repeats_itself(sources: Sources) -> None:
    bank = make_bank(sources, SMALL.mix, SMALL.pairs, SMALL.long_side_px, 0, processes=1)
    first, again = train(SMALL, bank), train(SMALL, bank)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    scenes = make_bank(sources, Mix(1, 0, 0, 0, 0), 24, 36, 0, processes=1)
    longer = dataclasses.replace(SMALL, large=Stage(60, 4, 1.0), chosen=Stage(0, 4, 1.0), average_decay=0.9)
    long = train(longer, scenes)
    photographs = torch.from_numpy(scenes.photographs[0]).float() / 255
    truths = torch.from_numpy(scenes.truths[0]).float() / 255
    with torch.no_grad():
        after = (relight(photographs, long(photographs)) - truths).square().mean()
    assert float(after) < 0.8 * float((photographs - truths).square().mean())


def test_several_finishes_are_averaged(sources: Sources) -> None:
    bank = make_bank(sources, Mix(), 24, 36, 0, processes=1)
    finishes = Finish(0.0), Finish(1.0, 20.0)
    short = dataclasses.replace(SMALL, large=Stage(1, 4, 1.0))
    one, other = (train(dataclasses.replace(short, finishes=(each,)), bank).state_dict() for each in finishes)
    both = train(dataclasses.replace(short, finishes=finishes), bank).state_dict()
    assert any(not torch.equal(one[name], other[name]) for name in one)
    for name, values in both.items():
        torch.testing.assert_close(values, (one[name] + other[name]) / 2)


def test_a_run_that_diverges_recovers_at_a_lower_rate(
    sources: Sources, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the shipped recipe's seeds, 1 diverged at step 1430 and gave no light from there to the end."""
    scenes = make_bank(sources, Mix(1, 0, 0, 0, 0), 24, 36, 0, processes=1)
    recipe = dataclasses.replace(
        SMALL, small=Stage(150, 4, 1.0), large=Stage(0, 4, 1.0), learning_rate=0.02, average_decay=0.99
    )
    network = train(recipe, scenes)
    told = capsys.readouterr().err
    assert "diverged: goes on from the average of the weights, at half the rate" in told
    with torch.no_grad():
        light = network(torch.from_numpy(scenes.photographs[0]).float() / 255)
    assert 0.1 < float(light.mean()) < 2


def test_a_run_that_diverges_again_and_again_ends() -> None:
    network = EnhancementNetwork(8, "reflect")
    optimizer = torch.optim.AdamW(network.parameters(), 1.0)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, 100)
    recovery = Recovery(network, AveragedModel(network), optimizer)
    assert not recovery.check(1, torch.tensor(0.0))
    assert not recovery.check(11, torch.tensor(9.0)), "not every step waits for the device"
    for step in (20, 30, 40, 50):
        assert recovery.check(step, torch.tensor(1.0))
    assert optimizer.param_groups[0]["max_lr"] == 1 / 16
    with pytest.raises(TrainingError, match=r"diverged 5 times by step 60, .* use a lower --learning-rate"):
        recovery.check(60, torch.tensor(1.0))


def test_a_run_goes_on_from_a_network(sources: Sources) -> None:
    bank = make_bank(sources, SMALL.mix, 8, SMALL.long_side_px, 0, processes=1)
    torch.manual_seed(9)
    start = EnhancementNetwork(8, "reflect")
    nothing = Stage(0, 4, 1.0)
    still = dataclasses.replace(SMALL, small=nothing, large=nothing, chosen=nothing)
    kept = train(still, bank, start)
    for a, b in zip(kept.parameters(), start.parameters(), strict=True):
        assert torch.equal(a, b)


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="0 or more steps"):
        Recipe(small=Stage(-1, 4, 0.5))
    with pytest.raises(ValueError, match="1 or more pairs"):
        Recipe(pairs=0)
