"""The training loop: one for all methods, from the first step to the last."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from rave_train.data.batches import draw_batches
from rave_train.errors import ConfigError, TrainingError
from rave_train.fingerprint import hash_weights
from rave_train.guidance.guidance import RANKING_SCALE, PairGuidance
from rave_train.guidance.objective import Objective, luma_psnr
from rave_train.guidance.options import PairOptions
from rave_train.guidance.refinement import ViewBank, embed_views, pair_loss, separation
from rave_train.loop.config import RunConfig
from rave_train.loop.device import pick_device, pick_precision, precision_name
from rave_train.loop.distributed import Processes, join_processes, leave_processes
from rave_train.loop.events import Listener, Note, Step, Work, ignore
from rave_train.loop.ingredients import Ingredients, gather
from rave_train.loop.losses_log import Journal
from rave_train.loop.run_folder import RunFolder
from rave_train.loop.schedule import BEST_EVERY_STEPS, RUNNING_LOSS_STEPS, advance, lengthen
from rave_train.loop.snapshots import end_epoch, network_of, save_guidance, save_network
from rave_train.loop.state import TrainingState, new_network, new_optimizer, new_state
from rave_train.network import EnhancementNetwork, relight

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
        ValueError: options, data, encoders or the folder are not what is needed (each with its own
            subclass); before the first step wherever that can be known.
        TrainingError: the network collapses again and again, or a loss is not finite.
    """
    config.check()
    run, schedule, options = RunFolder(folder), config.schedule(), config.options
    device = pick_device(config.device)
    processes = join_processes(device.type)
    if device.type == "cuda":
        device = torch.device("cuda", processes.local_rank)
    # A resumed run keeps the precision it began with, whatever "auto" would mean on this machine, and the
    # kind of its network, whatever has become of the weights that it went on from.
    known = run.made_of() if resume else {}
    precision = pick_precision(known.get("precision", config.precision), device)
    first = (
        EnhancementNetwork(known["channels"], known["padding"]).to(memory_format=torch.channels_last)
        if "channels" in known
        else new_network(config, attempt=0)
    )
    share = _share(config, processes)
    listen = listen if processes.leads else ignore
    if processes.leads and not resume:
        run.require_free()
    made = gather(config, device, listen)
    kept = {"precision": precision_name(precision), "channels": first.channels, "padding": first.padding}
    if config.network.init_from is not None:
        kept["first_weights"] = known.get("first_weights") or hash_weights(first)
    made.made_of.update(kept)
    state = new_state(config, first, made.guidance, device, precision)
    if resume:
        _require_same({**kept, **known}, made.made_of, folder)
        state.load(run.state_file)
    elif processes.leads:
        run.create()
        config.write(run.config_file)
        run.describe(made.made_of, made.data.report)
        state.save(run.state_file)
    processes.agree(state.network)
    processes.agree(state.guidance)
    journal = Journal(folder, state.position.total) if processes.leads else None
    workers = config.workers if config.workers is not None else (4 if device.type == "cuda" else 0)
    batches = draw_batches(
        made.pictures, state.position.drawn, config.network.batch, processes.rank, processes.world, workers
    )
    epoch_steps = config.epoch_steps or _epoch_steps(len(made.pictures), config.network.batch)
    network = torch.compile(state.network) if config.compile else state.network
    entered = None
    finished = True

    while state.position.phase != "done":
        position = state.position
        started = time.perf_counter()

        # Entering a phase: embed what the pair learns from, or fix the guidance the network follows.
        if entered != (position.phase, position.round):
            entered = (position.phase, position.round)
            if position.learns_guidance:
                bank = _embed_bank(config, made, state, device, listen)
            else:
                objective = Objective(
                    made.guidance_encoder, made.identity_encoder, state.guidance.fixed_loss(),
                    options.guidance_weight, config.network.identity_weight, config.network.pixel_loss,
                    precision,
                )  # fmt: skip
                if processes.leads:
                    save_guidance(run.guidance_file, state.guidance)

        # One step, of the guidance or of the network.
        if position.learns_guidance:
            assert isinstance(options, PairOptions)
            assert isinstance(state.guidance, PairGuidance)
            assert state.guidance_optimizer is not None
            rng = np.random.default_rng([config.seed, 4, position.total])
            loss = pair_loss(bank, state.guidance.pair(), options.guidance_batch, rng)
            loss = loss * (RANKING_SCALE if bank.enhanced else 1.0)
            state.guidance_optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            state.guidance_optimizer.step()
            parts = {"loss": loss}
        else:
            backlit, truth = (side.to(device, non_blocking=True) for side in next(batches))
            backlit = backlit.contiguous(memory_format=torch.channels_last)
            warm_up = position.phase == "warm-up"
            state.optimizer.zero_grad(set_to_none=True)
            parts = {}
            for part, part_truth in zip(torch.split(backlit, share), torch.split(truth, share), strict=True):
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    light = network(part)
                terms = objective.losses(part, light.float(), part_truth, warm_up)
                part_loss = state.scaler.scale(terms["loss"] / config.network.accumulate)
                part_loss.backward()  # type: ignore[no-untyped-call]
                if warm_up:
                    terms["psnr"] = torch.tensor(luma_psnr(part, relight(part, light.detach().float())))
                for name, value in terms.items():
                    parts[name] = parts.get(name, 0) + value.detach() / config.network.accumulate
            processes.average_gradients(state.network.parameters())
            state.scaler.step(state.optimizer)
            state.scaler.update()

        # What it amounts to, the same numbers in every process.
        losses = processes.average({name: value.to(device) for name, value in parts.items()})
        if not np.isfinite(losses["loss"]):
            raise TrainingError(
                f"the loss is {losses['loss']} at step {position.total}: begin a new run with a lower "
                "learning rate or with --precision fp32"
            )
        state.note(losses["loss"])
        if "psnr" in losses:
            state.recent_psnr = [*state.recent_psnr, losses.pop("psnr")][-RUNNING_LOSS_STEPS:]
        if processes.leads and journal is not None:
            journal.log(position, losses, state.running_loss, time.perf_counter() - started)
            listen(Step(position, max(schedule.total(), position.total + 1), losses, state.running_loss))

        # A network that collapsed in the warm-up is drawn anew, and the warm-up prolonged.
        check = min(COLLAPSE_CHECK_STEPS, config.network.warm_up_steps)
        fresh = position.phase == "warm-up" and config.network.init_from is None
        if fresh and position.step + 1 == check * (state.attempt + 1):
            seen_db = sum(state.recent_psnr) / len(state.recent_psnr)
            if seen_db < COLLAPSE_PSNR_DB:
                _begin_anew(config, state)
                position = lengthen(position, check)
                listen(Note(f"input and output at {seen_db:.1f} dB in the warm-up: beginning anew"))

        state.position = advance(schedule, position, state.running_loss)
        leaves = (state.position.phase, state.position.round) != entered

        # Keeping the best of the round.
        if position.phase == "enhance" and (leaves or (position.step + 1) % BEST_EVERY_STEPS == 0):
            is_best = state.keep_if_best()
            if is_best and processes.leads and not made.shown.held_out:
                save_network(config, state, run, made, "best")
        if leaves:
            state.recent = []
            if position.learns_guidance:
                assert isinstance(state.guidance, PairGuidance)
                processes.agree(state.guidance)
                apart = separation(bank, state.guidance.pair())
                listen(Note(f"backlit pictures score {apart[0]:.3f}, well-lit {apart[1]:.3f}"))
            if position.phase == "refine":
                state.older_best, state.best, state.best_loss = state.best, None, float("inf")

        # Once per epoch, and at the end: pictures, validation, checkpoints.
        ends = state.position.phase == "done"
        if not position.learns_guidance and (state.position.drawn % epoch_steps == 0 or ends):
            end_epoch(config, state, run, made, journal, device)
        stops = processes.any(should_stop(), device)
        if processes.leads and (state.position.total % config.save_every == 0 or ends or stops):
            state.save(run.state_file)
        if stops and not ends:
            finished = False
            break

    if journal is not None:
        journal.close()
    leave_processes()
    psnr_db = state.best_psnr if made.shown.held_out and finished else None
    return Outcome(finished, state.position.total, run.checkpoint_file("best"), psnr_db)


def _share(config: RunConfig, processes: Processes) -> int:
    """Pictures per pass of one process."""
    parts = processes.world * config.network.accumulate
    if config.network.batch % parts:
        raise ConfigError(
            f"a batch of {config.network.batch} does not divide into {processes.world} processes times "
            f"{config.network.accumulate} accumulated parts: choose a multiple of {parts}"
        )
    return config.network.batch // parts


def _epoch_steps(pictures: int, batch: int) -> int:
    one_pass = max(1, -(-pictures // batch))
    return one_pass * -(-EPOCH_LEAST_STEPS // one_pass)


def _embed_bank(
    config: RunConfig, made: Ingredients, state: TrainingState, device: torch.device, listen: Listener
) -> ViewBank:
    """Views for the guidance phase at hand: in a refinement, also as earlier networks enhance them."""
    options = config.options
    assert isinstance(options, PairOptions)
    position = state.position
    backlit, well_lit = made.views

    def embed(role: int, network: EnhancementNetwork | None) -> Tensor:
        phase = 0 if position.phase == "initialize" else position.round + 1
        return embed_views(
            made.guidance_encoder, well_lit if role else backlit, options.views,
            (config.seed, 3, phase, role), device, network, lambda *progress: listen(Work(*progress)),
        )  # fmt: skip

    earlier = [state.older_best, state.best] if position.phase == "refine" else []
    enhanced = [
        embed(0, network_of(state.network, weights, device)) for weights in earlier if weights is not None
    ]
    return ViewBank(embed(0, None), tuple(enhanced), embed(1, None))


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
