from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rave_train.checkpoint import load_checkpoint
from rave_train.network import BINS, CONTEXT_HALO_PX, HALO_PX, EnhancementNetwork, Padding, relight


@pytest.fixture(scope="module")
def network() -> EnhancementNetwork:
    torch.manual_seed(0)
    return EnhancementNetwork(channels=8).eval()


def pooling_matrix(size: int) -> torch.Tensor:
    """[12, size]: averages of the stacked grids' bins along one axis."""
    rows = []
    for count in BINS:
        for i in range(count):
            row = torch.zeros(size)
            first, last = i * size // count, -(-(i + 1) * size // count)
            row[first:last] = 1 / (last - first)
            rows.append(row)
    return torch.stack(rows)


def interpolation_matrix(size: int) -> torch.Tensor:
    """[size, 12]: bilinear weights (align_corners) from each stacked grid to the pixels of an axis."""
    blocks = []
    for count in BINS:
        at = torch.linspace(0, count - 1, size, dtype=torch.float64)
        blocks.append((1 - (at[:, None] - torch.arange(count)).abs()).clamp_min(0).float())
    return torch.cat(blocks, 1)


@torch.no_grad()
@pytest.mark.parametrize("size", [(40, 31), (6, 6), (5, 50), (64, 64)])
def test_the_split_form_equals_the_whole(network: EnhancementNetwork, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    features = network.features(image)
    rows, cols = (pooling_matrix(side) for side in size)
    pooled = rows @ features @ cols.T
    spread = [interpolation_matrix(side).expand(2, -1, -1) for side in size]
    light = network.illuminate(features, pooled, *spread)
    torch.testing.assert_close(light, network(image), rtol=0, atol=2e-6)


@torch.no_grad()
def test_the_halos_are_as_far_as_a_pixel_is_seen(network: EnhancementNetwork) -> None:
    size = 2 * HALO_PX + 7
    middle = size // 2
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(2))
    changed = image.clone()
    changed[0, :, middle, middle] += 5
    seen = (network.features(image) != network.features(changed)).any(1)[0].nonzero()
    assert (seen - middle).abs().max() == CONTEXT_HALO_PX
    features = network.features(image), network.features(changed)
    pooled = torch.zeros(1, 8, 12, 12)
    spread = interpolation_matrix(size)[None]
    before, after = (network.illuminate(f, pooled, spread, spread) for f in features)
    far = (before != after)[0, 0].nonzero() - middle
    assert far.abs().max() == HALO_PX


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (1, 20), (20, 1), (2, 2)])
def test_pictures_of_one_pixel_have_a_light(network: EnhancementNetwork, size: tuple[int, int]) -> None:
    light = network(torch.rand(1, 3, *size))
    assert light.shape == (1, 1, *size)
    assert light.isfinite().all()


def test_relighting_never_gives_nan() -> None:
    image = torch.tensor([0.0, 0.5, 1.0]).repeat(3, 3, 1)[None]
    light = torch.tensor([[[[0.0] * 3, [0.25] * 3, [1.0] * 3]]])
    expected = torch.tensor([[0.0, 1, 1], [0, 1, 1], [0, 0.5, 1]])
    torch.testing.assert_close(relight(image, light), expected.expand(1, 3, 3, 3))


def test_initialization_draws_every_convolution_from_the_published_distribution() -> None:
    network = EnhancementNetwork()
    biases = {n: p.detach().clone() for n, p in network.named_parameters() if n.endswith("bias")}
    network.initialize(torch.Generator().manual_seed(0))
    weights = torch.cat([m.weight.flatten() for m in network.modules() if isinstance(m, torch.nn.Conv2d)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    assert weights.mean().abs() < 1e-4
    for name, value in network.named_parameters():
        if name in biases:
            torch.testing.assert_close(value, biases[name])


def test_it_has_the_published_size() -> None:
    network = EnhancementNetwork()
    assert sum(p.numel() for p in network.parameters()) == 278_790
    assert len(network.state_dict()) == 30


def test_wrong_arguments_say_what_is_needed() -> None:
    with pytest.raises(ValueError, match="padding must be one of reflect, zeros, got 'mirror'"):
        EnhancementNetwork(padding="mirror")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="channels must be a multiple of 4, got 6"):
        EnhancementNetwork(channels=6)


@pytest.mark.shared
@torch.no_grad()
@pytest.mark.parametrize("padding", ["reflect", "zeros"])
def test_the_published_code_gives_the_same_light_map(shared: Path, padding: Padding) -> None:
    """On a corner of the picture, by the split form: the whole would take half a minute."""
    network = load_checkpoint(shared / "upstream" / "rave_paired.pth", padding)
    with Image.open(shared / "data" / "backlit" / "c5b8b4070688114c602b27933c6699b6.jpg") as image:
        pixels = torch.from_numpy(np.asarray(image.convert("RGB"), np.float32) / 255).permute(2, 0, 1)[None]
    published = np.load(shared / "upstream" / "rave_paired_light_map.npz")[padding]
    height, width = pixels.shape[2:]
    assert published.shape == (height, width)
    features = network.features(pixels.contiguous(memory_format=torch.channels_last))
    pooled = pooling_matrix(height) @ features @ pooling_matrix(width).T
    tile = 96
    light = network.illuminate(
        features[:, :, :tile, -tile:],
        pooled,
        interpolation_matrix(height)[None, :tile],
        interpolation_matrix(width)[None, -tile:],
    )[0, 0].numpy()
    core = tile - HALO_PX
    assert published[:core, -core:].std() > 0.003
    assert np.abs(light[:core, -core:] - published[:core, -core:]).max() < 2e-5


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mean", [0.95, 0.99, 0.999])
def test_light_near_1_is_not_rounded_by_half_precision(mean: float, precision: torch.dtype) -> None:
    """The whole map became 1 at the end of the warm-up, and the identity loss 0, with a gradient of 0."""
    generator = torch.Generator().manual_seed(1)
    network = EnhancementNetwork(8)
    network.initialize(generator, 0.05)
    image = torch.rand(2, 3, 40, 48, generator=generator)
    bias = network.cond_add1.bias
    assert bias is not None
    with torch.no_grad():
        bias.fill_(1e3)  # nothing below 0 yet
        network.cond_add1.weight.mul_(0.3 * (1 - mean) / network(image).std())
        bias.add_(mean - network(image).mean())

    def identity() -> tuple[float, torch.Tensor]:
        light = network(image)
        assert light.dtype == torch.float32
        cost = (relight(image, light) - image).square().mean()
        return cost.item(), torch.autograd.grad(cost, network.cond_add1.weight)[0].flatten()

    cost, gradient = identity()
    with torch.autocast("cpu", precision):
        half_cost, half_gradient = identity()
    assert half_cost == pytest.approx(cost, rel=0.02)
    assert float(torch.cosine_similarity(gradient, half_gradient, dim=0)) > 0.99
