"""Data-parallel training under `torchrun`: the rank of this process, and means over all processes.

The network has a quarter of a million parameters, so one flat sum of gradients per step is enough.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Processes:
    """The group of processes of a run, and the place of this process in it.

    Attributes:
        rank: the number of this process; the process 0 writes the files.
        world: the number of processes.
        local_rank: the number of this process among those on its machine, which is also its GPU's number.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces gradients by their mean over all processes."""
        if self.world == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.world
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def average(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Mean of each value over all processes, so that all of them decide by the same numbers."""
        stacked = torch.stack([value.detach().double() for value in values.values()])
        if self.world > 1:
            distributed.all_reduce(stacked)
            stacked /= self.world
        return dict(zip(values, stacked.tolist(), strict=True))

    def agree(self, module: nn.Module) -> None:
        """Gives every process the leader's parameters and buffers."""
        if self.world > 1:
            for value in module.state_dict().values():
                distributed.broadcast(value, 0)

    def any(self, here: bool, device: torch.device) -> bool:
        """Whether a condition holds in at least one process.

        Args:
            here: whether it holds in this one.
            device: the device of this process, for the exchange.
        """
        if self.world == 1:
            return here
        flag = torch.tensor([float(here)], device=device)
        distributed.all_reduce(flag)
        return bool(flag.item() > 0)


def join_processes(device: str) -> Processes:
    """Joins the group of processes that `torchrun` announces in the environment, if there is one.

    Args:
        device: type of the device: processes exchange tensors by gloo on a "cpu", and by NCCL on others where
            torch has it, which it has not on Windows.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Processes()
    if not distributed.is_initialized():
        by_nccl = device != "cpu" and distributed.is_nccl_available()
        distributed.init_process_group("nccl" if by_nccl else "gloo")
    return Processes(int(os.environ["RANK"]), world, int(os.environ.get("LOCAL_RANK", "0")))


def leave_processes() -> None:
    """Leaves the group of processes, if there is one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
