"""The baselines on tiny networks: what must hold whatever the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.baselines import classical
from benchmarks.baselines.attention_unet import AttentionUNet
from benchmarks.baselines.diff_retinex import DiffRetinex, Refinement
from benchmarks.baselines.diffir import DiffIR
from benchmarks.baselines.diffusion import Schedule, ddim_times, sample
from benchmarks.baselines.restormer import EncoderDecoder, Restormer, transposed_attention
from benchmarks.baselines.retinexformer import Retinexformer
from benchmarks.baselines.sr3 import Attention, DiffusionUNet, NoiseLevel
from benchmarks.baselines.zero_dce import ZeroDcePlusPlus
from benchmarks.contestants.methods import METHODS, find_method
from benchmarks.contestants.ours import WholeImage
from benchmarks.contestants.weights import WeightsError, load_weights
from rave_train.errors import CheckpointError


def tiny_networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "restormer": Restormer(channels=8, depths=(1, 1, 1, 1), refinement=1),
        "retinexformer": Retinexformer(features=8, depths=(1, 1, 1)),
        "enlightengan": AttentionUNet((4, 8, 8)),
        "diffir": DiffIR(8, (1, 1, 1, 1), 1, prior_features=4, encoder_depth=1),
        "zero-dce++": ZeroDcePlusPlus(scale=2, features=4),
        "diff-retinex": DiffRetinex(samples=2, width=16),
        "ours-torch": WholeImage(channels=4),
    }


def test_every_network_of_the_table_has_a_tiny_one_here() -> None:
    networks = {m.name for m in METHODS.values() if m.kind == "network"}
    assert networks - {"diff-retinex-1000"} == set(tiny_networks())


@pytest.mark.parametrize("name", list(tiny_networks()))
def test_a_picture_in_is_a_picture_of_the_same_size_out(name: str) -> None:
    network = tiny_networks()[name].eval()
    image = torch.rand(2, 3, 16, 32)
    with torch.inference_mode():
        result = network(image)
    assert result.shape == image.shape
    assert result.isfinite().all()


@pytest.mark.parametrize("name", list(tiny_networks()))
def test_every_network_runs_in_bfloat16(name: str) -> None:
    network = tiny_networks()[name].eval().bfloat16()
    with torch.inference_mode():
        result = network(torch.rand(1, 3, 16, 16).bfloat16())
    assert result.dtype == torch.bfloat16
    assert result.isfinite().all()


def silence(network: nn.Module, *names: str) -> None:
    for name in names:
        for parameter in network.get_submodule(name).parameters():
            nn.init.zeros_(parameter)


@pytest.mark.parametrize(
    ("name", "last"), [("restormer", "output"), ("diffir", "G.output"), ("enlightengan", "conv10")]
)
def test_residual_networks_with_a_silent_end_change_nothing(name: str, last: str) -> None:
    network = tiny_networks()[name].eval()
    silence(network, last)
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(network(image), image)


def test_retinexformer_lights_up_by_its_map() -> None:
    network = tiny_networks()["retinexformer"].eval()
    silence(network, "body.0.denoiser.mapping", "body.0.estimator.conv2")
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(network(image), image)
    nn.init.ones_(network.get_submodule("body.0.estimator.conv2").bias)  # type: ignore[arg-type]
    torch.testing.assert_close(network(image), 2 * image)


def test_the_attention_unet_leaves_white_alone() -> None:
    white = torch.ones(1, 3, 8, 8)
    torch.testing.assert_close(tiny_networks()["enlightengan"].eval()(white), white)


def test_zero_dce_keeps_black_and_white_and_brightens_by_positive_curves() -> None:
    network = ZeroDcePlusPlus(scale=2, features=4)
    image = torch.rand(1, 3, 8, 8)
    silence(network, "e_conv7")
    assert torch.equal(network(image), image)
    nn.init.constant_(network.e_conv7.point_conv.bias, -10.0)  # type: ignore[arg-type]
    assert (network(image) >= image).all()
    ends = torch.tensor([0.0, 1.0]).repeat(1, 3, 4, 4)
    torch.testing.assert_close(network(ends), ends)


def test_transposed_attention_of_one_channel_per_head_returns_the_values() -> None:
    q, k, v = torch.rand(3, 2, 4, 3, 5)
    torch.testing.assert_close(transposed_attention(q, k, v, torch.ones(4, 1, 1)), v)


def test_pixel_attention_over_a_constant_picture_is_constant() -> None:
    attention = Attention(32)
    out = attention(torch.rand(1, 32, 1, 1).expand(1, 32, 4, 6))
    assert out.std((2, 3)).max() < 1e-6


def test_a_skeleton_of_two_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="three or four levels, got 2"):
        EncoderDecoder(lambda *_: [], depths=(1, 1))


def test_the_refinement_asks_for_the_noise_level() -> None:
    with pytest.raises(ValueError, match="needs the noise level"):
        Refinement(8)(torch.rand(1, 6, 8, 8))


def test_the_noise_level_reaches_the_unets_output() -> None:
    torch.manual_seed(0)
    network = DiffusionUNet(2, 1, 64, (1, 2), attended=1, depth=1)
    image = torch.rand(1, 2, 4, 4)
    low, high = (network(image, torch.full((1, 1), level)) for level in (0.1, 0.9))
    assert (low - high).abs().max() > 1e-4
    assert NoiseLevel(8)(torch.zeros(1, 1)).tolist() == [[0.0] * 4 + [1.0] * 4]


def test_ddim_looks_at_evenly_spaced_steps_from_the_last() -> None:
    assert ddim_times(1000, 5) == [1000, 800, 600, 400, 200]
    assert ddim_times(1000, 1000) == list(range(1000, 0, -1))
    with pytest.raises(ValueError, match="from 1 to 10, got 11"):
        ddim_times(10, 11)


@pytest.mark.parametrize("samples", [1, 5, None])
def test_sampling_with_a_perfect_predictor_finds_the_picture(samples: int | None) -> None:
    torch.manual_seed(0)
    truth = torch.rand(1, 1, 4, 4) * 2 - 1
    calls: list[float] = []

    def predict_noise(pair: Tensor, level: Tensor) -> Tensor:
        calls.append(float(level))
        noise: Tensor = (pair[:, 1:] - level * truth) / (1 - level**2).sqrt()
        return noise

    found = sample(truth, Schedule(1e-4, 2e-2, 50), predict_noise, lambda pair, _: pair[:, 1:], samples)
    torch.testing.assert_close(found, truth, atol=1e-5, rtol=0)
    assert len(calls) == (50 if samples is None else samples)
    assert calls == sorted(calls)


def test_the_schedule_keeps_what_its_betas_leave() -> None:
    assert Schedule(0.5, 0.5, 3).signal_shares() == [1.0, 0.5, 0.25, 0.125]


def test_diff_retinex_does_the_same_every_time() -> None:
    network = tiny_networks()["diff-retinex"].eval()
    image = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        assert torch.equal(network(image), network(image))


def test_weights_of_the_network_load_and_others_are_refused(tmp_path: Path) -> None:
    source, target = tiny_networks()["retinexformer"], tiny_networks()["retinexformer"]
    silence(source, "body.0.denoiser.mapping")
    wrapped = {"params": {f"module.{name}": t for name, t in source.state_dict().items()}}
    torch.save(wrapped, tmp_path / "good.pth")
    load_weights(target, tmp_path / "good.pth")
    assert target.get_submodule("body.0.denoiser.mapping").weight.abs().max() == 0  # type: ignore[operator]
    with pytest.raises(WeightsError, match=r"lacks \d+ tensors, .* not a checkpoint of Restormer"):
        load_weights(tiny_networks()["restormer"], tmp_path / "good.pth")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_weights(target, tmp_path / "absent.pth")
    torch.save({"a": 3}, tmp_path / "numbers.pth")
    with pytest.raises(WeightsError, match="holds no state dict of tensors"):
        load_weights(target, tmp_path / "numbers.pth")
    with pytest.raises(CheckpointError):
        load_weights(tiny_networks()["ours-torch"], tmp_path / "good.pth")


def test_diff_retinex_loads_its_three_published_files(tmp_path: Path) -> None:
    source, target = DiffRetinex(width=16), DiffRetinex(width=16)
    state = source.state_dict()
    renamed = {
        "decomposition": {"decomposition.": ""},
        "reflectance": {"reflectance_noise.": "denoise_fn.", "reflectance_refinement.": "Unet_fn."},
        "illumination": {"illumination_noise.": "denoise_fn.", "illumination_refinement.": "Unet_fn."},
    }
    for part, prefixes in renamed.items():
        tensors = {
            new + name.removeprefix(old): tensor
            for name, tensor in state.items()
            for old, new in prefixes.items()
            if name.startswith(old)
        }
        if part != "decomposition":
            tensors["betas"] = torch.zeros(3)
        torch.save(tensors, tmp_path / f"{part}.pth")
    load_weights(target, tmp_path)
    assert all(torch.equal(state[name], tensor) for name, tensor in target.state_dict().items())


def scene() -> classical.Image:
    image = np.full((48, 64, 3), 0.1, np.float32)
    image[:16] = 0.8
    return image + np.random.default_rng(0).uniform(0, 0.05, image.shape).astype(np.float32)


@pytest.mark.parametrize(
    "method", [classical.gamma, classical.clahe, classical.multi_scale_retinex, classical.lime]
)
def test_classical_methods_brighten_the_dark_part_and_stay_in_range(method: object) -> None:
    image = scene()
    result = method(image)  # type: ignore[operator]
    assert result.shape == image.shape
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() <= 1
    assert result[24:].mean() > 1.2 * image[24:].mean()


def test_gamma_is_a_power() -> None:
    np.testing.assert_allclose(classical.gamma(np.full((2, 2, 3), 0.25, np.float32), 0.5), 0.5, atol=1e-6)


def test_lime_divides_a_constant_by_itself() -> None:
    result = classical.lime(np.full((6, 7, 3), 0.3, np.float32), exponent=1.0)
    np.testing.assert_allclose(result, 1, atol=1e-3)


def test_limes_light_is_smooth_within_and_sharp_between_parts() -> None:
    image = scene()
    light = image.max(2) / np.maximum(classical.lime(image, exponent=1.0).max(2), 1e-6)
    assert light[24:].std() < 0.5 * image.max(2)[24:].std()
    assert light[8].mean() > 3 * light[30].mean()


def test_a_wide_blur_on_a_reduced_image_is_that_of_the_whole() -> None:
    from scipy import ndimage

    image = np.random.default_rng(1).uniform(0.45, 0.55, (120, 160, 3)).astype(np.float32)
    image[:60] *= 0.3
    exact = ndimage.gaussian_filter(image, (20, 20, 0), mode="nearest")
    assert np.abs(classical._blur(image, 20) - exact).max() < 0.02


def test_an_unknown_method_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"method 'x' is unknown: choose among ours, .*lime"):
        find_method("x")
