"""The enhancement network of CLIP-LIT and RAVE, whole and split for exact tiling.

The published network works at full resolution throughout: seventeen 3x3 convolutions and one
pyramid-pooling block (PPM) after the second residual block. Everything an exporter or a tiler
must know of it (halo, pooling bins, padding) is stated here and nowhere else.

Parameter names are those of the published checkpoints, which is why they are not all lower case.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rave_runtime.light.relight import LIGHT_FLOOR

Padding = Literal["reflect", "zeros"]
PADDINGS: Final[tuple[Padding, ...]] = get_args(Padding)

BINS: Final = (1, 2, 3, 6)
"""Side lengths of the pooling grids, in the order of the published checkpoints."""

PUBLISHED_CHANNELS: Final = 32
PUBLISHED_STD: Final = 0.02
"""Standard deviation of the weights of every convolution when they are drawn."""

CONTEXT_HALO_PX: Final = 5
"""Radius that the pooled features see around a pixel, through cond1 and two residual blocks."""

HALO_PX: Final = 17
"""Radius that the illumination map sees around a pixel, pooling aside: five before PPM, twelve after."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with reflected borders, no bias, around an identity shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels, channels, "reflect", bias=False)
        self.conv2 = _conv3x3(channels, channels, "reflect", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, h, w] -> the same shape."""
        return _lrelu(self.conv2(_lrelu(self.conv1(x))) + x)


class PyramidPooling(nn.Module):
    """Adds pooled views of the whole image (1x1, 2x2, 3x3 and 6x6) to every pixel's features.

    `fuse` pads with zeros whatever the padding of the network, as published.
    """

    def __init__(self, channels: int, bins: tuple[int, ...] = BINS) -> None:
        super().__init__()
        if channels % len(bins):
            raise ValueError(f"channels must be a multiple of {len(bins)}, got {channels}")
        reduced = channels // len(bins)
        self.bins = bins
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(size),
                nn.Conv2d(channels, reduced, 1, bias=False),
                nn.PReLU(),
            )
            for size in bins
        )
        self.fuse = nn.Sequential(nn.Conv2d(2 * channels, channels, 3, padding=1, bias=False), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, h, w] of whole images -> the same shape."""
        size = x.shape[2:]
        upsampled = [
            F.interpolate(pool(x), size, mode="bilinear", align_corners=True) for pool in self.features
        ]
        fused: Tensor = self.fuse(torch.cat([x, *upsampled], 1))
        return fused


class SplitPyramidPooling(nn.Module):
    """The block with its pooling done elsewhere, for tiles: see `EnhancementNetwork.illuminate`.

    `fuse` is linear before its PReLU, and a convolution of an upsampled grid is again rows times a (larger)
    grid times columns. So the grids' part of `fuse` is computed as such a product, which saves a quarter of
    the work. It is computed in float32 whatever the precision of the rest: it sets the light of the whole
    picture, and in eight bits the larger features would drown it. `reads` masks the stacked grids, so that
    each grid is combined with itself only.

    Args:
        block: the block whose weights are copied, in its dtype; later changes of it have no effect here.
    """

    def __init__(self, block: PyramidPooling) -> None:
        super().__init__()
        convolution = block.fuse[0]
        assert isinstance(convolution, nn.Conv2d)
        self.activate = block.fuse[1]
        channels = convolution.weight.shape[0]
        own, of_grids = convolution.weight[:, :channels], convolution.weight[:, channels:]
        each = range(len(block.bins))
        slopes = torch.cat([block.get_parameter(f"features.{i}.2.weight") for i in each])
        reduce = torch.cat([block.get_parameter(f"features.{i}.1.weight") for i in each])
        reduced, side = channels // len(block.bins), sum(block.bins)
        reads = torch.zeros(len(block.bins), reduced, side, side, device=convolution.weight.device)
        start = 0
        for i, size in enumerate(block.bins):
            reads[i, :, start : start + size, start : start + size] = 1
            start += size
        taps = of_grids.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
        self.fuse: Tensor
        self.reduce: Tensor
        self.slopes: Tensor
        self.reads: Tensor
        self.taps: Tensor
        self.register_buffer("fuse", own.detach().clone())
        self.register_buffer("reduce", reduce.detach().float())
        self.register_buffer("slopes", slopes.detach().float().repeat_interleave(reduced))
        self.register_buffer("reads", reads.flatten(0, 1))
        self.register_buffer("taps", taps.detach().float())

    def forward(self, x: Tensor, pooled: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
        """Takes what `EnhancementNetwork.illuminate` takes -> [n, channels, h, w]."""
        local = F.conv2d(x, self.fuse, padding=1)
        fused: Tensor = self.activate(local + self._of_grids(pooled, rows, cols).to(x.dtype))
        return fused

    def _of_grids(self, pooled: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
        """What the convolution, with zeros around, makes of the upsampled grids."""
        grids = F.prelu(F.conv2d(pooled, self.reduce), self.slopes) * self.reads
        channels, side = grids.shape[1:3]
        blocks = F.conv2d(grids, self.taps).reshape(-1, channels, 3, 3, side, side)
        grid = blocks.permute(0, 1, 2, 4, 3, 5).reshape(-1, channels, 3 * side, 3 * side)
        return _neighbours(rows).unsqueeze(1) @ grid @ _neighbours(cols).unsqueeze(1).transpose(2, 3)


class EnhancementNetwork(nn.Module):
    """Maps a photograph to its illumination map.

    Args:
        channels: width of the outer blocks, a multiple of 4; the inner ones have twice as many.
            The published networks have 32.
        padding: the padding of the four outer convolutions (`cond1`, `condx`, `condy`, `cond_add1`). Upstream
            trains with "zeros" and infers with "reflect".

    Raises:
        ValueError: the padding is another, or PPM cannot divide the channels.

    Source: CLIP-LIT (arXiv 2303.17569), section 3.2; RAVE (arXiv 2404.01889) uses the same.
    """

    def __init__(self, channels: int = PUBLISHED_CHANNELS, padding: Padding = "reflect") -> None:
        super().__init__()
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}")
        self.channels = channels
        self.padding: Padding = padding
        self.cond1 = _conv3x3(3, channels, padding)
        self.cond_add1 = _conv3x3(channels, 1, padding)
        self.condx = _conv3x3(channels, 2 * channels, padding)
        self.condy = _conv3x3(2 * channels, channels, padding)
        self.ResidualBlock1 = ResidualBlock(channels)
        self.ResidualBlock2 = ResidualBlock(channels)
        self.ResidualBlock3 = ResidualBlock(2 * channels)
        self.ResidualBlock4 = ResidualBlock(2 * channels)
        self.ResidualBlock5 = ResidualBlock(channels)
        self.ResidualBlock6 = ResidualBlock(channels)
        self.PPM1 = PyramidPooling(channels)

    def initialize(self, generator: torch.Generator | None = None, std: float = PUBLISHED_STD) -> None:
        """Draws every convolution weight from N(0, std); biases are left alone."""
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.normal_(0.0, std, generator=generator)

    def forward(self, image: Tensor) -> Tensor:
        """Illumination map of whole images.

        Args:
            image: [n, 3, h, w] floating point, sRGB in [0, 1]. An axis of one pixel is doubled and
                the result cut, since reflection needs two.

        Returns:
            [n, 1, h, w], same dtype, at least 0, usually below 1; `relight` divides by it.
        """
        height, width = image.shape[2:]
        if height == 1 or width == 1:
            image = image.repeat(1, 1, 2 if height == 1 else 1, 2 if width == 1 else 1)
        light = self.light(self.PPM1(self.features(image)))
        return light[:, :, :height, :width]

    def features(self, image: Tensor) -> Tensor:
        """The features that PPM pools, [n, 3, h, w] in [0, 1] -> [n, channels, h, w]; they see 5 px far."""
        x = _lrelu(self.cond1(image))
        features: Tensor = self.ResidualBlock2(self.ResidualBlock1(x))
        return features

    def illuminate(self, features: Tensor, pooled: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
        """Illumination map of a tile whose whole-image pooling is given.

        Args:
            features: [n, channels, h, w], the result of `features` on the tile.
            pooled: [n, channels, 12, 12] float32, means of the whole image's features; row bins by
                column bins, all grids stacked (1 + 2 + 3 + 6 = 12). Only the blocks on the diagonal
                (a grid with itself) are read.
            rows: [n, h, 12] float32, weights of bilinear (align_corners) interpolation from the
                stacked grids to the tile's rows.
            cols: [n, w, 12] float32, the same for the tile's columns.

        Returns:
            [n, 1, h, w], dtype of the features. It is exact at borders of the tile that are the image's, and
            `HALO_PX` inside any other border.
        """
        return self.light(SplitPyramidPooling(self.PPM1)(features, pooled, rows, cols))

    def light(self, x: Tensor) -> Tensor:
        """Illumination map [n, 1, h, w] from the output [n, channels, h, w] of PPM; it sees 11 px far."""
        x = self.light_features(x)
        # Meta tensors, whose operations are only counted, do not support autocast.
        if x.device.type == "meta" or not torch.is_autocast_enabled(x.device.type):
            return F.relu(self.cond_add1(x))
        # Near 1, where the warm-up ends, bf16 has steps of 1/256: all light would be 1, without a gradient.
        with torch.autocast(x.device.type, enabled=False):
            return F.relu(self.cond_add1(x.float()))

    def light_features(self, x: Tensor) -> Tensor:
        """Returns what the last convolution reads, from the output of PPM: [n, channels, h, w] each."""
        x = self.condx(x)
        x = self.ResidualBlock4(self.ResidualBlock3(x))
        x = self.condy(x)
        features: Tensor = self.ResidualBlock6(self.ResidualBlock5(x))
        return features


def relight(image: Tensor, light: Tensor) -> Tensor:
    """clip(image / light, 0, 1): the enhanced photograph.

    Where the light is 0, black stays black and the rest turns white: upstream's result without its
    NaN at 0 / 0.

    Args:
        image: [n, 3, h, w] in [0, 1].
        light: [n, 1, h, w], at least 0.

    Returns:
        [n, 3, h, w] in [0, 1], dtype of the image.
    """
    return (image / light.clamp_min(LIGHT_FLOOR)).clamp(0, 1)


def _neighbours(weights: Tensor) -> Tensor:
    """[n, length, k] -> [n, length, 3 k]: each pixel's weights between those of its neighbours, or zeros."""
    padded = F.pad(weights, (0, 0, 1, 1))
    return torch.cat([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], 2)


def _conv3x3(inputs: int, outputs: int, padding: Padding, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode=padding, bias=bias)


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)
