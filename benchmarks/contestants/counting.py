"""Counts parameters and multiply-accumulates without computing anything.

As usual, matrix products, convolutions and attention are counted, and element-wise operations are not. One
multiply-accumulate is two FLOPs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

COUNTED = {
    torch.ops.aten.convolution,
    torch.ops.aten.mm,
    torch.ops.aten.addmm,
    torch.ops.aten.bmm,
    torch.ops.aten.baddbmm,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu,
    torch.ops.aten._scaled_dot_product_efficient_attention,
    torch.ops.aten._scaled_dot_product_flash_attention,
}
"""Operations whose operands and results count as traffic."""


@dataclass(frozen=True)
class Count:
    """What one forward pass of a network needs.

    Attributes:
        parameters: number of trainable parameters.
        macs: multiply-accumulates of matrix products, convolutions and attention.
        traffic_bytes: what `count_traffic` returns.
    """

    parameters: int
    macs: int
    traffic_bytes: int


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters())


def count_macs(run: Callable[..., Any], *inputs: Tensor) -> int:
    """Counts the multiply-accumulates of `run(*inputs)`; with meta tensors nothing is computed."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        run(*inputs)
    return int(counter.get_total_flops()) // 2


def count_traffic(run: Callable[..., Any], *inputs: Tensor) -> int:
    """Counts the bytes that `run(*inputs)` must move.

    Each convolution and product reads its operands and writes its result once, and all else is fused into
    them. A good runtime cannot avoid this traffic unless it keeps whole layers in cache.
    """
    with torch.no_grad(), _Traffic() as traffic:
        run(*inputs)
    total: int = traffic.total
    return total


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of operands and results of the operations in `COUNTED`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in COUNTED:
            values = [*args, *(result if isinstance(result, tuple) else (result,))]
            self.total += sum(t.numel() * t.element_size() for t in values if isinstance(t, Tensor))
        return result


def count_network(build: Callable[[], nn.Module], height: int, width: int, batch: int = 1) -> Count:
    """Counts a network that maps images [n, 3, h, w].

    It is built on the meta device, which takes neither memory nor time.

    Args:
        build: makes the network.
        height: height of the images in pixels; the network must accept it.
        width: width of the images in pixels; the network must accept it.
        batch: number of images.

    Raises:
        ValueError: height, width or batch below 1.
    """
    if min(height, width, batch) < 1:
        raise ValueError(f"the image needs at least one pixel and one picture, got {batch}x{height}x{width}")
    with torch.device("meta"):
        network = build().eval()
        image = torch.empty(batch, 3, height, width)
        macs, traffic = count_macs(network, image), count_traffic(network, image)
        return Count(count_parameters(network), macs, traffic)
