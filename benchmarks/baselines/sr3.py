"""The denoising U-Net of SR3: residual blocks that get the noise level, with attention at one resolution.

Written from the paper (Saharia et al., arXiv 2104.07636), in the variant that embeds the noise level as in
WaveGrad and adds it as a bias. Parameter names are those of the public checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 32


class NoiseLevel(nn.Module):
    """Sines and cosines of a noise level. [n, 1] -> [n, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, level: Tensor) -> Tensor:
        """[n, 1] -> [n, width]."""
        half = self.width // 2
        exponents = torch.arange(half, device=level.device, dtype=level.dtype) / half
        angles = level * torch.exp(-math.log(1e4) * exponents)
        return torch.cat([angles.sin(), angles.cos()], -1)


class NoiseBias(nn.Module):
    """Adds a linear function of the noise embedding to every pixel."""

    def __init__(self, embedding: int, channels: int) -> None:
        super().__init__()
        self.noise_func = nn.Sequential(nn.Linear(embedding, channels))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """[n, c, h, w] and [n, embedding] -> [n, c, h, w]."""
        bias: Tensor = self.noise_func(noise)[:, :, None, None]
        return x + bias


class Conv(nn.Module):
    """Group norm (left out where `normed` is false), SiLU and a 3x3 convolution."""

    def __init__(self, inputs: int, outputs: int, normed: bool) -> None:
        super().__init__()
        norm = [nn.GroupNorm(math.gcd(GROUPS, inputs), inputs)] if normed else []
        self.block = nn.Sequential(*norm, nn.SiLU(), nn.Identity(), nn.Conv2d(inputs, outputs, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h, w]."""
        out: Tensor = self.block(x)
        return out


class ResidualBlock(nn.Module):
    """Two `Conv`s, with the noise level added between them, and a shortcut around both."""

    def __init__(self, inputs: int, outputs: int, embedding: int, normed: bool) -> None:
        super().__init__()
        self.noise_func = NoiseBias(embedding, outputs)
        self.block1 = Conv(inputs, outputs, normed)
        self.block2 = Conv(outputs, outputs, normed)
        self.res_conv = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """[n, inputs, h, w] and [n, embedding] -> [n, outputs, h, w]."""
        out: Tensor = self.block2(self.noise_func(self.block1(x), noise)) + self.res_conv(x)
        return out


class Attention(nn.Module):
    """Single-head attention between all pixels, whose cost is quadratic in their number."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(GROUPS, channels), channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> the same shape."""
        n, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, 3, 1, c, h * w).transpose(3, 4).unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(mixed.transpose(2, 3).reshape(n, c, h, w)) + x
        return out


class Stage(nn.Module):
    """A residual block, with attention after it if `attended` is true."""

    def __init__(self, inputs: int, outputs: int, embedding: int, attended: bool, normed: bool) -> None:
        super().__init__()
        self.res_block = ResidualBlock(inputs, outputs, embedding, normed)
        self.attn = Attention(outputs) if attended else None

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """[n, inputs, h, w] and [n, embedding] -> [n, outputs, h, w]."""
        out: Tensor = self.res_block(x, noise)
        return out if self.attn is None else self.attn(out)


class Down(nn.Module):
    """Halves the resolution by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> [n, c, h / 2, w / 2]."""
        out: Tensor = self.conv(x)
        return out


class Up(nn.Module):
    """Doubles the resolution by repetition and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> [n, c, 2 h, 2 w]."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return out


class DiffusionUNet(nn.Module):
    """Maps a noisy picture, its condition and the noise level to a picture of the same size.

    [n, inputs, h, w], [n, 1] -> [n, outputs, h, w]; sides multiples of 2 ** (levels - 1).

    Args:
        inputs: channels of picture and condition together.
        outputs: channels of the result.
        channels: the channels of the first level.
        multipliers: for each level the factor on `channels`.
        attended: number of the level whose blocks have attention.
        depth: residual blocks per level.
        normed: whether there is a group norm before each convolution.
        residual: input channel that is added to the output, or None.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: int,
        multipliers: Sequence[int],
        attended: int,
        depth: int = 2,
        normed: bool = True,
        residual: int | None = None,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.noise_level_mlp = nn.Sequential(
            NoiseLevel(channels),
            nn.Linear(channels, 4 * channels),
            nn.SiLU(),
            nn.Linear(4 * channels, channels),
        )
        last = len(multipliers) - 1
        width = channels
        skip_widths = [width]
        self.downs = nn.ModuleList([nn.Conv2d(inputs, channels, 3, padding=1)])
        for level, multiplier in enumerate(multipliers):
            for _ in range(depth):
                self.downs.append(Stage(width, multiplier * channels, channels, level == attended, normed))
                width = multiplier * channels
                skip_widths.append(width)
            if level < last:
                self.downs.append(Down(width))
                skip_widths.append(width)
        self.mid = nn.ModuleList(Stage(width, width, channels, attend, normed) for attend in (True, False))
        self.ups = nn.ModuleList()
        for level in reversed(range(len(multipliers))):
            out = multipliers[level] * channels
            for _ in range(depth + 1):
                self.ups.append(Stage(width + skip_widths.pop(), out, channels, level == attended, normed))
                width = out
            if level > 0:
                self.ups.append(Up(width))
        self.final_conv = Conv(width, outputs, normed)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """[n, inputs, h, w] and noise levels [n, 1] -> [n, outputs, h, w]."""
        noise = self.noise_level_mlp(level)
        residual = 0 if self.residual is None else x[:, self.residual : self.residual + 1]
        skips: list[Tensor] = []
        for layer in self.downs:
            x = layer(x, noise) if isinstance(layer, Stage) else layer(x)
            skips.append(x)
        for layer in self.mid:
            x = layer(x, noise)
        for layer in self.ups:
            x = layer(torch.cat([x, skips.pop()], 1), noise) if isinstance(layer, Stage) else layer(x)
        out: Tensor = self.final_conv(x) + residual
        return out
