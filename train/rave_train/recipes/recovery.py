"""Brings a network back whose training diverged: with some seeds a recipe's learning rate is too high."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rave_train.errors import TrainingError

_LOOK_EVERY: Final = 10
"""Steps between two looks at the loss, since on a GPU each look waits for the device."""

_RISE: Final = 0.2
"""Rise of the smoothed loss above its least value that only a diverging network shows; noise makes 0.05."""

_MOST: Final = 4
"""How often a cycle may diverge before the run ends."""


class Recovery:
    """Watches the loss of a cycle, and goes back to the average of the weights when it rises too much.

    The learning rate is half as high from then on. Without it, such a network soon gives no light anywhere,
    and a rectifier that gives nothing has no gradient with which to recover. Runs that do not diverge are
    not changed.

    Args:
        network: the network in training.
        average: the moving average of its weights, which has hardly seen the steps that went wrong.
        optimizer: the optimizer of a cycle, with the settings of `OneCycleLR` in its groups.
    """

    def __init__(self, network: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer) -> None:
        self._network = network
        self._average = average
        self._optimizer = optimizer
        self._least = float("inf")
        self._count = 0

    def check(self, step: int, smoothed_loss: Tensor) -> bool:
        """Looks at the loss, and takes the network back if it diverged.

        Args:
            step: number of the step that was taken, from 1.
            smoothed_loss: [], a moving average of the loss.

        Returns:
            Whether the network was taken back; the average of the loss should begin anew then.

        Raises:
            TrainingError: it diverged too often.
        """
        if step > 1 and step % _LOOK_EVERY:
            return False
        loss = float(smoothed_loss)
        self._least = min(self._least, loss)
        if loss <= self._least + _RISE:
            return False
        self._count += 1
        if self._count > _MOST:
            raise TrainingError(
                f"the training diverged {self._count} times by step {step}, although the learning rate was "
                "halved each time: use a lower --learning-rate or another --seed"
            )
        self._network.load_state_dict(self._average.module.state_dict())
        self._optimizer.state.clear()
        for group in self._optimizer.param_groups:
            for rate in ("lr", "initial_lr", "max_lr", "min_lr"):
                group[rate] *= 0.5
        return True
