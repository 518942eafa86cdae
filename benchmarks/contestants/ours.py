"""Our network in torch: at full resolution as upstream runs it, and in the runtime's normal way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rave_runtime.arrays import Picture
from rave_runtime.light.look import Look
from rave_runtime.light.normal_way import NormalWay
from rave_runtime.light.reduction import Reduction
from rave_train.checkpoint import load_checkpoint
from rave_train.network import EnhancementNetwork, Padding, relight


class WholeImage(nn.Module):
    """Our network and the division by its light map, [n, 3, h, w] in [0, 1] -> [n, 3, h, w]."""

    multiple_px = 1

    def __init__(self, channels: int = 32, padding: Padding = "reflect") -> None:
        super().__init__()
        self.network = EnhancementNetwork(channels, padding)

    def forward(self, image: Tensor) -> Tensor:
        """Enhances images [n, 3, h, w] in [0, 1]."""
        light: Tensor = self.network(image)
        enhanced: Tensor = relight(image, light)
        return enhanced


def light_at(checkpoint: Path, working_size_px: int) -> Callable[[Picture], Picture]:
    """A checkpoint's network in the runtime's normal way, which estimates the light on a reduced picture.

    Args:
        checkpoint: the checkpoint of our network, or an official one.
        working_size_px: long side of the reduced picture; smaller pictures are not reduced.

    Returns:
        A function of one picture, [h, w, 3] uint8 -> the same shape.
    """
    network = load_checkpoint(checkpoint).eval()

    @torch.no_grad()
    def enhance(picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        reduction = Reduction(picture, working_size_px) if max(height, width) > working_size_px else None
        pixels = np.asarray(reduction.pixels if reduction else picture)
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255
        light = network(image)[0, 0].numpy()
        result = np.empty_like(picture)
        NormalWay(picture, light, Look(), reduction).develop(picture, result)
        return result

    return enhance
