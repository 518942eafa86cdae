"""The generator of EnlightenGAN: a U-Net whose features are weighted by how dark each pixel is.

Written from the paper (Jiang et al., TIP 2021, arXiv 1906.06972), section III-C. Parameter names are the
published ones (`conv1_1`, `bn1_1`, `deconv5`, ...).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rave_train.measure.metrics import luma

WIDTHS = (32, 64, 128, 256, 512)


class AttentionUNet(nn.Module):
    """Five-level U-Net. [n, 3, h, w] in [-1, 1] -> [n, 3, h, w], sides multiples of 16.

    The self-regularised attention is 1 - luminance: it multiplies the skip features of each level and
    the network's output, which is added to the input.
    """

    multiple_px = 16

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.widths = widths
        incoming = 4
        for level, width in enumerate(widths, 1):
            self._add_pair(level, incoming, width)
            incoming = width
        for step, width in enumerate(reversed(widths[:-1])):
            self.add_module(f"deconv{len(widths) + step}", nn.Conv2d(incoming, width, 3, padding=1))
            self._add_pair(len(widths) + 1 + step, 2 * width, width)
            incoming = width
        self.conv10 = nn.Conv2d(widths[0], 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Enhances images [n, 3, h, w] in [-1, 1], guided by how dark each pixel is."""
        rgb = (image + 1) / 2
        dark = 1 - luma(rgb)[:, None]
        depth = len(self.widths)
        attention = [dark]
        for _ in range(depth - 1):
            attention.append(F.max_pool2d(attention[-1], 2))
        x = torch.cat([image, dark], 1)
        skips: list[Tensor] = []
        for level in range(1, depth + 1):
            x = self._pair(level, x)
            if level < depth:
                skips.append(x * attention[level - 1])
                x = F.max_pool2d(x, 2)
        x = x * attention[-1]
        for step, skip in enumerate(reversed(skips)):
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = torch.cat([self.get_submodule(f"deconv{depth + step}")(x), skip], 1)
            x = self._pair(depth + 1 + step, x)
        out: Tensor = self.conv10(x) * dark + image
        return out

    def _add_pair(self, index: int, inputs: int, width: int) -> None:
        for part, incoming in ((1, inputs), (2, width)):
            self.add_module(f"conv{index}_{part}", nn.Conv2d(incoming, width, 3, padding=1))
            if (index, part) != (2 * len(self.widths) - 1, 2):
                self.add_module(f"bn{index}_{part}", nn.BatchNorm2d(width))

    def _pair(self, index: int, x: Tensor) -> Tensor:
        for part in (1, 2):
            x = F.leaky_relu(self.get_submodule(f"conv{index}_{part}")(x), 0.2)
            if (index, part) != (2 * len(self.widths) - 1, 2):
                x = self.get_submodule(f"bn{index}_{part}")(x)
        return x
