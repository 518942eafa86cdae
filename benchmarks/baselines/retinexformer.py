"""Retinexformer: one-stage Retinex transformer guided by an estimated illumination.

Written from the paper (Cai et al., ICCV 2023, arXiv 2303.06705), with 40 features, one stage and
1, 2, 2 blocks. Parameter names are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class IlluminationEstimator(nn.Module):
    """Estimates how much to light up each pixel, and features of that illumination."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, features, 1)
        self.depth_conv = nn.Conv2d(features, features, 5, padding=2, groups=4)
        self.conv2 = nn.Conv2d(features, 3, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """[n, 3, h, w] -> features [n, c, h, w] and a map [n, 3, h, w]."""
        prior = image.mean(1, keepdim=True)
        features = self.depth_conv(self.conv1(torch.cat([image, prior], 1)))
        return features, self.conv2(features)


class GuidedAttention(nn.Module):
    """Attention between channels whose values are weighted by the illumination features."""

    def __init__(self, channels: int, head_channels: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.rescale = nn.Parameter(torch.ones(channels // head_channels, 1, 1))
        self.proj = nn.Linear(channels, channels)
        self.pos_emb = nn.Sequential(_depthwise(channels), nn.GELU(), _depthwise(channels))

    def forward(self, x: Tensor, illumination: Tensor) -> Tensor:
        """[n, h, w, c] each -> [n, h, w, c]."""
        n, h, w, c = x.shape
        heads = len(self.rescale)
        tokens = x.reshape(n, h * w, c)
        values = self.to_v(tokens)
        weighted = values * illumination.reshape(n, h * w, c)
        q, k, v = (
            t.reshape(n, h * w, heads, c // heads).permute(0, 2, 3, 1)
            for t in (self.to_q(tokens), self.to_k(tokens), weighted)
        )
        similarity = F.normalize(k, dim=-1) @ F.normalize(q, dim=-1).transpose(-2, -1)
        mixed = (similarity * self.rescale).softmax(-1) @ v
        out = self.proj(mixed.permute(0, 3, 1, 2).reshape(n, h, w, c))
        position = self.pos_emb(values.reshape(n, h, w, c).permute(0, 3, 1, 2))
        guided: Tensor = out + position.permute(0, 2, 3, 1)
        return guided


class FeedForward(nn.Module):
    """Layer norm, a 1x1 convolution to four times the width, a depthwise 3x3, and a 1x1 back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        layers = nn.Sequential(
            nn.Conv2d(channels, 4 * channels, 1, bias=False),
            nn.GELU(),
            _depthwise(4 * channels),
            nn.GELU(),
            nn.Conv2d(4 * channels, channels, 1, bias=False),
        )
        self.fn = nn.ModuleDict({"net": layers})

    def forward(self, x: Tensor) -> Tensor:
        """[n, h, w, c] -> the same shape."""
        out: Tensor = self.fn["net"](self.norm(x).permute(0, 3, 1, 2))
        return out.permute(0, 2, 3, 1)


class GuidedBlocks(nn.Module):
    """A number of illumination-guided attention blocks at one resolution."""

    def __init__(self, channels: int, head_channels: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList([GuidedAttention(channels, head_channels), FeedForward(channels)])
            for _ in range(depth)
        )

    def forward(self, x: Tensor, illumination: Tensor) -> Tensor:
        """[n, c, h, w] each -> [n, c, h, w]."""
        x = x.permute(0, 2, 3, 1)
        light = illumination.permute(0, 2, 3, 1)
        for block in self.blocks:
            attention, feed_forward = block.children()
            x = x + attention(x, light)
            x = x + feed_forward(x)
        return x.permute(0, 3, 1, 2)


class Denoiser(nn.Module):
    """Three-level U-shaped transformer that cleans the lit-up image."""

    def __init__(self, channels: int, depths: Sequence[int]) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        widths = [channels * 2**level for level in range(len(depths))]
        self.encoder_layers = nn.ModuleList(
            nn.ModuleList([GuidedBlocks(width, channels, depth), _halve(width), _halve(width)])
            for width, depth in zip(widths[:-1], depths[:-1], strict=True)
        )
        self.bottleneck = GuidedBlocks(widths[-1], channels, depths[-1])
        self.decoder_layers = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.ConvTranspose2d(2 * width, width, 2, stride=2),
                    nn.Conv2d(2 * width, width, 1, bias=False),
                    GuidedBlocks(width, channels, depth),
                ]
            )
            for width, depth in zip(reversed(widths[:-1]), reversed(depths[:-1]), strict=True)
        )
        self.mapping = nn.Conv2d(channels, 3, 3, padding=1, bias=False)

    def forward(self, image: Tensor, illumination: Tensor) -> Tensor:
        """[n, 3, h, w] and illumination features [n, c, h, w] -> [n, 3, h, w]."""
        x = self.embedding(image)
        skips: list[tuple[Tensor, Tensor]] = []
        for layer in self.encoder_layers:
            blocks, halve, halve_light = layer.children()
            x = blocks(x, illumination)
            skips.append((x, illumination))
            x, illumination = halve(x), halve_light(illumination)
        x = self.bottleneck(x, illumination)
        for layer, (skip, light) in zip(self.decoder_layers, reversed(skips), strict=True):
            double, fuse, blocks = layer.children()
            x = blocks(fuse(torch.cat([double(x), skip], 1)), light)
        out: Tensor = self.mapping(x) + image
        return out


class Retinexformer(nn.Module):
    """Lights the image up, then cleans it. [n, 3, h, w] -> [n, 3, h, w], sides multiples of 4.

    Args:
        features: channels of the first level.
        depths: blocks per level.
    """

    multiple_px = 4

    def __init__(self, features: int = 40, depths: Sequence[int] = (1, 2, 2)) -> None:
        super().__init__()
        stage = nn.ModuleDict(
            {"estimator": IlluminationEstimator(features), "denoiser": Denoiser(features, depths)}
        )
        self.body = nn.ModuleList([stage])

    def forward(self, image: Tensor) -> Tensor:
        """Estimates the illumination of images, lights them up and cleans them."""
        for stage in self.body:
            estimator, denoiser = stage.children()
            features, light = estimator(image)
            image = denoiser(image * light + image, features)
        return image


def _depthwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def _halve(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False)
