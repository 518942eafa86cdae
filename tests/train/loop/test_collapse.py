"""A run whose network collapses or diverges starts again, or stops with the remedy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from rave_train.checkpoint import save_checkpoint
from rave_train.errors import (
    TrainingError,
)
from rave_train.guidance.clip_lit_latent import LatentGuidance
from rave_train.guidance.options import RaveOptions
from rave_train.loop.collapse import CollapseWatch
from rave_train.loop.config import NetworkOptions, RunConfig
from rave_train.loop.events import Note
from rave_train.loop.schedule import Position
from rave_train.loop.state import new_network, new_state
from rave_train.loop.training import train
from rave_train.network import EnhancementNetwork
from tests.train.small_runs import SMALL_NETWORK


def test_a_collapse_is_seen_late_in_the_warm_up_and_after_it(config: RunConfig) -> None:
    """Upstream looks once, after a hundred steps."""
    network = dataclasses.replace(SMALL_NETWORK, warm_up=300, light_bias=None)
    config = dataclasses.replace(config, network=network)
    state = new_state(
        config, new_network(config, 0), LatentGuidance(4, 0), torch.device("cpu"), torch.float32
    )
    first = state.network.cond1.weight.detach().clone()
    notes: list[str] = []
    watch = CollapseWatch(config, state, lambda event: notes.append(getattr(event, "text", "")))
    state.recent_psnr = [20.0] * 30
    early = Position("warm-up", step=99, length=300)
    assert watch.check(early, 0.0) == early
    state.recent_psnr = [5.0] * 30
    between = Position("warm-up", step=150, length=300)
    assert watch.check(between, 0.0) == between, "looked at every hundred steps"
    again = watch.check(Position("warm-up", step=199, length=300), 0.0)
    assert again.length == 500, "its whole warm-up anew"
    assert notes == [
        "input and output agree to only 5.0 dB in the warm-up: the run starts again with a new network"
    ]
    assert not torch.equal(state.network.cond1.weight, first)
    later = Position("enhance", step=500, length=900, total=800)
    watch.flat_shares.clear()
    while len(watch.flat_shares) < 29:
        watch.check(later, 1.0)
    with pytest.raises(TrainingError, match="collapsed by step 800: its pictures have no middle tones"):
        watch.check(later, 1.0)


def test_a_network_without_light_is_seen(config: RunConfig, tmp_path: Path) -> None:
    dark = EnhancementNetwork(4)
    torch.nn.init.constant_(dark.cond_add1.bias, -1.0)  # type: ignore[arg-type]
    save_checkpoint(dark, tmp_path / "dark.safetensors")
    network = NetworkOptions(size_px=16, batch=2, init_from=str(tmp_path / "dark.safetensors"))
    config = dataclasses.replace(config, network=network, options=RaveOptions(iterations=40))
    with pytest.raises(TrainingError, match="collapsed by step 29"):
        train(config, tmp_path / "run")


def test_a_collapsed_network_is_drawn_anew(config: RunConfig, tmp_path: Path) -> None:
    network = dataclasses.replace(SMALL_NETWORK, light_bias=1e-4)
    notes: list[str] = []
    with pytest.raises(
        TrainingError, match="20 networks in a row collapsed in the warm-up: give --light-bias"
    ):
        train(
            dataclasses.replace(config, network=network),
            tmp_path / "run",
            listen=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
        )
    assert sum("starts again with a new network" in note for note in notes) == 19


def test_a_diverging_run_stops_with_the_remedy(config: RunConfig, tmp_path: Path) -> None:
    network = dataclasses.replace(SMALL_NETWORK, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step .*: .* a lower learning rate"):
        train(dataclasses.replace(config, network=network), tmp_path / "run")
