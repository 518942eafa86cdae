"""What is found before the first step: wrong input, places, numbers, devices and weights to go on from."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from rave_train.checkpoint import read_checkpoint, save_checkpoint
from rave_train.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    EncoderError,
    RunFolderError,
)
from rave_train.guidance.options import ClipLitOptions, RaveOptions
from rave_train.loop.config import NetworkOptions, RunConfig
from rave_train.loop.device import pick_device
from rave_train.loop.events import Note
from rave_train.loop.training import train
from rave_train.network import EnhancementNetwork
from tests.train.small_runs import SMALL_NETWORK, SMALL_PAIR, after_steps, of_method


@pytest.fixture
def narrow(tmp_path: Path) -> Path:
    """A checkpoint with eight channels and zero padding."""
    torch.manual_seed(5)
    file = tmp_path / "narrow.safetensors"
    save_checkpoint(EnhancementNetwork(8, "zeros"), file)
    return file


def test_a_run_goes_on_from_given_weights(config: RunConfig, tmp_path: Path, narrow: Path) -> None:
    network = NetworkOptions(size_px=16, batch=2, init_from=str(narrow), learning_rate=1e-30, weight_decay=0)
    config = dataclasses.replace(config, network=network)
    assert config.schedule().warm_up == 0
    train(config, tmp_path / "run", should_stop=after_steps(2))
    moved = narrow.rename(tmp_path / "moved.safetensors")  # a run that has begun needs it no more
    best = train(config, tmp_path / "run", resume=True).best
    found, start = read_checkpoint(best), read_checkpoint(moved)
    moved.rename(narrow)
    assert (found.network.channels, found.network.padding) == (8, "zeros")
    assert found.provenance["init_from"] == "narrow.safetensors"
    for name, value in start.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], value), name
    warmed = dataclasses.replace(network, warm_up=2, padding="reflect")
    outcome = train(dataclasses.replace(config, network=warmed), tmp_path / "warmed")
    assert outcome.steps == 6
    assert read_checkpoint(outcome.best).network.padding == "reflect"


def test_a_start_that_cannot_be_is_found_first(config: RunConfig, tmp_path: Path, narrow: Path) -> None:
    def error_of(**changes: object) -> str:
        network = NetworkOptions(size_px=16, batch=2, **changes)  # type: ignore[arg-type]
        nowhere = dataclasses.replace(config.data, backlit="absent")
        with pytest.raises((CheckpointError, ConfigError)) as caught:
            train(dataclasses.replace(config, network=network, data=nowhere), tmp_path / "never")
        return str(caught.value)

    assert "absent.pth does not exist: a checkpoint" in error_of(init_from="absent.pth")
    assert "has 8 channels and 16 were asked for" in error_of(init_from=str(narrow), channels=16)
    assert "give one or the other" in error_of(init_from=str(narrow), light_bias=0.7)
    assert "give one or the other" in error_of(init_from=str(narrow), init_std=0.05)
    run = tmp_path / "old" / "checkpoints"
    run.mkdir(parents=True)
    (run / "best.safetensors").touch()
    assert "is a run of rave-train: give the checkpoint in it" in error_of(init_from=str(run.parent))
    assert "channels is 18, a multiple of 4 up to 256 is needed" in error_of(channels=18)
    assert "channels is 512, a multiple of 4 up to 256 is needed" in error_of(channels=512)


def test_bad_input_is_found_before_the_first_step(config: RunConfig, tmp_path: Path, toy_resnet: str) -> None:
    def error_of(kind: type[Exception], **changes: Any) -> str:
        with pytest.raises(kind) as caught:
            train(dataclasses.replace(config, **changes), tmp_path / "never")
        return str(caught.value)

    (tmp_path / "none").mkdir()
    missing = dataclasses.replace(config.data, backlit=str(tmp_path / "absent"))
    assert "is not a folder" in error_of(DataError, data=missing)
    text = error_of(
        EncoderError, encoder="timm:resnet10t,size=32@random", method="clip-lit",
        options=ClipLitOptions(**SMALL_PAIR),  # type: ignore[arg-type]
    )  # fmt: skip
    assert "CLIP-LIT needs a text encoder" in text
    absent = dataclasses.replace(config.data, backlit="absent")  # it is said before pictures are looked for
    for options, given in (
        (RaveOptions(4, guide_token="dark"), "--guide-token"),
        (RaveOptions(4, shift_tokens=2), "--shift-tokens"),
    ):
        words = error_of(EncoderError, encoder="timm:resnet10t,size=32@random", options=options, data=absent)
        assert f"{given} needs a text encoder, and timm:resnet10t" in words
        assert f"leave out {given}, or give an open_clip CLIP model" in words
    assert "a batch of 2 does not divide" in error_of(
        ConfigError, network=dataclasses.replace(SMALL_NETWORK, accumulate=3)
    )
    unpaired = dataclasses.replace(config.data, paired=False)
    assert "leave out --unpaired, or --pixel-loss" in error_of(
        ConfigError, data=unpaired, network=dataclasses.replace(SMALL_NETWORK, pixel_loss=1.0)
    )
    assert "precision is 'int8'" in error_of(ConfigError, precision="int8")
    assert "'toaster' is not a device" in error_of(ConfigError, device="toaster")
    assert not (tmp_path / "never").exists()


def test_numbers_and_devices_that_make_no_sense(config: RunConfig) -> None:
    for name in ("light_bias", "learning_rate", "init_std"):
        wrong: dict[str, Any] = {name: float("nan")}
        network = dataclasses.replace(SMALL_NETWORK, **wrong)
        with pytest.raises(ConfigError, match=f"{name.replace('_', ' ')} is nan"):
            dataclasses.replace(config, network=network).check()
    adam = {"weight_decay": -1.0, "guidance_weight_decay": -1.0, "guidance_learning_rate": 0.0}
    losses = {"identity_weight": -0.5, "guidance_weight": -1.0, "pixel_loss": -1.0}
    # Adam raised errors of its own, with a traceback; a negative weight trained for the opposite of its loss.
    for name, value in {**adam, **losses}.items():
        pair = of_method(config, "clip-lit-latent")
        part = "options" if name.startswith("guidance") else "network"
        changed: Any = {part: dataclasses.replace(getattr(pair, part), **{name: value})}
        with pytest.raises(ConfigError, match=f"^{name.replace('_', ' ')} is {value}, (0 or )?more"):
            dataclasses.replace(pair, **changed).check()
    for options, words in (
        (RaveOptions(4, shift_tokens=-1), "shift tokens is -1, 0 or more"),
        (RaveOptions(4, guide_token=""), "guide token is empty"),
    ):
        with pytest.raises(ConfigError, match=words):
            dataclasses.replace(config, options=options).check()
    with pytest.raises(ConfigError, match=r"seed is 4611686018427387904, 0 or more and less than 2\^62"):
        dataclasses.replace(config, seed=2**62).check()
    with pytest.raises(ConfigError, match="'meta' is not a device to train on"):
        pick_device("meta")


def test_places_that_cannot_be_made_are_found_before_the_work(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="run cannot be made: Not a directory"):
        train(config, tmp_path / "file" / "run")
    elsewhere = dataclasses.replace(config, cache=str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"cache cannot be made \(Not a directory\): give another --cache"):
        train(elsewhere, tmp_path / "run")


def test_a_folder_of_another_run_is_left_alone(config: RunConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "run")
    with pytest.raises(RunFolderError, match="holds a run already: continue it with `rave-train resume"):
        train(config, tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="is not empty: give another --out"):
        train(config, tmp_path / "full")


def test_names_that_are_not_utf8_and_failures_at_the_start(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(config.data.backlit, "caf\udce9.png").write_bytes(b"not a picture")
    assert train(config, tmp_path / "run").finished
    assert "caf\\udce9.png: is not a picture" in (tmp_path / "run" / "data.txt").read_text()
    with monkeypatch.context() as patch:
        patch.setattr("rave_train.loop.state.TrainingState.save", fail)
        with pytest.raises(OSError, match="disk full"):
            train(config, tmp_path / "failed")
    assert not (tmp_path / "failed").exists(), "it can be begun again"


def fail(*_: object) -> None:
    raise OSError("disk full")


def test_a_run_that_would_take_days_on_a_cpu_is_told_so_first(config: RunConfig, tmp_path: Path) -> None:
    """It began without a word, and its progress bar told hours later how long it would take."""

    class SeenError(Exception):
        pass

    def listen(event: object) -> None:
        if isinstance(event, Note) and "take days" in event.text:
            raise SeenError

    config = dataclasses.replace(config, device="cpu")
    large = dataclasses.replace(config, network=NetworkOptions(size_px=512, batch=1))
    with pytest.raises(SeenError):
        train(large, tmp_path / "large", listen=listen)
    train(config, tmp_path / "small", listen=listen)


def test_exchanged_folders_are_noticed_before_the_first_step(config: RunConfig, tmp_path: Path) -> None:
    right = config.data
    wrong = dataclasses.replace(right, backlit=right.well_lit, well_lit=right.backlit)
    told: list[object] = []
    for number, data in enumerate((right, wrong)):
        told.append("run")
        run = dataclasses.replace(config, data=data)
        train(run, tmp_path / str(number), listen=told.append, should_stop=after_steps(1))
    texts = [event.text for event in told if isinstance(event, Note)]
    (question,) = (text for text in texts if "are the folders exchanged?" in text)
    assert told.index(Note(question)) > told.index("run", 1), "for the wrong ones alone"


def test_the_name_of_an_encoder_is_read_before_the_pictures(config: RunConfig, tmp_path: Path) -> None:
    nowhere = dataclasses.replace(config.data, backlit="absent")
    for changes in ({"encoder": "resnet50"}, {"identity_encoder": "resnet50"}):
        with pytest.raises(EncoderError, match="'resnet50' is not the name of an encoder"):
            train(dataclasses.replace(config, data=nowhere, **changes), tmp_path / "run")  # type: ignore[arg-type]


def test_two_runs_do_not_share_a_folder(config: RunConfig, tmp_path: Path) -> None:
    """Their losses were mixed, and each replaced the other's checkpoints."""
    run = tmp_path / "run"

    def begin_another(event: object) -> None:
        if isinstance(event, Note) and not run.exists():
            train(config, run, should_stop=after_steps(2))

    with pytest.raises(RunFolderError, match="holds a run already"):
        train(dataclasses.replace(config, seed=1), run, listen=begin_another)
    assert train(config, run, resume=True).finished


@pytest.mark.skipif(os.name != "posix", reason="locks of folders are POSIX's")
def test_a_run_that_is_going_on_is_not_resumed(config: RunConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def resume_it() -> bool:
        with pytest.raises(RunFolderError, match=r"another process trains in .*run: wait for"):
            train(config, run, resume=True)
        return True

    assert not train(config, run, should_stop=resume_it).finished
    assert train(config, run, resume=True).finished
