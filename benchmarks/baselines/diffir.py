"""DiffIR, second stage: a Restormer modulated by a small vector that four diffusion steps estimate.

Written from the paper (Xia et al., ICCV 2023, arXiv 2303.09472) in its deblurring configuration
(48 features, 3, 5, 6, 6 blocks, 4 of refinement, expansion 2, four steps), which is the one for inputs as
large as outputs. Parameter names of the transformer and the encoder are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.baselines.restormer import (
    ChannelNorm,
    EncoderDecoder,
    GatedFeedForward,
    TransposedAttention,
)

BETAS = (0.1, 0.99)
"""First and last noise variance of the linear schedule."""


class DynamicAttention(TransposedAttention):
    """Attention on features that a linear function of the prior scales and shifts."""

    def __init__(self, channels: int, heads: int, prior: int) -> None:
        super().__init__(channels, heads)
        self.kernel = nn.Sequential(nn.Linear(prior, 2 * channels, bias=False))

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:  # type: ignore[override]
        """[n, c, h, w] and priors [n, prior] -> [n, c, h, w]."""
        return super().forward(_modulate(x, self.kernel(prior)))


class DynamicFeedForward(GatedFeedForward):
    """A feed-forward network on features that a linear function of the prior scales and shifts."""

    def __init__(self, channels: int, expansion: float, prior: int) -> None:
        super().__init__(channels, expansion)
        self.kernel = nn.Sequential(nn.Linear(prior, 2 * channels, bias=False))

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:  # type: ignore[override]
        """[n, c, h, w] and priors [n, prior] -> [n, c, h, w]."""
        return super().forward(_modulate(x, self.kernel(prior)))


class DynamicBlock(nn.Module):
    """A transformer block whose two halves are modulated by the prior."""

    def __init__(self, channels: int, heads: int, expansion: float, prior: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.attn = DynamicAttention(channels, heads, prior)
        self.norm2 = ChannelNorm(channels)
        self.ffn = DynamicFeedForward(channels, expansion, prior)

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        """[n, c, h, w] and priors [n, prior] -> [n, c, h, w]."""
        x = x + self.attn(self.norm1(x), prior)
        out: Tensor = x + self.ffn(self.norm2(x), prior)
        return out


class PriorEncoder(nn.Module):
    """Reads a prior vector from an image: convolutions on 4x4 blocks of pixels, mean, two layers."""

    def __init__(self, features: int, depth: int) -> None:
        super().__init__()
        f = features
        self.E = nn.Sequential(
            nn.Conv2d(48, f, 3, padding=1),
            nn.LeakyReLU(0.1),
            *(PlainResidual(f) for _ in range(depth)),
            nn.Conv2d(f, 2 * f, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(2 * f, 2 * f, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(2 * f, 4 * f, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.AdaptiveAvgPool2d(1),
        )
        self.mlp = nn.Sequential(
            nn.Linear(4 * f, 4 * f), nn.LeakyReLU(0.1), nn.Linear(4 * f, 4 * f), nn.LeakyReLU(0.1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """[n, 3, h, w] -> [n, 4 * features]."""
        prior: Tensor = self.mlp(self.E(F.pixel_unshuffle(image, 4)).flatten(1))
        return prior


class PlainResidual(nn.Module):
    """Two 3x3 convolutions around an identity."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(features, features, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> the same shape."""
        out: Tensor = x + self.body(x)
        return out


class Denoiser(nn.Module):
    """Estimates the prior's noise from the condition, the step and the noisy prior."""

    def __init__(self, prior: int, depth: int) -> None:
        super().__init__()
        self.resmlp = nn.Sequential(
            nn.Linear(2 * prior + 1, prior), nn.LeakyReLU(0.1), *(HiddenLayer(prior) for _ in range(depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, 2 * prior + 1] -> [n, prior]."""
        out: Tensor = self.resmlp(x)
        return out


class HiddenLayer(nn.Module):
    """A linear layer and its activation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resmlp = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.1))

    def forward(self, x: Tensor) -> Tensor:
        """[n, width] -> the same shape."""
        out: Tensor = self.resmlp(x)
        return out


class DiffIR(nn.Module):
    """Restores an image under a prior that diffusion estimates from the image itself.

    [n, 3, h, w] in [0, 1] -> [n, 3, h, w], sides multiples of 8. Noise comes from torch's global
    generator.

    Args:
        channels: the channels of the transformer's first level.
        depths: its blocks per level.
        refinement: its blocks after the decoder.
        expansion: factor on the channels inside its feed-forward networks.
        prior_features: the features of the prior encoder; the prior is four times as long.
        encoder_depth: residual blocks of the prior encoder.
        denoiser_depth: hidden layers of the denoiser.
        steps: number of steps of the diffusion.
    """

    multiple_px = 8

    def __init__(
        self,
        channels: int = 48,
        depths: Sequence[int] = (3, 5, 6, 6),
        refinement: int = 4,
        expansion: float = 2.0,
        prior_features: int = 64,
        encoder_depth: int = 5,
        denoiser_depth: int = 1,
        steps: int = 4,
    ) -> None:
        super().__init__()
        prior = 4 * prior_features

        def block(width: int, heads: int) -> list[nn.Module]:
            return [DynamicBlock(width, heads, expansion, prior)]

        self.G = EncoderDecoder(block, channels=channels, depths=depths, refinement=refinement)
        self.condition = PriorEncoder(prior_features, encoder_depth)
        self.denoise = Denoiser(prior, denoiser_depth)
        self.steps = steps
        betas = np.linspace(*BETAS, steps)
        self.alphas = [float(a) for a in 1 - betas]
        self.signal_shares = [float(a) for a in np.cumprod(1 - betas)]

    def forward(self, image: Tensor) -> Tensor:
        """Restores images under the prior that is estimated from them."""
        restored: Tensor = self.G(image, self.estimate_prior(image)) + image
        return restored

    def estimate_prior(self, image: Tensor) -> Tensor:
        """Estimates the prior of images, [n, prior], by reverse diffusion without added noise (eq. 11)."""
        condition = self.condition(image)
        prior = torch.randn_like(condition)
        for step in reversed(range(self.steps)):
            time = torch.full_like(condition[:, :1], step / (10 * self.steps))
            noise = self.denoise(torch.cat([condition, time, prior], 1))
            share = (1 - self.alphas[step]) / (1 - self.signal_shares[step]) ** 0.5
            prior = (prior - share * noise) / self.alphas[step] ** 0.5
        return prior


def _modulate(x: Tensor, scale_and_shift: Tensor) -> Tensor:
    scale, shift = scale_and_shift[:, :, None, None].chunk(2, 1)
    return x * scale + shift
