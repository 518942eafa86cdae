"""Restormer, and the encoder-decoder of transposed-attention blocks that its relatives share.

Written from the paper (Zamir et al., CVPR 2022, arXiv 2111.09881). Parameter names are those of the
published checkpoints, so that official weights load. DiffIR and Diff-Retinex reuse the skeleton with
other blocks: a block is any module called as `block(features, condition)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BlockFactory = Callable[[int, int], list[nn.Module]]
"""A function from channels and heads to the modules of one block, in order."""


class ChannelNorm(nn.Module):
    """Layer norm over the channels of [n, c, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> the same shape."""
        normed: Tensor = self.body(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


def transposed_attention(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    """Attention between channels, whose cost is linear in the number of pixels.

    Args:
        q: queries [n, c, h, w]; k and v have the same shape.
        k: keys.
        v: values.
        temperature: [heads, 1, 1], the factor on the cosine similarities.

    Returns:
        [n, c, h, w].

    Source: arXiv 2111.09881, eq. 1.
    """
    n, c, h, w = q.shape
    heads = len(temperature)
    q, k, v = (t.reshape(n, heads, c // heads, h * w) for t in (q, k, v))
    similarity = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
    return ((similarity * temperature).softmax(-1) @ v).reshape(n, c, h, w)


class TransposedAttention(nn.Module):
    """Multi-Dconv head transposed attention (MDTA)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.qkv_dwconv = depthwise(3 * channels, 3)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> the same shape."""
        q, k, v = self.qkv_dwconv(self.qkv(x)).chunk(3, 1)
        out: Tensor = self.project_out(transposed_attention(q, k, v, self.temperature))
        return out


class GatedFeedForward(nn.Module):
    """Gated-Dconv feed-forward network (GDFN)."""

    def __init__(self, channels: int, expansion: float) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.dwconv = depthwise(2 * hidden, 3)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> the same shape."""
        gate, value = self.dwconv(self.project_in(x)).chunk(2, 1)
        out: Tensor = self.project_out(F.gelu(gate) * value)
        return out


class TransformerBlock(nn.Module):
    """Attention and then a feed-forward network, each on normalised features and added to its input.

    Args:
        channels: the channels of the features.
        attention: a module [n, c, h, w] -> the same shape.
        feed_forward: a module [n, c, h, w] -> the same shape.
    """

    def __init__(self, channels: int, attention: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.attn = attention
        self.norm2 = ChannelNorm(channels)
        self.ffn = feed_forward

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """[n, c, h, w] -> the same shape; the condition is ignored."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.ffn(self.norm2(x))
        return out


class EncoderDecoder(nn.Module):
    """Three or four levels of blocks; each level halves the resolution and doubles the channels.

    The first decoder level keeps the concatenated (double) width, as published.

    Args:
        block: makes the modules of one block.
        inputs: channels of the input image.
        outputs: channels of the output image.
        channels: the channels of the first level.
        depths: blocks per level; three or four levels.
        refinement: blocks after the decoder.
        heads: attention heads per level.
        last_heads: the attention heads of the decoder's last level; None takes those of the first level.
        refine: makes the blocks of the refinement; None takes `block`.

    Raises:
        ValueError: fewer than three or more than four levels.
    """

    multiple_px = 8

    def __init__(
        self,
        block: BlockFactory,
        inputs: int = 3,
        outputs: int = 3,
        channels: int = 48,
        depths: Sequence[int] = (4, 6, 6, 8),
        refinement: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        last_heads: int | None = None,
        refine: BlockFactory | None = None,
    ) -> None:
        super().__init__()
        if len(depths) not in (3, 4):
            raise ValueError(f"depths must name three or four levels, got {len(depths)}")

        def stack(width: int, n_heads: int, depth: int, make: BlockFactory = block) -> nn.ModuleList:
            return nn.ModuleList(module for _ in range(depth) for module in make(width, n_heads))

        c = channels
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(inputs, c, 3, padding=1, bias=False)})
        self.encoder_level1 = stack(c, heads[0], depths[0])
        self.down1_2 = Resample(nn.Conv2d(c, c // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))
        self.encoder_level2 = stack(2 * c, heads[1], depths[1])
        self.down2_3 = Resample(nn.Conv2d(2 * c, c, 3, padding=1, bias=False), nn.PixelUnshuffle(2))
        self.encoder_level3 = stack(4 * c, heads[2], depths[2])
        self.levels = len(depths)
        if self.levels == 4:
            self.down3_4 = Resample(nn.Conv2d(4 * c, 2 * c, 3, padding=1, bias=False), nn.PixelUnshuffle(2))
            self.latent = stack(8 * c, heads[3], depths[3])
            self.up4_3 = Resample(nn.Conv2d(8 * c, 16 * c, 3, padding=1, bias=False), nn.PixelShuffle(2))
            self.reduce_chan_level3 = nn.Conv2d(8 * c, 4 * c, 1, bias=False)
        self.decoder_level3 = stack(4 * c, heads[2], depths[2])
        self.up3_2 = Resample(nn.Conv2d(4 * c, 8 * c, 3, padding=1, bias=False), nn.PixelShuffle(2))
        self.reduce_chan_level2 = nn.Conv2d(4 * c, 2 * c, 1, bias=False)
        self.decoder_level2 = stack(2 * c, heads[1], depths[1])
        self.up2_1 = Resample(nn.Conv2d(2 * c, 4 * c, 3, padding=1, bias=False), nn.PixelShuffle(2))
        self.decoder_level1 = stack(2 * c, last_heads or heads[0], depths[0])
        self.refinement = stack(2 * c, heads[0], refinement, refine or block)
        self.output = nn.Conv2d(2 * c, outputs, 3, padding=1, bias=False)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """[n, inputs, h, w], sides multiples of 8 (4 with three levels) -> [n, outputs, h, w]."""
        first = _through(self.encoder_level1, self.patch_embed["proj"](x), condition)
        second = _through(self.encoder_level2, self.down1_2(first), condition)
        third = _through(self.encoder_level3, self.down2_3(second), condition)
        deep = third
        if self.levels == 4:
            deep = self.up4_3(_through(self.latent, self.down3_4(third), condition))
            deep = self.reduce_chan_level3(torch.cat([deep, third], 1))
        deep = self.up3_2(_through(self.decoder_level3, deep, condition))
        deep = self.reduce_chan_level2(torch.cat([deep, second], 1))
        deep = self.up2_1(_through(self.decoder_level2, deep, condition))
        deep = _through(self.decoder_level1, torch.cat([deep, first], 1), condition)
        out: Tensor = self.output(_through(self.refinement, deep, condition))
        return out


class Restormer(EncoderDecoder):
    """The published restoration transformer. [n, 3, h, w] -> [n, 3, h, w], sides multiples of 8."""

    def __init__(
        self,
        channels: int = 48,
        depths: Sequence[int] = (4, 6, 6, 8),
        refinement: int = 4,
        expansion: float = 2.66,
    ) -> None:
        def block(width: int, heads: int) -> list[nn.Module]:
            return [
                TransformerBlock(width, TransposedAttention(width, heads), GatedFeedForward(width, expansion))
            ]

        super().__init__(block, channels=channels, depths=depths, refinement=refinement)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Adds what the encoder-decoder computes to the images."""
        return super().forward(x, condition) + x


class Resample(nn.Module):
    """A convolution and the pixel (un)shuffle after it, under the published name `body`."""

    def __init__(self, conv: nn.Conv2d, shuffle: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(conv, shuffle)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> twice the sides and half the channels, or the reverse."""
        out: Tensor = self.body(x)
        return out


def depthwise(channels: int, size: int) -> nn.Conv2d:
    """A depthwise convolution without bias that keeps the resolution."""
    return nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels, bias=False)


def _through(blocks: nn.ModuleList, x: Tensor, condition: Tensor | None) -> Tensor:
    """Features after all blocks, one after the other."""
    for block in blocks:
        x = block(x, condition)
    return x
