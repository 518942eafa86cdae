"""Our network as upstream runs it: the whole image at full resolution, in torch."""

from __future__ import annotations

from rave_train.network import EnhancementNetwork, Padding, relight
from torch import Tensor, nn


class WholeImage(nn.Module):
    """Light map and division in one call. [n, 3, h, w] in [0, 1] -> [n, 3, h, w]."""

    multiple_px = 1

    def __init__(self, channels: int = 32, padding: Padding = "reflect") -> None:
        super().__init__()
        self.network = EnhancementNetwork(channels, padding)

    def forward(self, image: Tensor) -> Tensor:
        """The enhanced images."""
        light: Tensor = self.network(image)
        return relight(image, light)
