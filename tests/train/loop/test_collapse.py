"""A run whose network collapses or diverges starts again, or stops with the remedy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from rave_train.checkpoint import save_checkpoint
from rave_train.errors import RunFolderError, TrainingError
from rave_train.guidance.clip_lit_latent import LatentGuidance
from rave_train.guidance.options import RaveOptions
from rave_train.loop.collapse import CollapseWatch, advice
from rave_train.loop.config import NetworkOptions, RunConfig
from rave_train.loop.events import Event, Note, Work, ignore
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
    assert [note for note in notes if note] == [
        "input and output agree to only 5.0 dB in the warm-up: the run starts again with a new network, "
        "19 times at most"
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
    counts: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)
        if isinstance(event, Work) and event.what == "networks that collapsed":
            counts.append(event.done)

    failing = dataclasses.replace(config, network=network)
    with pytest.raises(
        TrainingError,
        match=r"20 networks in a row collapsed in the warm-up. Begin a new run, in another --out, with "
        r"--light-bias 0\.7",
    ):
        train(failing, tmp_path / "run", listen=listen)
    assert sum("starts again with a new network" in note for note in notes) == 1, "and a counter"
    assert counts == list(range(1, 20))
    with pytest.raises(RunFolderError, match="run cannot be resumed: 20 networks in a row collapsed"):
        train(failing, tmp_path / "run", resume=True)
    with pytest.raises(RunFolderError, match="holds a run that failed: give another --out"):
        train(failing, tmp_path / "run")


def test_a_new_network_does_not_answer_for_the_one_before(config: RunConfig) -> None:
    """After a warm-up of a few steps, its pictures were judged together with those of the collapsed one."""
    config = dataclasses.replace(config, network=dataclasses.replace(SMALL_NETWORK, warm_up=1))
    state = new_state(
        config, new_network(config, 0), LatentGuidance(4, 0), torch.device("cpu"), torch.float32
    )
    watch = CollapseWatch(config, state, ignore)
    watch.flat_shares.extend([1.0] * 29)
    state.recent_psnr = [5.0] * 30
    watch.check(Position("warm-up", step=0, length=1), 1.0)
    assert state.attempt == 1
    sound = Position("enhance", step=0, length=10)
    assert watch.check(sound, 0.0) == sound


def test_the_advice_is_about_what_was_given() -> None:
    assert "a lower --learning-rate: 0.01 is above the published 2e-05" in advice(
        NetworkOptions(learning_rate=0.01)
    )
    assert "with --light-bias 0.7" in advice(NetworkOptions())
    assert "a lower --learning-rate than 2e-05" in advice(NetworkOptions(light_bias=0.7))
    assert "a lower --learning-rate than 2e-05" in advice(NetworkOptions(init_from="embedded"))


def test_the_network_that_went_through_the_warm_up_is_told(config: RunConfig) -> None:
    config = dataclasses.replace(config, network=dataclasses.replace(SMALL_NETWORK, warm_up=10))
    state = new_state(
        config, new_network(config, 0), LatentGuidance(4, 0), torch.device("cpu"), torch.float32
    )
    notes: list[str] = []
    watch = CollapseWatch(config, state, lambda event: notes.append(getattr(event, "text", "")))
    state.recent_psnr = [5.0] * 30
    watch.check(Position("warm-up", step=9, length=10), 0.0)
    for step in range(2):
        watch.check(Position("enhance", step=step, length=10), 0.0)
    assert notes[-2:] == ["network 2 went through the warm-up", ""]


def test_a_diverging_run_stops_with_the_remedy(config: RunConfig, tmp_path: Path) -> None:
    network = dataclasses.replace(SMALL_NETWORK, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step .* a lower --learning-rate"):
        train(dataclasses.replace(config, network=network), tmp_path / "run")
    with pytest.raises(RunFolderError, match="run cannot be resumed: the loss is"):
        train(dataclasses.replace(config, network=network), tmp_path / "run", resume=True)
