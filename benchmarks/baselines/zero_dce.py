"""Zero-DCE++: tone curves per pixel from seven depthwise-separable convolutions; the reference of speed.

Written from the paper (Li, Guo and Loy, TPAMI 2021, arXiv 2103.00860). Parameter names are the published
ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ITERATIONS = 8


class SeparableConv(nn.Module):
    """A depthwise 3x3 convolution and a 1x1 convolution, both with bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depth_conv = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
        self.point_conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] -> [n, outputs, h, w]."""
        out: Tensor = self.point_conv(self.depth_conv(x))
        return out


class ZeroDcePlusPlus(nn.Module):
    """Estimates one curve map at reduced size and applies it eight times at full size.

    Args:
        scale: factor by which the image is reduced to estimate the curves; the paper takes 12.
        features: width of the convolutions.
    """

    multiple_px = 1

    def __init__(self, scale: int = 12, features: int = 32) -> None:
        super().__init__()
        self.scale = scale
        f = features
        self.e_conv1 = SeparableConv(3, f)
        self.e_conv2 = SeparableConv(f, f)
        self.e_conv3 = SeparableConv(f, f)
        self.e_conv4 = SeparableConv(f, f)
        self.e_conv5 = SeparableConv(2 * f, f)
        self.e_conv6 = SeparableConv(2 * f, f)
        self.e_conv7 = SeparableConv(2 * f, 3)

    def forward(self, image: Tensor) -> Tensor:
        """[n, 3, h, w] in [0, 1] -> [n, 3, h, w]."""
        size = image.shape[2:]
        reduced = image
        if self.scale > 1:
            small = [max(1, side // self.scale) for side in size]
            reduced = F.interpolate(image, small, mode="bilinear")
        x1 = F.relu(self.e_conv1(reduced))
        x2 = F.relu(self.e_conv2(x1))
        x3 = F.relu(self.e_conv3(x2))
        x4 = F.relu(self.e_conv4(x3))
        x5 = F.relu(self.e_conv5(torch.cat([x3, x4], 1)))
        x6 = F.relu(self.e_conv6(torch.cat([x2, x5], 1)))
        curves = torch.tanh(self.e_conv7(torch.cat([x1, x6], 1)))
        if self.scale > 1:
            curves = F.interpolate(curves, size, mode="bilinear", align_corners=True)
        for _ in range(ITERATIONS):
            image = image + curves * (image * image - image)
        return image
