"""The training loop, which is the same for all methods."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from rave_train.errors import TrainingError
from rave_train.guidance.guidance import PairGuidance
from rave_train.guidance.options import PairOptions
from rave_train.loop.collapse import CollapseWatch
from rave_train.loop.config import RunConfig
from rave_train.loop.device import gpu_of, pick_device
from rave_train.loop.distributed import join_processes, leave_processes
from rave_train.loop.events import Listener, Note, Step, ignore
from rave_train.loop.losses_log import LossesLog
from rave_train.loop.preparation import prepare
from rave_train.loop.run_folder import RunFolder
from rave_train.loop.schedule import (
    BEST_EVERY_STEPS,
    Phase,
    Position,
    advance,
    describe_extension,
    expected_total,
    reopen,
)
from rave_train.loop.snapshots import end_epoch, save_network
from rave_train.loop.state import TrainingState, read_state
from rave_train.loop.steps import LearnGuidance, Steps, TrainNetwork, pictures_per_pass
from rave_train.measure.metrics import psnr_of

EPOCH_LEAST_STEPS: Final = 100
"""Least length of an epoch, so that a small set does not get a grid of pictures every few steps."""


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
        finished: whether the run has done all its steps; one that was stopped can be resumed.
        steps: steps done in the whole run.
        best: the file of the checkpoint to use.
        input_psnr_db: mean PSNR of the validation pictures as they are, or None without such pictures.
        psnr_db: mean PSNR of the validation pictures enhanced by the best checkpoint, or None.
        last_psnr_db: mean PSNR of the validation pictures enhanced by the last checkpoint, or None.
    """

    finished: bool
    steps: int
    best: Path
    input_psnr_db: float | None = None
    psnr_db: float | None = None
    last_psnr_db: float | None = None


def train(
    config: RunConfig,
    folder: Path,
    *,
    resume: bool = False,
    lengthen_by: int = 0,
    listen: Listener = ignore,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Trains an enhancement network.

    Args:
        config: what to train; for a resumed run, the config that it began with.
        folder: the folder of the run.
        resume: go on from the folder's saved state instead of beginning.
        lengthen_by: enhancement steps to add to a finished run.
        listen: told of everything worth showing.
        should_stop: asked after every step; True saves the state and the network as it is, and ends the call.

    Raises:
        TrainError: options, data, encoders or the folder are not what is needed, each with another
            subclass; raised before the first step wherever that can be known.
        TrainingError: the network collapses again and again, a loss is not finite, or the device has too
            little memory.
    """
    run = RunFolder(folder)
    try:
        return _train(config, run, resume, lengthen_by, listen, should_stop)
    finally:
        run.release()


def _train(
    config: RunConfig, run: RunFolder, resume: bool, lengthen_by: int, listen: Listener,
    should_stop: Callable[[], bool],
) -> Outcome:  # fmt: skip
    """Does what `train` says."""
    config.check()
    schedule = config.schedule()
    if resume:
        run.require_sound()
    device = pick_device(config.device)
    processes = join_processes(device.type)
    if device.type == "cuda":
        device = gpu_of(processes.local_rank)
    pictures_per_pass(config, processes)
    listen = listen if processes.leads else ignore
    ingredients, state, precision = prepare(config, run, resume, device, processes, listen)
    if lengthen_by:
        state.position = reopen(schedule, state.position, lengthen_by)
    log = LossesLog(run.folder, state.position.total) if processes.leads else None
    epoch_steps = config.epoch_steps or _epoch_steps(len(ingredients.pictures), config.network.batch)
    kinds: dict[bool, Steps] = {
        False: TrainNetwork(config, ingredients, state, run, processes, device, precision)
    }
    pair = _pair_of(config, state)
    if pair is not None:
        kinds[True] = LearnGuidance(config, *pair, ingredients, state, processes, device, listen)
    watch = CollapseWatch(config, state, listen)
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

        # The losses of the step, averaged so that every process has the same numbers.
        losses = processes.average({name: value.to(device) for name, value in parts.items()})
        with run.remember_failure(processes.leads):
            _require_finite(losses["loss"], position)
        luma_error = losses.pop("luma error", None)
        state.note(losses["loss"], None if luma_error is None else psnr_of(luma_error))
        flat = losses.pop("flat", 0.0)
        if log is not None:
            log.log(position, losses, state.running_loss, time.perf_counter() - started)
            listen(Step(position, expected_total(schedule, position), losses, state.running_loss))
        with run.remember_failure(processes.leads):
            position = watch.check(position, flat)
        state.position = advance(schedule, position, state.running_loss)
        extended = describe_extension(schedule, position, state.position, state.running_loss)
        if extended is not None:
            listen(Note(extended))
        leaves = (state.position.phase, state.position.round) != entered

        # The best weights of the round are kept.
        if position.phase == "enhance" and (leaves or (position.step + 1) % BEST_EVERY_STEPS == 0):
            is_best = state.keep_if_best()
            if is_best and processes.leads and not ingredients.shown.held_out:
                save_network(config, state, run, ingredients, "best")
        if leaves:
            state.recent = []
            steps.leave(position)

        # Pictures, validation and checkpoints are made once per epoch, and at the end.
        ends = state.position.phase == "done"
        if not position.learns_guidance and (state.position.drawn % epoch_steps == 0 or ends):
            end_epoch(config, state, run, ingredients, log, device)
        stops = processes.any(should_stop(), device)
        if processes.leads and (state.position.total % config.save_every == 0 or ends or stops):
            state.save(run.state_file, config)
        if stops and not ends:
            if processes.leads and state.position.drawn:
                save_network(config, state, run, ingredients, "last")
            finished = False
            break

    for steps in kinds.values():
        steps.close()
    if log is not None:
        log.close()
    leave_processes()
    figures = (state.input_psnr, state.best_psnr, state.last_psnr)
    known = figures if ingredients.shown.held_out and finished else (None, None, None)
    return Outcome(finished, state.position.total, run.checkpoint_file("best"), *known)


def read_outcome(folder: Path) -> Outcome | None:
    """How a finished run ended, from its saved state alone; None where it is not finished.

    Raises:
        StateError: the state cannot be read.
    """
    run = RunFolder(folder)
    content = read_state(run.state_file)
    if content["position"]["phase"] != "done":
        return None
    figures = (content.get("input_psnr"), content["best_psnr"], content.get("last_psnr"))
    known = (None if value is None or math.isinf(value) else value for value in figures)
    return Outcome(True, content["position"]["total"], run.checkpoint_file("best"), *known)


def _require_finite(loss: float, position: Position) -> None:
    """Raises TrainingError unless the loss of a step is a number."""
    if not np.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss} at step {position.total}. Begin a new run, in another --out, with a lower "
            "--learning-rate, or with --precision fp32 where it was another"
        )


def _pair_of(
    config: RunConfig, state: TrainingState
) -> tuple[PairOptions, PairGuidance, torch.optim.Optimizer] | None:
    """Options, pair and optimizer of a guidance that learns; None where the guidance does not learn."""
    options, guidance, optimizer = config.options, state.guidance, state.guidance_optimizer
    if isinstance(options, PairOptions) and isinstance(guidance, PairGuidance) and optimizer is not None:
        return options, guidance, optimizer
    return None


def _epoch_steps(pictures: int, batch: int) -> int:
    """Steps of the fewest whole passes over the pictures that make `EPOCH_LEAST_STEPS`."""
    one_pass = max(1, -(-pictures // batch))
    return one_pass * -(-EPOCH_LEAST_STEPS // one_pass)
