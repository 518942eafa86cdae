"""Rounds a network's features during training as INT8 graphs will round them."""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from rave_train.network import EnhancementNetwork

_DECAY: Final = 0.998
"""Factor of the ranges of quantization in each step: the network may learn to need smaller ones."""


class FakeQuantization:
    """Rounds to eight bits all that INT8 graphs round; gradients pass as if nothing were rounded.

    That is the input and the output of every 3x3 convolution, except the first and the last, which stay
    float32 in the exported graphs, as do the pooled grids that PPM's convolution reads. Ranges are the widest
    seen, as calibration takes them, with some room.

    Args:
        network: the network, in whose convolutions the rounding is put.
        headroom: factor of the widest values seen.

    Sources: Jacob et al., Quantization and Training of Neural Networks, 2018, section 3; for `spread`,
    Kundu et al., R2 Loss: Range Restriction Loss for Model Compression and Quantization, 2023, its L-inf.
    """

    def __init__(self, network: EnhancementNetwork, headroom: float = 1.1) -> None:
        self._headroom = headroom
        self._pooled_from = {"PPM1.fuse.0": network.channels}
        self._ranges: dict[tuple[str, bool], Tensor] = {}
        self._peaks: list[Tensor] = []
        spared = (network.cond1, network.cond_add1)
        self._handles = []
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module not in spared:
                self._handles += [
                    module.register_forward_pre_hook(partial(self._round_input, name)),
                    module.register_forward_hook(partial(self._round_output, name)),
                ]

    def spread(self) -> Tensor:
        """Returns the largest magnitude since the last call, mean over what is rounded: [] with gradient."""
        peaks, self._peaks = self._peaks, []
        return torch.stack(peaks).mean()

    def remove(self) -> None:
        """Takes the rounding off again."""
        for handle in self._handles:
            handle.remove()

    def _round_input(self, name: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = inputs[0]
        if (start := self._pooled_from.get(name)) is None:
            return (self._round((name, False), x),)
        return (torch.cat([self._round((name, False), x[:, :start]), x[:, start:]], 1),)

    def _round_output(
        self, name: str, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor
    ) -> Tensor:
        return self._round((name, True), output)

    def _round(self, place: tuple[str, bool], x: Tensor) -> Tensor:
        lowest, highest = x.amin(), x.amax()
        self._peaks.append(torch.maximum(-lowest, highest).float())
        # Tensors throughout: reading a number would wait for a GPU.
        seen = torch.stack([-lowest, highest]).detach().float() * self._headroom
        # Ranges shrink slowly, since the widest values move with the weights.
        ranges = self._ranges.get(place)
        ranges = seen if ranges is None else torch.maximum(seen, ranges * _DECAY)
        self._ranges[place] = ranges = ranges.clamp_min(0)
        step = (ranges.sum() / 255).clamp_min(1e-8)
        zero_point = (ranges[0] / step).round().to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x.float(), step, zero_point, 0, 255).to(x.dtype)
