from __future__ import annotations

import dataclasses

import pytest
import torch

from rave_train.encoders import Encoder, open_encoder
from rave_train.guidance.identity import identity_loss
from rave_train.guidance.objective import Objective, luma_error
from rave_train.guidance.residual import Residual, residual_loss, unit


@pytest.fixture(scope="module")
def objective(toy_clip: Encoder) -> Objective:
    residual = Residual(unit(torch.arange(16.0)), torch.tensor(0.7))
    return Objective(toy_clip, toy_clip, lambda e: residual_loss(e, residual), 6.0, 0.9, 0.0)


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    backlit = torch.rand(8, 3, 32, 32, generator=generator) * 0.4
    light = torch.rand(8, 1, 32, 32, generator=generator) * 0.5 + 0.4
    return backlit, light, (backlit * 2).clamp(0, 1)


Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def test_the_balance_at_batch_8_is_upstreams(objective: Objective, batch: Batch, toy_clip: Encoder) -> None:
    """Upstream: 6 * (16 * 20) * mean guidance + 0.9 * 25 * identity summed over the batch."""
    backlit, light, truth = batch
    enhanced = (backlit / (light + 1e-9)).clamp(0, 1)
    weights = [1, 1, 1, 1, 0.5]
    summed = sum(
        identity_loss(toy_clip.stages(backlit[i : i + 1]), toy_clip.stages(enhanced[i : i + 1]), weights)
        for i in range(8)
    )
    guidance = objective.guidance_loss(toy_clip.embed(enhanced))
    losses = objective.losses(backlit, light, truth, warm_up=False)
    assert losses["guidance"].item() == pytest.approx(6 * 320 * guidance.item(), rel=1e-4)
    assert losses["identity"].item() == pytest.approx(0.9 * 25 * float(summed), rel=1e-4)
    assert losses["loss"].item() == pytest.approx(losses["guidance"].item() + losses["identity"].item())


def test_the_balance_does_not_change_with_the_batch(objective: Objective, batch: Batch) -> None:
    whole = objective.losses(*batch, warm_up=False)
    backlit, light, truth = (side.split(2) for side in batch)
    parts = [objective.losses(*sides, warm_up=False) for sides in zip(backlit, light, truth, strict=True)]
    for name, value in whole.items():
        mean = sum(part[name].item() for part in parts) / 4
        assert value.item() == pytest.approx(mean, rel=1e-4)


def test_the_warm_up_is_25_times_identity_alone(
    objective: Objective, batch: Batch, toy_clip: Encoder
) -> None:
    backlit, light, truth = batch
    enhanced = (backlit / (light + 1e-9)).clamp(0, 1)
    identity = identity_loss(toy_clip.stages(backlit), toy_clip.stages(enhanced), [1.0] * 5)
    losses = objective.losses(backlit, light, truth, warm_up=True)
    assert losses["loss"].item() == pytest.approx(25 * 8 * identity.item(), rel=1e-4)
    assert set(losses) == {"loss", "identity"}


def test_two_encoders_and_one_give_the_same(objective: Objective, batch: Batch, toy_resnet: str) -> None:
    twin = dataclasses.replace(objective, identity_encoder=open_encoder(toy_resnet))
    for name, value in twin.losses(*batch, warm_up=False).items():
        torch.testing.assert_close(value, objective.losses(*batch, warm_up=False)[name], rtol=1e-4, atol=1e-6)


def test_the_pixel_loss_compares_with_partners(objective: Objective, batch: Batch) -> None:
    backlit, light, truth = batch
    with_pixels = dataclasses.replace(objective, pixel_weight=10.0)
    expected = 10 * ((backlit / light).clamp(0, 1) - truth).abs().mean()
    losses = with_pixels.losses(backlit, light, truth, warm_up=False)
    assert losses["pixel"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_loss_reaches_the_light_as_finite_differences_say(toy_resnet: str) -> None:
    encoder = open_encoder(toy_resnet).double()
    encoder.forward = _keep_double(encoder)  # type: ignore[method-assign]
    residual = Residual(unit(torch.arange(16.0, dtype=torch.float64)), torch.tensor(0.7, dtype=torch.float64))
    objective = Objective(encoder, encoder, lambda e: residual_loss(e, residual), 6.0, 0.9, 0.0)
    backlit = torch.rand(1, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.4
    light = torch.full((1, 1, 8, 8), 0.6, dtype=torch.float64, requires_grad=True)
    total = objective.losses(backlit, light, backlit, warm_up=False)["loss"]
    (gradient,) = torch.autograd.grad(total, light)
    step = 1e-5
    for y, x in ((0, 0), (3, 5), (7, 7)):
        moved = []
        for sign in (1, -1):
            changed = light.detach().clone()
            changed[0, 0, y, x] += sign * step
            moved.append(objective.losses(backlit, changed, backlit, warm_up=False)["loss"].item())
        assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(gradient[0, 0, y, x].item(), rel=1e-3)


def _keep_double(encoder: Encoder):  # type: ignore[no-untyped-def]
    """The encoder's pass without its conversion to float32, which would drown small differences."""

    def forward(pixels: torch.Tensor, embed: bool, stages: bool):  # type: ignore[no-untyped-def]
        found = encoder.visual.forward_intermediates(pixels)  # type: ignore[operator, union-attr]
        return (found["image_features"] if embed else None), found["image_intermediates"] if stages else []

    return forward


def test_the_luma_error_is_of_the_y_channel() -> None:
    before = torch.zeros(2, 3, 4, 4)
    after = before.clone()
    after[:, 1] = 0.5
    assert luma_error(before, after).item() == pytest.approx((0.587 * 0.5) ** 2, rel=1e-5)


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_half_precision_is_close_and_leaves_the_encoders_alone(
    kind: str, batch: Batch, toy_resnet: str, toy_vit: str
) -> None:
    """Upstream trains in float32; bf16 has eight bits, so losses agree to about one per cent."""
    encoder, other = (open_encoder(toy_resnet if kind == "resnet" else toy_vit) for _ in range(2))
    before = encoder.fingerprint()
    residual = Residual(unit(torch.arange(16.0)), torch.tensor(0.7))
    full = Objective(encoder, other, lambda e: residual_loss(e, residual), 6.0, 0.9, 0.0)
    half = dataclasses.replace(full, autocast=torch.bfloat16)
    assert encoder.fingerprint() == before
    assert any(p.dtype == torch.bfloat16 for p in half.guidance_encoder.parameters())
    backlit, light, truth = batch
    gradients: list[torch.Tensor] = []
    for objective in (full, half):
        free = light.clone().requires_grad_()
        losses = objective.losses(backlit, free, truth, warm_up=False)
        gradients.append(torch.autograd.grad(losses["loss"], free)[0].flatten())
        assert losses["guidance"].item() == pytest.approx(
            full.losses(*batch, warm_up=False)["guidance"].item(), rel=0.05
        )
    assert float(torch.cosine_similarity(gradients[0], gradients[1], dim=0)) > 0.98


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("light", [0.99, 0.999])
def test_bf16_does_not_swamp_the_identity_near_light_1(
    light: float, shared: bool, toy_resnet: str, batch: Batch
) -> None:
    """Where the warm-up ends, its rounding was several times the difference that is measured."""
    encoder = open_encoder(toy_resnet)
    residual = Residual(unit(torch.arange(16.0)), torch.tensor(0.7))
    other = encoder if shared else open_encoder(toy_resnet)
    full = Objective(encoder, other, lambda e: residual_loss(e, residual), 6.0, 0.9, 0.0)
    backlit = batch[0]
    found = []
    for objective in (full, dataclasses.replace(full, autocast=torch.bfloat16)):
        free = torch.full((8, 1, 32, 32), light).requires_grad_()
        losses = objective.losses(backlit, free, backlit, warm_up=True)
        found.append((losses["identity"].item(), torch.autograd.grad(losses["loss"], free)[0].flatten()))
    assert found[1][0] == pytest.approx(found[0][0], rel=0.02)
    assert float(torch.cosine_similarity(found[0][1], found[1][1], dim=0)) > 0.99


def test_the_identity_scale_is_a_factor_of_the_identity_term(objective: Objective, batch: Batch) -> None:
    scaled = dataclasses.replace(objective, identity_scale=0.005)
    before, after = (o.losses(*batch, warm_up=False) for o in (objective, scaled))
    assert after["identity"].item() == pytest.approx(0.005 * before["identity"].item(), rel=1e-5)
    assert after["guidance"].item() == pytest.approx(before["guidance"].item())
