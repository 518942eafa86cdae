"""The training loop: one for all methods, from the first step to the last."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from rave_train.errors import ConfigError, TrainingError
from rave_train.fingerprint import hash_weights
from rave_train.guidance.guidance import PairGuidance
from rave_train.guidance.options import PairOptions
from rave_train.loop.config import RunConfig
from rave_train.loop.device import pick_device, pick_precision, precision_name
from rave_train.loop.distributed import Processes, join_processes, leave_processes
from rave_train.loop.events import Listener, Note, Step, ignore
from rave_train.loop.ingredients import Ingredients, gather
from rave_train.loop.losses_log import LossesLog
from rave_train.loop.run_folder import RunFolder
from rave_train.loop.schedule import BEST_EVERY_STEPS, Phase, Position, advance, lengthen
from rave_train.loop.snapshots import end_epoch, save_network
from rave_train.loop.state import TrainingState, new_network, new_optimizer, new_state
from rave_train.loop.steps import LearnGuidance, Steps, TrainNetwork, pictures_per_pass
from rave_train.network import EnhancementNetwork

COLLAPSE_CHECK_STEPS: Final = 100
"""After so many warm-up steps the output must resemble the input."""

COLLAPSE_PSNR_DB: Final = 8.0
"""Below this the network is drawn anew."""

MOST_ATTEMPTS: Final = 20
EPOCH_LEAST_STEPS: Final = 100
"""An epoch is as many passes over the pictures as reach this, so that small sets do not drown in grids."""


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
        finished: False where it was asked to stop; the run can be resumed.
        steps: done in the whole run.
        best: the checkpoint to use.
        psnr_db: of the best checkpoint on the validation pictures, or None without them.
    """

    finished: bool
    steps: int
    best: Path
    psnr_db: float | None


def train(
    config: RunConfig,
    folder: Path,
    *,
    resume: bool = False,
    listen: Listener = ignore,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Trains an enhancement network.

    Args:
        config: what to train; of a resumed run, its own.
        folder: of the run.
        resume: go on from the folder's saved state instead of beginning.
        listen: told of everything worth showing.
        should_stop: asked after every step; True saves the state and ends the call.

    Raises:
        TrainError: options, data, encoders or the folder are not what is needed (each with its own
            subclass); before the first step wherever that can be known.
        TrainingError: the network collapses again and again, or a loss is not finite.
    """
    config.check()
    run, schedule = RunFolder(folder), config.schedule()
    device = pick_device(config.device)
    processes = join_processes(device.type)
    if device.type == "cuda":
        device = torch.device("cuda", processes.local_rank)
    pictures_per_pass(config, processes)
    listen = listen if processes.leads else ignore
    ingredients, state, precision = _prepare(config, run, resume, device, processes, listen)
    log = LossesLog(folder, state.position.total) if processes.leads else None
    epoch_steps = config.epoch_steps or _epoch_steps(len(ingredients.pictures), config.network.batch)
    kinds: dict[bool, Steps] = {
        False: TrainNetwork(config, ingredients, state, run, processes, device, precision)
    }
    pair = _pair_of(config, state)
    if pair is not None:
        kinds[True] = LearnGuidance(config, *pair, ingredients, state, processes, device, listen)
    entered: tuple[Phase, int] | None = None
    finished = True

    while state.position.phase != "done":
        position = state.position
        steps = kinds[position.learns_guidance]
        started = time.perf_counter()
        if entered != (position.phase, position.round):
            entered = (position.phase, position.round)
            steps.enter(position)
        parts = steps.step(position)

        # What it amounts to, the same numbers in every process.
        losses = processes.average({name: value.to(device) for name, value in parts.items()})
        if not np.isfinite(losses["loss"]):
            raise TrainingError(
                f"the loss is {losses['loss']} at step {position.total}: begin a new run with a lower "
                "learning rate or with --precision fp32"
            )
        state.note(losses["loss"], losses.pop("psnr", None))
        if log is not None:
            log.log(position, losses, state.running_loss, time.perf_counter() - started)
            listen(Step(position, max(schedule.total(), position.total + 1), losses, state.running_loss))
        position = _check_collapse(config, state, position, listen)
        state.position = advance(schedule, position, state.running_loss)
        leaves = (state.position.phase, state.position.round) != entered

        # Keeping the best of the round.
        if position.phase == "enhance" and (leaves or (position.step + 1) % BEST_EVERY_STEPS == 0):
            is_best = state.keep_if_best()
            if is_best and processes.leads and not ingredients.shown.held_out:
                save_network(config, state, run, ingredients, "best")
        if leaves:
            state.recent = []
            steps.leave(position)

        # Once per epoch, and at the end: pictures, validation, checkpoints.
        ends = state.position.phase == "done"
        if not position.learns_guidance and (state.position.drawn % epoch_steps == 0 or ends):
            end_epoch(config, state, run, ingredients, log, device)
        stops = processes.any(should_stop(), device)
        if processes.leads and (state.position.total % config.save_every == 0 or ends or stops):
            state.save(run.state_file)
        if stops and not ends:
            finished = False
            break

    if log is not None:
        log.close()
    leave_processes()
    psnr_db = state.best_psnr if ingredients.shown.held_out and finished else None
    return Outcome(finished, state.position.total, run.checkpoint_file("best"), psnr_db)


def _prepare(
    config: RunConfig, run: RunFolder, resume: bool, device: torch.device, processes: Processes,
    listen: Listener,
) -> tuple[Ingredients, TrainingState, torch.dtype]:  # fmt: skip
    """Gathers a run's ingredients and its state, saved or new, alike in every process.

    A resumed run keeps the precision it began with, whatever "auto" would mean on this machine, and the
    kind of its network, whatever has become of the weights that it went on from.
    """
    known = run.made_of() if resume else {}
    precision = pick_precision(known.get("precision", config.precision), device)
    first = (
        EnhancementNetwork(known["channels"], known["padding"]).to(memory_format=torch.channels_last)
        if "channels" in known
        else new_network(config, attempt=0)
    )
    if processes.leads and not resume:
        run.require_free()
    ingredients = gather(config, device, listen)
    kept = {"precision": precision_name(precision), "channels": first.channels, "padding": first.padding}
    if config.network.init_from is not None:
        kept["first_weights"] = known.get("first_weights") or hash_weights(first)
    ingredients.made_of.update(kept)
    state = new_state(config, first, ingredients.guidance, device, precision)
    if resume:
        _require_same({**kept, **known}, ingredients.made_of, run.folder)
        state.load(run.state_file)
    elif processes.leads:
        run.create()
        config.write(run.config_file)
        run.describe(ingredients.made_of, ingredients.data.report)
        state.save(run.state_file)
    processes.agree(state.network)
    processes.agree(state.guidance)
    return ingredients, state, precision


def _pair_of(
    config: RunConfig, state: TrainingState
) -> tuple[PairOptions, PairGuidance, torch.optim.Optimizer] | None:
    """What a guidance that learns consists of; None for one that does not learn."""
    options, guidance, optimizer = config.options, state.guidance, state.guidance_optimizer
    if isinstance(options, PairOptions) and isinstance(guidance, PairGuidance) and optimizer is not None:
        return options, guidance, optimizer
    return None


def _check_collapse(
    config: RunConfig, state: TrainingState, position: Position, listen: Listener
) -> Position:
    """A network that collapses in the warm-up is drawn anew, and has its whole warm-up again."""
    every = min(COLLAPSE_CHECK_STEPS, config.network.warm_up_steps)
    fresh = position.phase == "warm-up" and config.network.init_from is None
    if not fresh or (position.step + 1) % every or not state.recent_psnr:
        return position
    seen_db = sum(state.recent_psnr) / len(state.recent_psnr)
    if seen_db >= COLLAPSE_PSNR_DB:
        return position
    _begin_anew(config, state)
    listen(Note(f"input and output at {seen_db:.1f} dB in the warm-up: beginning anew"))
    return lengthen(position, position.step + 1 + config.network.warm_up_steps - position.length)


def _epoch_steps(pictures: int, batch: int) -> int:
    one_pass = max(1, -(-pictures // batch))
    return one_pass * -(-EPOCH_LEAST_STEPS // one_pass)


def _begin_anew(config: RunConfig, state: TrainingState) -> None:
    """Draws the network anew: new seed, new optimiser."""
    state.attempt += 1
    if state.attempt >= MOST_ATTEMPTS:
        raise TrainingError(
            f"{state.attempt} networks in a row collapsed in the warm-up: give --light-bias 0.7, "
            "which starts the illumination map near the identity, or a higher learning rate"
        )
    with torch.no_grad():
        fresh = new_network(config, state.attempt).state_dict()
        for name, value in state.network.state_dict().items():
            value.copy_(fresh[name])
    state.optimizer = new_optimizer(config, state.network)
    state.recent, state.recent_psnr = [], []


def _require_same(written: dict[str, Any], found: dict[str, Any], folder: Path) -> None:
    """A run goes on only with the pictures and encoders it began with."""
    other = [name for name, value in found.items() if written.get(name) != value]
    if other:
        raise ConfigError(
            f"{folder} was begun with other {', '.join(other)}: bring the same data and encoders back, "
            "or begin a new run"
        )
