"""Counted multiply-accumulates and parameters: of known programs, and of every baseline.

The figures of the published code are those of DESIGN, section 8 (256x256 pixels), within 2 %.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.baselines.attention_unet import AttentionUNet
from benchmarks.baselines.diff_retinex import DiffRetinex
from benchmarks.baselines.diffir import DiffIR
from benchmarks.baselines.restormer import Restormer
from benchmarks.baselines.retinexformer import Retinexformer
from benchmarks.baselines.zero_dce import ZeroDcePlusPlus
from benchmarks.contestants.counting import count_macs, count_network, count_parameters
from rave_train.network import EnhancementNetwork

WITHIN = 0.02


def test_a_matrix_product_counts_its_products() -> None:
    a, b = torch.empty(3, 5, device="meta"), torch.empty(5, 7, device="meta")
    assert count_macs(torch.matmul, a, b) == 3 * 5 * 7


def test_convolutions_count_taps_groups_and_strides() -> None:
    with torch.device("meta"):
        image = torch.empty(1, 4, 10, 12)
        assert count_macs(nn.Conv2d(4, 6, 3, padding=1), image) == 10 * 12 * 4 * 6 * 9
        assert count_macs(nn.Conv2d(4, 4, 3, padding=1, groups=4), image) == 10 * 12 * 4 * 9
        assert count_macs(nn.Conv2d(4, 6, 4, stride=2, padding=1), image) == 5 * 6 * 4 * 6 * 16
        assert count_macs(nn.ConvTranspose2d(4, 6, 2, stride=2), image) == 10 * 12 * 4 * 6 * 4


def test_attention_counts_both_its_products() -> None:
    q = torch.empty(1, 1, 20, 8, device="meta")
    assert count_macs(F.scaled_dot_product_attention, q, q, q) == 2 * 20 * 20 * 8


def test_elementwise_work_is_not_counted() -> None:
    assert count_macs(torch.exp, torch.empty(100, device="meta")) == 0


def test_a_network_without_a_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        count_network(EnhancementNetwork, 0, 8)


@pytest.mark.parametrize(
    ("build", "parameters_m", "gmacs"),
    [
        (EnhancementNetwork, 0.279, 18.19),
        (Retinexformer, 1.606, 16.66),
        (Restormer, 26.127, 154.88),
        (AttentionUNet, 8.637, 16.39),
        pytest.param(DiffRetinex, 58.91, 1871.0, marks=pytest.mark.slow),
    ],
)
def test_counts_are_those_of_the_published_code(
    build: Callable[[], nn.Module], parameters_m: float, gmacs: float
) -> None:
    count = count_network(build, 256, 256)
    assert count.parameters / 1e6 == pytest.approx(parameters_m, rel=WITHIN)
    assert count.macs / 1e9 == pytest.approx(gmacs, rel=WITHIN)


@pytest.mark.parametrize(
    ("part", "inputs", "parameters_m", "gmacs"),
    [
        ("decomposition", 3, 5.232, 101.18),
        ("reflectance_noise", 6, 38.126, 200.73),
        ("reflectance_refinement", 6, 6.792, 98.48),
        ("illumination_noise", 2, 4.384, 27.36),
        ("illumination_refinement", 2, 4.375, 27.36),
    ],
)
def test_each_network_of_diff_retinex_has_its_published_size(
    part: str, inputs: int, parameters_m: float, gmacs: float
) -> None:
    with torch.device("meta"):
        network = DiffRetinex().get_submodule(part)
        image = torch.empty(1, inputs, 256, 256)
        level = [] if part == "decomposition" else [torch.empty(1, 1)]
    assert count_parameters(network) / 1e6 == pytest.approx(parameters_m, rel=WITHIN)
    assert count_macs(network, image, *level) / 1e9 == pytest.approx(gmacs, rel=WITHIN)


def test_zero_dce_has_the_papers_parameters() -> None:
    """arXiv 2103.00860, table 1: 10,561. Its convolutions need 10,075 products per reduced pixel."""
    count = count_network(ZeroDcePlusPlus, 900, 1200)
    assert count.parameters == 10_561
    assert count.macs == 10_075 * (900 // 12) * (1200 // 12)


def test_diffir_has_the_size_its_configuration_gives() -> None:
    """Counted here, so that a change is seen: no published count was found to hold it against."""
    count = count_network(DiffIR, 256, 256)
    assert count.macs / 1e9 == pytest.approx(121, rel=WITHIN)
    assert count.parameters / 1e6 == pytest.approx(26.91, rel=0.001)
