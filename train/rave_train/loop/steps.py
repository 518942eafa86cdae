"""The two kinds of steps of a run: those that train the guidance, and those that train the network by it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rave_train.data.batches import draw_batches
from rave_train.errors import ConfigError, TrainingError
from rave_train.guidance.guidance import RANKING_SCALE, PairGuidance
from rave_train.guidance.objective import Objective, luma_error
from rave_train.guidance.options import PairOptions
from rave_train.guidance.refinement import ViewBank, embed_views, pair_loss, separation
from rave_train.loop.config import RunConfig
from rave_train.loop.distributed import Processes
from rave_train.loop.events import Listener, Note, Work
from rave_train.loop.ingredients import Ingredients
from rave_train.loop.run_folder import RunFolder
from rave_train.loop.schedule import Position
from rave_train.loop.snapshots import network_of, save_guidance
from rave_train.loop.state import TrainingState
from rave_train.network import EnhancementNetwork, relight


class Steps(Protocol):
    """What `train` does at every step of a phase, and at both ends of the phase."""

    def enter(self, position: Position) -> None:
        """Prepares the phase that begins, or goes on after a resume, at `position`."""

    def step(self, position: Position) -> dict[str, Tensor]:
        """Does one step; returns the total "loss" and its terms, [] each."""

    def leave(self, position: Position) -> None:
        """Ends the phase whose last step was at `position`."""

    def close(self) -> None:
        """Ends helper processes, if there are any."""


class LearnGuidance:
    """Steps of a guidance that learns a pair of points; the network does not change.

    Args:
        config: the config of the run.
        options: the options of the pair; the same as the config's.
        guidance: the pair; the same object as the state's.
        optimizer: the optimizer of the pair; the same object as the state's.
        ingredients: pictures and encoders.
        state: the state of the run.
        processes: the processes of the run.
        device: where to compute.
        listen: told of the progress.
    """

    def __init__(
        self, config: RunConfig, options: PairOptions, guidance: PairGuidance,
        optimizer: torch.optim.Optimizer, ingredients: Ingredients, state: TrainingState,
        processes: Processes, device: torch.device, listen: Listener,
    ) -> None:  # fmt: skip
        self.config, self.options = config, options
        self.ingredients, self.state = ingredients, state
        self.guidance, self.optimizer = guidance, optimizer
        self.processes, self.device, self.listen = processes, device, listen

    def enter(self, position: Position) -> None:
        """Embeds the views that the pair learns from; a refinement needs enhanced ones as well."""
        earlier = [self.state.older_best, self.state.best] if position.phase == "refine" else []
        networks = [
            network_of(self.state.network, weights, self.device) for weights in earlier if weights is not None
        ]
        self.bank = ViewBank(
            backlit=self._embed(position, 0, None),
            enhanced=tuple(self._embed(position, 0, network) for network in networks),
            well_lit=self._embed(position, 1, None),
        )

    def step(self, position: Position) -> dict[str, Tensor]:
        """Does one step of the pair; returns its loss."""
        rng = np.random.default_rng([self.config.seed, 4, position.total])
        loss = pair_loss(self.bank, self.guidance.pair(), self.options.guidance_batch, rng)
        loss = loss * (RANKING_SCALE if self.bank.enhanced else 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return {"loss": loss}

    def leave(self, position: Position) -> None:
        """Makes the pair the same in all processes, and reports how well it tells the two sets apart."""
        self.processes.agree(self.guidance)
        backlit, well_lit = separation(self.bank, self.guidance.pair())
        self.listen(Note(describe_separation(backlit, well_lit)))
        if position.phase == "refine":
            self.state.begin_round()

    def close(self) -> None:
        """Does nothing, since these steps have no helper processes."""

    def _embed(self, position: Position, role: int, network: EnhancementNetwork | None) -> Tensor:
        phase = 0 if position.phase == "initialize" else position.round + 1
        return embed_views(
            self.ingredients.guidance_encoder, self.ingredients.views[role], self.options.views,
            (self.config.seed, 3, phase, role), self.device, network,
            lambda *progress: self.listen(Work(*progress)),
        )  # fmt: skip


class TrainNetwork:
    """Steps of the enhancement network; the guidance does not change.

    Args:
        config: the config of the run.
        ingredients: pictures and encoders.
        state: the state of the run.
        run: the folder into which the guidance is written.
        processes: the processes of the run.
        device: where to compute.
        precision: the precision of the convolutions.

    Raises:
        ConfigError: the batch does not divide among the processes.
    """

    def __init__(
        self, config: RunConfig, ingredients: Ingredients, state: TrainingState, run: RunFolder,
        processes: Processes, device: torch.device, precision: torch.dtype,
    ) -> None:  # fmt: skip
        self.config, self.ingredients, self.state, self.run = config, ingredients, state, run
        self.processes, self.device, self.precision = processes, device, precision
        self.share = pictures_per_pass(config, processes)
        workers = config.workers if config.workers is not None else (4 if device.type == "cuda" else 0)
        self.batches = draw_batches(
            ingredients.pictures, state.position.drawn, config.network.batch, processes.rank,
            processes.world, workers,
        )  # fmt: skip
        self.network = torch.compile(state.network) if config.compile else state.network

    def enter(self, position: Position) -> None:
        """Builds the objective with the guidance as it is now, and writes the guidance."""
        del position
        network = self.config.network
        self.objective = Objective(
            self.ingredients.guidance_encoder, self.ingredients.identity_encoder,
            self.state.guidance.fixed_loss(), self.config.options.guidance_weight, network.identity_weight,
            network.pixel_loss, self.precision, self.ingredients.identity_scale,
        )  # fmt: skip
        if self.processes.leads:
            save_guidance(self.run.guidance_file, self.state.guidance)

    def step(self, position: Position) -> dict[str, Tensor]:
        """Does one step of the network.

        Returns:
            The losses, "flat" (share of pictures without any middle tones), and in the warm-up
            "luma error" (mean squared error between input and output). Means of all of them over parts of a
            batch, or over processes, are those of the whole batch.

        Raises:
            TrainingError: the device has not enough memory.
        """
        try:
            return self._step(position)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"the GPU's memory is too small for {self.share} pictures of "
                f"{self.config.network.size_px} px: give --accumulate 2 or more, a smaller --batch, "
                "or a smaller --size-px"
            ) from error

    def _step(self, position: Position) -> dict[str, Tensor]:
        """Does what `step` says, whatever memory that takes."""
        backlit, truth = (side.to(self.device, non_blocking=True) for side in next(self.batches))
        backlit = backlit.contiguous(memory_format=torch.channels_last)
        self.state.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        parts = zip(torch.split(backlit, self.share), torch.split(truth, self.share), strict=True)
        for part, part_truth in parts:
            terms = self._accumulate(part, part_truth, position.phase == "warm-up")
            for name, value in terms.items():
                share = value.detach() / self.config.network.accumulate
                sums[name] = sums[name] + share if name in sums else share
        self.processes.average_gradients(self.state.network.parameters())
        self.state.scaler.step(self.state.optimizer)
        self.state.scaler.update()
        return sums

    def leave(self, position: Position) -> None:
        """Does nothing, since nothing is due at the end of a phase."""

    def close(self) -> None:
        """Ends the processes that decode pictures."""
        self.batches.close()

    def _accumulate(self, backlit: Tensor, truth: Tensor, warm_up: bool) -> dict[str, Tensor]:
        """Adds the gradients of a part of the batch to those of the parts before; returns its terms."""
        low = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=low):
            light = self.network(backlit)
        terms = self.objective.losses(backlit, light.float(), truth, warm_up)
        loss = self.state.scaler.scale(terms["loss"] / self.config.network.accumulate)
        loss.backward()  # type: ignore[no-untyped-call]
        enhanced = relight(backlit, light.detach().float())
        terms["flat"] = share_of_flat(backlit, enhanced)
        if warm_up:
            terms["luma error"] = luma_error(backlit, enhanced)
        return terms


def describe_separation(backlit: float, well_lit: float) -> str:
    """Says how well a pair tells backlit from well-lit pictures, and what to do where it does not.

    Args:
        backlit: mean backlit score of the backlit pictures, in [0, 1].
        well_lit: that of the well-lit pictures.
    """
    scores = (
        f"the guidance scores how backlit pictures look, from 0 to 1: backlit ones {backlit:.3f}, "
        f"well-lit ones {well_lit:.3f}"
    )
    if backlit > well_lit:
        return f"{scores} (the first should be higher)"
    return (
        f"{scores}. It points the wrong way, since the first should be higher: begin a new run with more "
        "--initialize-steps or a higher --guidance-learning-rate"
    )


def share_of_flat(backlit: Tensor, enhanced: Tensor) -> Tensor:
    """Share of pictures that have middle tones, of which the enhancement left almost none.

    A value in (0.02, 0.98) is a middle tone. Pictures count that had over 10 % of them and keep under 1 %.

    Args:
        backlit: [n, 3, h, w] in [0, 1].
        enhanced: the same pictures enhanced, in the same shape.

    Returns:
        [] from 0 to 1.
    """
    before, after = (
        ((pictures > 0.02) & (pictures < 0.98)).flatten(1).float().mean(1) for pictures in (backlit, enhanced)
    )
    return ((after < 0.01) & (before > 0.1)).float().mean()


def pictures_per_pass(config: RunConfig, processes: Processes) -> int:
    """How many pictures one process works through at once.

    Raises:
        ConfigError: the batch does not divide among the processes and the accumulated parts.
    """
    parts = processes.world * config.network.accumulate
    if config.network.batch % parts:
        raise ConfigError(
            f"a batch of {config.network.batch} does not divide into {processes.world} processes times "
            f"{config.network.accumulate} accumulated parts: choose a multiple of {parts}"
        )
    return config.network.batch // parts
