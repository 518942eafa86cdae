"""Notices that a network has collapsed: in the warm-up it is drawn anew, later the run ends with an error."""

from __future__ import annotations

from collections import deque
from typing import Final

import torch

from rave_train.errors import TrainingError
from rave_train.loop.config import NetworkOptions, RunConfig
from rave_train.loop.events import Listener, Note, Work
from rave_train.loop.schedule import RUNNING_LOSS_STEPS, Position, lengthen
from rave_train.loop.state import TrainingState, new_network, new_optimizer

CHECK_STEPS: Final = 100
"""Steps between two checks of the output in the warm-up; upstream checks once, after as many steps."""

MIN_PSNR_DB: Final = 8.0
"""Least PSNR between output and input in the warm-up; below it upstream draws a new network, too."""

MAX_FLAT_SHARE: Final = 0.9
"""Largest mean share of pictures without any middle tones, which give no gradient to learn from."""

MAX_ATTEMPTS: Final = 20
"""Networks that are drawn before the run ends with an error."""

SAFE_LIGHT_BIAS: Final = 0.7
"""Level of the first illumination map with which networks hardly ever collapse in the warm-up."""

_DRAWING: Final = "networks that collapsed"
"""What the counter of networks that were drawn counts."""


class CollapseWatch:
    """Checks the network of a run after every step.

    Args:
        config: the config of the run.
        state: the state of the run; its network is drawn anew in place.
        listen: told whenever the network is drawn anew.
    """

    def __init__(self, config: RunConfig, state: TrainingState, listen: Listener) -> None:
        self.config, self.state, self.listen = config, state, listen
        self.flat_shares: deque[float] = deque(maxlen=RUNNING_LOSS_STEPS)
        self._draws = 0

    def check(self, position: Position, flat: float) -> Position:
        """Checks the network after a step.

        Args:
            position: the position of the step just done.
            flat: share of its pictures without any middle tones.

        Returns:
            The same position; in a longer warm-up where the network was drawn anew.

        Raises:
            TrainingError: too many networks collapsed in the warm-up, or one collapsed after it.
        """
        self.flat_shares.append(flat)
        mean_flat = sum(self.flat_shares) / len(self.flat_shares)
        is_full = len(self.flat_shares) == RUNNING_LOSS_STEPS
        if position.phase == "enhance" and is_full and mean_flat > MAX_FLAT_SHARE:
            raise TrainingError(
                f"the network collapsed by step {position.total}: its pictures have no middle tones left. "
                f"{advice(self.config.network)}"
            )
        if position.phase != "warm-up" and self._draws:
            self.listen(Note(f"network {self.state.attempt + 1} went through the warm-up"))
            self.listen(Work(_DRAWING, MAX_ATTEMPTS, MAX_ATTEMPTS))
            self._draws = 0
        if position.phase != "warm-up" or self.config.network.init_from is not None:
            return position
        every = min(CHECK_STEPS, self.config.network.warm_up_steps)
        recent = self.state.recent_psnr
        if (position.step + 1) % every or not recent or sum(recent) / len(recent) >= MIN_PSNR_DB:
            return position
        self._begin_anew()
        agreement_db = sum(recent) / len(recent)
        line = (
            f"input and output agree to only {agreement_db:.1f} dB in the warm-up: "
            f"the run starts again with a new network, {MAX_ATTEMPTS - 1} times at most"
        )
        if not self._draws:
            self.listen(Note(line))
        self._draws += 1
        self.listen(Work(_DRAWING, self.state.attempt, MAX_ATTEMPTS))
        return lengthen(position, position.step + 1 + self.config.network.warm_up_steps - position.length)

    def _begin_anew(self) -> None:
        """Draws the network anew, with another seed and a new optimiser."""
        state = self.state
        state.attempt += 1
        if state.attempt >= MAX_ATTEMPTS:
            raise TrainingError(
                f"{state.attempt} networks in a row collapsed in the warm-up. {advice(self.config.network)}"
            )
        with torch.no_grad():
            fresh = new_network(self.config, state.attempt).state_dict()
            for name, value in state.network.state_dict().items():
                value.copy_(fresh[name])
        state.optimizer = new_optimizer(self.config, state.network)
        state.recent, state.recent_psnr = [], []
        self.flat_shares.clear()


def advice(network: NetworkOptions) -> str:
    """What to change after a network has collapsed, as a sentence; the run itself cannot go on."""
    published = NetworkOptions().learning_rate
    if network.learning_rate > published:
        change = f"a lower --learning-rate: {network.learning_rate:g} is above the published {published:g}"
    elif network.init_from is None and network.light_bias != SAFE_LIGHT_BIAS:
        change = f"--light-bias {SAFE_LIGHT_BIAS}, which starts the illumination map near the identity"
    else:
        change = f"a lower --learning-rate than {network.learning_rate:g}"
    return f"Begin a new run, in another --out, with {change}"
