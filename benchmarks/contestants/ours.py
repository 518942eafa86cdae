"""Our network as upstream runs it: the whole image at full resolution, in torch."""

from __future__ import annotations

from torch import Tensor, nn

from rave_train.network import EnhancementNetwork, Padding, relight


class WholeImage(nn.Module):
    """Light map and division in one call. [n, 3, h, w] in [0, 1] -> [n, 3, h, w]."""

    multiple_px = 1

    def __init__(self, channels: int = 32, padding: Padding = "reflect") -> None:
        super().__init__()
        self.network = EnhancementNetwork(channels, padding)

    def forward(self, image: Tensor) -> Tensor:
        """The enhanced images."""
        light: Tensor = self.network(image)
        enhanced: Tensor = relight(image, light)
        return enhanced
