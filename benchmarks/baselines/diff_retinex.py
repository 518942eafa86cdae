"""A Diff-Retinex-style pipeline: decompose, sample reflectance and illumination by diffusion, multiply.

Written from the paper (Yi et al., ICCV 2023, arXiv 2308.13164), with the widths, depths and schedules
of the published configuration. Parameter names of the six networks are the published ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.baselines.diffusion import Schedule, sample
from benchmarks.baselines.restormer import (
    EncoderDecoder,
    TransformerBlock,
    TransposedAttention,
    depthwise,
    transposed_attention,
)
from benchmarks.baselines.sr3 import DiffusionUNet, NoiseBias, NoiseLevel

REFLECTANCE = Schedule(1e-6, 1e-2)
ILLUMINATION = Schedule(1e-6, 2e-2)
EXPANSION = 2.66


class MultiScaleAttention(nn.Module):
    """Attention between channels whose queries, keys and values see 3, 5 and 7 pixels around."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        c = channels
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(c, 3 * c, 1, bias=False)
        self.qkv_dwconv_3 = depthwise(3 * c, 3)
        self.qkv_dwconv_5 = depthwise(3 * c, 5)
        self.qkv_dwconv_7 = depthwise(3 * c, 7)
        self.q_proj = nn.Conv2d(3 * c, c, 1, bias=False)
        self.k_proj = nn.Conv2d(3 * c, c, 1, bias=False)
        self.v_proj = nn.Conv2d(3 * c, c, 1, bias=False)
        self.project_out = nn.Conv2d(c, c, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> the same shape."""
        x = self.qkv(x)
        scales = [conv(x).chunk(3, 1) for conv in (self.qkv_dwconv_3, self.qkv_dwconv_5, self.qkv_dwconv_7)]
        q, k, v = (
            project(torch.cat([scale[i] for scale in scales], 1))
            for i, project in enumerate((self.q_proj, self.k_proj, self.v_proj))
        )
        out: Tensor = self.project_out(transposed_attention(q, k, v, self.temperature))
        return out


class DenseFeedForward(nn.Module):
    """A 1x1 convolution, a full (not depthwise) 3x3 convolution, GELU, and a 1x1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = int(channels * EXPANSION)
        self.project_in = nn.Conv2d(channels, hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> the same shape."""
        out: Tensor = self.project_out(F.gelu(self.dwconv(self.project_in(x))))
        return out


class Decomposition(nn.Module):
    """The transformer decomposition network: image to reflectance and illumination."""

    def __init__(self, channels: int = 24, light_channels: int = 32) -> None:
        super().__init__()

        def block(width: int, heads: int) -> list[nn.Module]:
            return [TransformerBlock(width, MultiScaleAttention(width, heads), DenseFeedForward(width))]

        c = light_channels
        self.net1_conv0 = _replicated(3, c, 3)
        self.net1_convs = nn.Sequential(
            _replicated(c, c, 5), nn.ReLU(), _replicated(c, c, 3), nn.ReLU(), _replicated(c, c, 3), nn.ReLU()
        )
        self.net1_recon = nn.Conv2d(c, 1, 1)
        self.TDN_R = EncoderDecoder(block, channels=channels, depths=(1, 2, 2), refinement=4)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """[n, 3, h, w] in [0, 1] -> reflectance [n, 3, h, w], illumination [n, 1, h, w], in (0, 1)."""
        light = self.net1_recon(self.net1_convs(self.net1_conv0(image)))
        return self.TDN_R(image).sigmoid(), light.sigmoid()


class Refinement(EncoderDecoder):
    """A small Restormer that estimates the clean reflectance, with the noise level as a second input.

    [n, 6, h, w], [n, 1] -> [n, 3, h, w]; sides multiples of 4.
    """

    def __init__(self, channels: int = 32) -> None:
        block_counts: dict[int, int] = {}

        def plain(width: int, heads: int) -> list[nn.Module]:
            return [TransformerBlock(width, TransposedAttention(width, heads), DenseFeedForward(width))]

        def block(width: int, heads: int) -> list[nn.Module]:
            block_counts[width] = block_counts.get(width, 0) + 1
            has_bias = width < 4 * channels or block_counts[width] % 2 == 0
            return [*plain(width, heads), *([NoiseBias(channels, width)] if has_bias else [])]

        super().__init__(block, 6, 3, channels, (1, 1, 2), 2, last_heads=2, refine=plain)
        self.noise_level_mlp = nn.Sequential(
            NoiseLevel(channels),
            nn.Linear(channels, 4 * channels),
            nn.SiLU(),
            nn.Linear(4 * channels, channels),
        )

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """[n, 6, h, w] and noise levels [n, 1] -> [n, 3, h, w]."""
        if condition is None:
            raise ValueError("the refinement needs the noise level as its second argument")
        return super().forward(x, self.noise_level_mlp(condition))


class DiffRetinex(nn.Module):
    """The whole pipeline. [n, 3, h, w] in [0, 1] -> [n, 3, h, w] in [0, 1], sides multiples of 8.

    Args:
        samples: DDIM steps per diffusion; None samples all 1000.
        width: channels of the first level of the reflectance U-Net; the other widths are in proportion.
        seed: the seed of the noise, which is the same in every run.
    """

    multiple_px = 8

    def __init__(self, samples: int | None = 5, width: int = 64, seed: int = 0) -> None:
        super().__init__()
        self.samples = samples
        self.seed = seed
        half = width // 2
        self.decomposition = Decomposition(3 * width // 8, half)
        self.reflectance_noise = DiffusionUNet(6, 3, width, (1, 2, 4, 6), attended=2)
        self.reflectance_refinement = Refinement(half)
        self.illumination_noise = DiffusionUNet(2, 1, half, (1, 2, 2, 4), attended=3)
        self.illumination_refinement = DiffusionUNet(
            2, 1, half, (1, 2, 2, 4), attended=3, normed=False, residual=1
        )

    def forward(self, image: Tensor) -> Tensor:
        """Splits images into reflectance and illumination, samples both by diffusion and multiplies them."""
        reflectance, illumination = self.decomposition(image)
        generator = None
        if image.device.type != "meta":
            generator = torch.Generator(image.device).manual_seed(self.seed)
        reflectance = sample(
            2 * reflectance - 1,
            REFLECTANCE,
            self.reflectance_noise,
            self.reflectance_refinement,
            self.samples,
            generator=generator,
        )
        illumination = sample(
            2 * illumination - 1,
            ILLUMINATION,
            self.illumination_noise,
            self.illumination_refinement,
            self.samples,
            generator=generator,
        )
        return (reflectance + 1) / 2 * ((illumination + 1) / 2)


def _replicated(inputs: int, outputs: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode="replicate")
