"""Evens out the ranges of a layer's channels before INT8, without changing what the network computes.

INT8 has one scale for all channels of a tensor. A channel that is small beside the others gets few of the 256
steps, and the photographs that live in it, such as dark ones, come out wrong. Activations here are linear on
either side of 0, so a channel can be multiplied by any positive factor where it is computed, and its weights
divided by the same factor where it is used.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, 4.1.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from rave_runtime.arrays import Picture
from rave_train.network import EnhancementNetwork, ResidualBlock

_SHARE: Final = 0.6
"""How much of a difference between channels is taken by their values; their weights take the rest."""

_SMALLEST: Final = 1e-4
"""Least range of a channel, as a share of the largest one: channels without values keep a finite factor."""


def equalize(network: EnhancementNetwork, pictures: Sequence[Picture]) -> EnhancementNetwork:
    """Returns a copy of a network that computes the same light with more equal channels.

    The copy is for one precision as a whole: its pooled features are no longer those of the network.

    Args:
        network: in float32.
        pictures: photographs that show the ranges of the channels, [h, w, 3] uint8.
    """
    evened = copy.deepcopy(network).eval()
    with torch.no_grad():
        peaks = _peaks(evened, pictures)
        blocks = [block for block in evened.modules() if isinstance(block, ResidualBlock)]
        *reduce, fuse = _convolutions(evened.PPM1)
        _even_stream(evened.cond1, blocks[:2], [fuse, *reduce], peaks)
        _even_stream(evened.condx, blocks[2:4], [evened.condy], peaks)
        _even_stream(evened.condy, blocks[4:], [evened.cond_add1], peaks)
        _even(fuse, [evened.condx], peaks[evened.PPM1])
        for block in blocks:
            _even(block.conv1, [block.conv2], peaks[block.conv1])
    return evened


def _even_stream(
    first: nn.Conv2d, blocks: list[ResidualBlock], readers: list[nn.Conv2d], peaks: dict[nn.Module, Tensor]
) -> None:
    """Evens out the sum that residual blocks add to: all that write to it share its factors."""
    largest = torch.stack([peaks[first], *(peaks[block] for block in blocks)]).amax(0)
    factors = _even(first, [*(block.conv1 for block in blocks), *readers], largest)
    for block in blocks:
        _multiply(block.conv2, factors)


def _even(writer: nn.Conv2d, readers: list[nn.Conv2d], peaks: Tensor) -> Tensor:
    """Multiplies the channels of a layer by factors, and divides the weights that read them by the same.

    Args:
        writer: computes the channels.
        readers: use them, as their first input channels.
        peaks: [channels] float32, the largest magnitude of each.

    Returns:
        [channels] float32, the factors.
    """
    channels = len(peaks)
    weights = torch.stack([reader.weight[:, :channels].abs().amax((0, 2, 3)) for reader in readers]).amax(0)
    factors = _at_least(weights) ** (1 - _SHARE) / _at_least(peaks) ** _SHARE
    factors = factors / factors.log().mean().exp()
    _multiply(writer, factors)
    for reader in readers:
        reader.weight[:, :channels] /= factors[None, :, None, None]
    return factors


def _at_least(ranges: Tensor) -> Tensor:
    """The ranges of channels, the smallest ones raised; all equal where no channel has any."""
    largest = float(ranges.max())
    return ranges.clamp_min(_SMALLEST * largest) if largest > 0 else torch.ones_like(ranges)


def _multiply(writer: nn.Conv2d, factors: Tensor) -> None:
    writer.weight *= factors[:, None, None, None]
    if writer.bias is not None:
        writer.bias *= factors


def _peaks(network: EnhancementNetwork, pictures: Sequence[Picture]) -> dict[nn.Module, Tensor]:
    """Returns the largest magnitude of each channel that layers and blocks give for some pictures."""
    peaks: dict[nn.Module, Tensor] = {}

    def watch(module: nn.Module, _: object, output: Tensor) -> None:
        largest = output.abs().amax((0, 2, 3))
        peaks[module] = torch.maximum(peaks[module], largest) if module in peaks else largest

    watched = (nn.Conv2d, ResidualBlock)
    modules = [network.PPM1, *(module for module in network.modules() if isinstance(module, watched))]
    hooks = [module.register_forward_hook(watch) for module in modules]
    for picture in pictures:
        values = picture.astype(np.float32) / np.float32(255)
        network(torch.from_numpy(values).permute(2, 0, 1)[None])
    for hook in hooks:
        hook.remove()
    return peaks


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
