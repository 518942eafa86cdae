from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from rave_train.checkpoint import read_checkpoint, save_checkpoint
from rave_train.data.batches import to_tensor
from rave_train.data.photographs import find_photographs, load_square
from rave_train.encoders import open_encoder
from rave_train.encoders.spec import PUBLISHED_IDENTITY_ENCODER, is_published_identity
from rave_train.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    EncoderError,
    RunFolderError,
    StateError,
    TrainingError,
)
from rave_train.guidance.clip_lit_latent import LatentGuidance
from rave_train.guidance.identity import PUBLISHED_COST_OF_HALVING, identity_loss
from rave_train.guidance.options import ClipLitLatentOptions, ClipLitOptions, RaveOptions
from rave_train.loop.collapse import CollapseWatch
from rave_train.loop.config import DataOptions, NetworkOptions, RunConfig, read_config
from rave_train.loop.device import pick_device
from rave_train.loop.events import Event, Note
from rave_train.loop.schedule import Position
from rave_train.loop.state import new_network, new_state
from rave_train.loop.training import read_outcome, train
from rave_train.network import EnhancementNetwork
from tests.train.conftest import make_scenes

SMALL_PAIR = {
    "rounds": 2, "initialize_steps": 20, "enhance_steps": 3, "refine_steps": 4,
    "guidance_learning_rate": 0.02, "views": 2, "view_size_px": 16, "extensions": 0,
}  # fmt: skip
SMALL_NETWORK = NetworkOptions(size_px=16, batch=2, warm_up=2, light_bias=0.7)


@pytest.fixture
def config(scenes: tuple[Path, Path], toy_resnet: str, tmp_path: Path) -> RunConfig:
    return RunConfig(
        "rave",
        RaveOptions(iterations=4),
        DataOptions(str(scenes[0]), str(scenes[1])),
        SMALL_NETWORK,
        encoder=toy_resnet,
        cache=str(tmp_path / "cache"),
        save_every=2,
    )


def of_method(config: RunConfig, method: str) -> RunConfig:
    options = {
        "rave": config.options,
        "clip-lit": ClipLitOptions(**SMALL_PAIR),  # type: ignore[arg-type]
        "clip-lit-latent": ClipLitLatentOptions(**SMALL_PAIR),  # type: ignore[arg-type]
    }[method]
    return dataclasses.replace(config, method=method, options=options)


def after_steps(count: int) -> Callable[[], bool]:
    """What stops a run after so many steps, at each of which it is asked once."""
    asked = itertools.count(1)
    return lambda: next(asked) == count


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "losses.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("method", ["rave", "clip-lit", "clip-lit-latent"])
def test_a_run_leaves_all_its_files(config: RunConfig, tmp_path: Path, method: str) -> None:
    config = of_method(config, method)
    events: list[Event] = []
    outcome = train(config, tmp_path / "run", listen=events.append)
    assert outcome.finished
    assert outcome.steps == config.schedule().total() == len(rows_of(tmp_path / "run"))
    found = {str(file.relative_to(tmp_path / "run")).split("/")[0] for file in (tmp_path / "run").rglob("*")}
    assert found >= {
        "config.json", "made_of.json", "data.txt", "losses.csv", "tensorboard", "grids", "checkpoints",
        "guidance.safetensors", "state.pt",
    }  # fmt: skip
    assert read_config(tmp_path / "run" / "config.json") == config
    made = json.loads((tmp_path / "run" / "made_of.json").read_text())
    assert made["packages"]["torch"] == torch.__version__.split("+")[0] or made["packages"]["torch"]
    assert len(made["backlit_hash"]) == 32
    checkpoint = read_checkpoint(outcome.best)
    assert checkpoint.provenance["method"] == method
    assert checkpoint.provenance["training_size_px"] == 16
    assert load_file(tmp_path / "run" / "guidance.safetensors")["direction"].norm().item() == pytest.approx(1)
    assert any(isinstance(event, Note) and "6 pairs matched" in event.text for event in events)
    grid = next((tmp_path / "run" / "grids").iterdir())
    with Image.open(grid) as picture:
        assert picture.width > 3 * 16


def test_clip_lit_learns_to_tell_the_sets_apart(config: RunConfig, tmp_path: Path, toy_vit: str) -> None:
    """Both prompts start equal, so their cross-entropy starts at log 2."""
    changes = {"initialize_steps": 40, "rounds": 1}
    options = ClipLitOptions(**{**SMALL_PAIR, **changes})  # type: ignore[arg-type]
    config = dataclasses.replace(config, method="clip-lit", options=options, encoder=toy_vit)
    events: list[Event] = []
    train(config, tmp_path / "run", listen=events.append)
    losses = [float(row["loss"]) for row in rows_of(tmp_path / "run") if row["phase"] == "initialize"]
    assert losses[0] == pytest.approx(np.log(2), rel=1e-4)
    assert np.mean(losses[-10:]) < 0.5 * losses[0]
    scores = next(e.text for e in events if isinstance(e, Note) and "score" in e.text)
    backlit, well_lit = (float(word.strip(",")) for word in scores.split() if word[0].isdigit())
    assert backlit > well_lit + 0.3


@pytest.mark.parametrize(("method", "step"), [("rave", 3), ("clip-lit-latent", 10), ("clip-lit-latent", 27)])
def test_a_killed_run_resumes_to_the_same_bits(
    config: RunConfig, tmp_path: Path, method: str, step: int
) -> None:
    """Killed after a step that was not saved: the resumed run goes back to the last saved one."""
    config = of_method(config, method)
    train(config, tmp_path / "whole")

    class KilledError(Exception):
        pass

    def kill(event: Event) -> None:
        if getattr(event, "position", None) is not None and event.position.total == step:  # type: ignore[union-attr]
            raise KilledError

    with pytest.raises(KilledError):
        train(config, tmp_path / "killed", listen=kill)
    outcome = train(read_config(tmp_path / "killed" / "config.json"), tmp_path / "killed", resume=True)
    assert outcome.finished
    for name in ("best", "last"):
        whole, resumed = (
            load_file(tmp_path / run / f"checkpoints/{name}.safetensors") for run in ("whole", "killed")
        )
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    columns = ("step", "phase", "round", "loss")
    assert [[row[c] for c in columns] for row in rows_of(tmp_path / "whole")] == [
        [row[c] for c in columns] for row in rows_of(tmp_path / "killed")
    ]


def test_a_power_cut_in_a_row_of_losses_harms_nothing(config: RunConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "run", should_stop=after_steps(3))
    with (tmp_path / "run" / "losses.csv").open("a") as stream:
        stream.write("3,enha" + "\0" * 40)
    assert train(config, tmp_path / "run", resume=True).steps == 6
    assert [row["step"] for row in rows_of(tmp_path / "run")] == [str(step) for step in range(6)]


def test_a_stopped_run_saves_and_resumes(config: RunConfig, tmp_path: Path) -> None:
    outcome = train(config, tmp_path / "run", should_stop=after_steps(3))
    assert (outcome.finished, outcome.steps) == (False, 3)
    assert train(config, tmp_path / "run", resume=True).steps == 6


def test_accumulation_gives_the_whole_batchs_result(config: RunConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, precision="fp32")  # bf16 rounds each part for itself
    network = dataclasses.replace(SMALL_NETWORK, batch=4)
    train(dataclasses.replace(config, network=network), tmp_path / "whole")
    parts = dataclasses.replace(network, accumulate=2)
    train(dataclasses.replace(config, network=parts), tmp_path / "parts")
    assert_close_runs(tmp_path / "whole", tmp_path / "parts")


def test_two_processes_give_the_single_ones_result(config: RunConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(
        of_method(config, "clip-lit-latent"),
        network=dataclasses.replace(SMALL_NETWORK, batch=4),
        precision="fp32",
    )
    train(config, tmp_path / "single")
    values: dict[str, object] = {**SMALL_PAIR, "size_px": 16, "batch": 4, "warm_up": 2, "light_bias": 0.7}
    values |= {"encoder": config.encoder, "cache": config.cache, "save_every": 2, "precision": "fp32"}
    flags = [word for name, value in values.items() for word in ("--" + name.replace("_", "-"), str(value))]
    arguments = [
        "clip-lit-latent",
        config.data.backlit,
        config.data.well_lit,
        "--out",
        str(tmp_path / "double"),
    ]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, "-m", "rave_train", *arguments, *flags],
        env=environment, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("best.safetensors") == 1
    assert read_config(tmp_path / "double" / "config.json") == config
    assert_close_runs(tmp_path / "single", tmp_path / "double")


def assert_close_runs(left: Path, right: Path) -> None:
    for a, b in zip(rows_of(left), rows_of(right), strict=True):
        assert (a["step"], a["phase"]) == (b["step"], b["phase"])
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-3)
    one, other = (load_file(run / "checkpoints/last.safetensors") for run in (left, right))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=1e-5)


def test_validation_pictures_choose_the_best(config: RunConfig, tmp_path: Path) -> None:
    sides = []
    for name, gain in (("vb", 0.4), ("vw", 1.0)):
        (tmp_path / name).mkdir()
        for index in range(2):
            pixels = np.full((20, 20, 3), int(200 * gain) + index, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
        sides.append(str(tmp_path / name))
    data = dataclasses.replace(config.data, validation_backlit=sides[0], validation_well_lit=sides[1])
    outcome = train(dataclasses.replace(config, data=data), tmp_path / "run")
    assert outcome.psnr_db is not None
    with (tmp_path / "run" / "validation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert max(float(row["psnr_db"]) for row in rows) == pytest.approx(outcome.psnr_db, abs=1e-3)
    assert float(rows[0]["psnr_input_db"]) == pytest.approx(-20 * np.log10(0.6 * 200 / 255), abs=0.05)
    leaked = dataclasses.replace(
        config.data, validation_backlit=config.data.backlit, validation_well_lit=config.data.well_lit
    )
    with pytest.raises(DataError, match="is both a training and a validation picture"):
        train(dataclasses.replace(config, data=leaked), tmp_path / "leak")


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
    assert watch.look(early, 0.0) == early
    state.recent_psnr = [5.0] * 30
    between = Position("warm-up", step=150, length=300)
    assert watch.look(between, 0.0) == between, "looked at every hundred steps"
    again = watch.look(Position("warm-up", step=199, length=300), 0.0)
    assert again.length == 500, "its whole warm-up anew"
    assert notes == [
        "input and output agree to only 5.0 dB in the warm-up: the run starts again with a new network"
    ]
    assert not torch.equal(state.network.cond1.weight, first)
    later = Position("enhance", step=500, length=900, total=800)
    watch.seen.clear()
    while len(watch.seen) < 29:
        watch.look(later, 1.0)
    with pytest.raises(TrainingError, match="collapsed by step 800: its pictures have no middle tones"):
        watch.look(later, 1.0)


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
    assert config.schedule().total() == 4, "no warm-up"
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
    assert "channels is 18, a multiple of 4 is needed" in error_of(channels=18)


def test_a_narrow_network_is_trained(config: RunConfig, tmp_path: Path) -> None:
    network = dataclasses.replace(SMALL_NETWORK, channels=16)
    outcome = train(dataclasses.replace(config, network=network), tmp_path / "run")
    assert read_checkpoint(outcome.best).network.channels == 16


def test_a_diverging_run_stops_with_the_remedy(config: RunConfig, tmp_path: Path) -> None:
    network = dataclasses.replace(SMALL_NETWORK, learning_rate=1e30)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step .*: .* a lower learning rate"):
        train(dataclasses.replace(config, network=network), tmp_path / "run")


def test_a_resumed_run_keeps_the_precision_it_began_with(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    run = tmp_path / "run"
    train(config, run, should_stop=after_steps(3))
    assert json.loads((run / "made_of.json").read_text())["precision"] == "bf16"
    monkeypatch.setattr("torch.cpu.get_capabilities", dict)
    train(config, run, resume=True)
    train(dataclasses.replace(config, precision="bf16"), tmp_path / "whole")
    one, other = (load_file(place / "checkpoints/last.safetensors") for place in (run, tmp_path / "whole"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_unpaired_data_uses_all_of_both_folders(config: RunConfig, tmp_path: Path) -> None:
    Path(config.data.backlit, "scene0.png").rename(Path(config.data.backlit, "alone.png"))
    for paired, counts in ((True, [5, 5]), (False, [6, 6]), (None, [5, 5])):
        run = tmp_path / f"run_{paired}"
        train(dataclasses.replace(config, data=dataclasses.replace(config.data, paired=paired)), run)
        made = json.loads((run / "made_of.json").read_text())
        assert [made["backlit_pictures"], made["well_lit_pictures"]] == counts
    assert "1 backlit without a partner: alone.png" in (tmp_path / "run_True" / "data.txt").read_text()


def test_the_pixel_loss_takes_part(config: RunConfig, tmp_path: Path) -> None:
    network = dataclasses.replace(SMALL_NETWORK, pixel_loss=10.0)
    train(dataclasses.replace(config, network=network), tmp_path / "run")
    assert all(float(row["pixel"]) > 0 for row in rows_of(tmp_path / "run") if row["phase"] == "enhance")


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
    words = error_of(
        EncoderError, encoder="timm:resnet10t,size=32@random", options=RaveOptions(4, guide_token="dark")
    )
    assert "guidance by words needs a text encoder" in words
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


def test_resuming_needs_the_same_data_and_an_intact_state(config: RunConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config, run)
    state = (run / "state.pt").read_bytes()
    (run / "state.pt").write_bytes(state[: len(state) // 2])
    with pytest.raises(StateError, match=r"state.pt is not a state of a run"):
        train(config, run, resume=True)
    (run / "state.pt").unlink()
    with pytest.raises(StateError, match="stopped before its first saved state"):
        train(config, run, resume=True)
    Path(config.data.backlit, "scene0.png").unlink()
    with pytest.raises(
        ConfigError, match=r"was begun with other values of backlit_pictures, .*begin a new run"
    ):
        train(config, run, resume=True)
    wrong = json.loads((run / "config.json").read_text())
    wrong["network"]["batch"] = "x"
    (run / "config.json").write_text(json.dumps(wrong))
    with pytest.raises(ConfigError, match=r"batch is 'x', int is needed"):
        read_config(run / "config.json")
    (run / "config.json").write_text('{"method": "rave"}')
    with pytest.raises(ConfigError, match=r"config.json is not a config that this version can read"):
        read_config(run / "config.json")


def test_a_finished_run_says_how_it_went_and_can_be_lengthened(config: RunConfig, tmp_path: Path) -> None:
    held_out = make_scenes(tmp_path / "held", 3, (40, 40))
    data = dataclasses.replace(
        config.data, validation_backlit=str(held_out[0]), validation_well_lit=str(held_out[1])
    )
    config, run = dataclasses.replace(config, data=data), tmp_path / "run"
    train(config, run, should_stop=after_steps(3))
    assert read_outcome(run) is None
    with pytest.raises(ConfigError, match=r"the run is not finished \(3 steps are done\): resume it first"):
        train(config, run, resume=True, lengthen_by=5)
    first = train(config, run, resume=True)
    assert read_outcome(run) == first
    assert first.steps == 6
    with (run / "validation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert first.input_psnr_db == pytest.approx(float(rows[-1]["psnr_input_db"]), abs=1e-4)
    assert first.last_psnr_db == pytest.approx(float(rows[-1]["psnr_db"]), abs=1e-4)
    assert first.psnr_db == pytest.approx(max(float(row["psnr_db"]) for row in rows), abs=1e-4)
    longer = train(config, run, resume=True, lengthen_by=5)
    assert longer.steps == 11
    assert [row["step"] for row in rows_of(run)] == [str(step) for step in range(11)]


def test_an_edited_config_is_not_followed_in_part(config: RunConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config, run, should_stop=after_steps(3))
    edited = dataclasses.replace(
        config, options=RaveOptions(iterations=99), network=dataclasses.replace(SMALL_NETWORK, batch=4)
    )
    with pytest.raises(
        ConfigError, match=r"changed after the run began \(options.iterations, network.batch\)"
    ):
        train(edited, run, resume=True)
    free = dataclasses.replace(config, save_every=50, workers=1, device="cpu")
    assert train(free, run, resume=True).finished


def test_what_a_killed_run_left_half_written_is_removed(config: RunConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config, run, should_stop=after_steps(3))
    code = (
        "import os, signal, sys; from pathlib import Path; from rave_train.writing import write_whole\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_whole(Path(sys.argv[1]), b'half')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(
        [sys.executable, "-c", code, str(run / "checkpoints" / "best.safetensors")], env=environment
    )
    left = [file for file in (run / "checkpoints").iterdir() if file.suffix != ".safetensors"]
    assert len(left) == 1
    assert train(config, run, resume=True).finished
    assert not left[0].exists()


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


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX's")
def test_a_whole_job_told_to_stop_saves_its_state(config: RunConfig, tmp_path: Path) -> None:
    """As a cluster does before it takes a machine away: every process gets the signal, workers too."""
    run = tmp_path / "run"
    flags = ["--encoder", config.encoder, "--size-px", "16", "--batch", "2", "--warm-up", "1"]
    flags += ["--light-bias", "0.7", "--workers", "2", "--iterations", "100000", "--save-every", "100000"]
    command = [sys.executable, "-m", "rave_train", "rave", config.data.backlit, config.data.well_lit]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--out", str(run), "--cache", str(tmp_path / "c"), *flags],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    while process.poll() is None and (not (run / "losses.csv").is_file() or len(rows_of(run)) < 8):
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output.decode()[-2000:]
    steps = len(rows_of(run))
    assert f"stopped after {steps} steps" in " ".join(output.decode().split())
    saved = torch.load(run / "state.pt", weights_only=True)["position"]["total"]
    assert saved == steps > 7


def test_the_identity_weight_is_in_the_encoders_own_scale(
    config: RunConfig, tmp_path: Path, toy_resnet: str, toy_vit: str
) -> None:
    """Encoders whose features differ in size give identity losses of one size."""
    sizes: list[float] = []
    for name in (toy_resnet, toy_vit):
        run = tmp_path / str(len(sizes))
        train(dataclasses.replace(config, encoder=name), run)
        scale = json.loads((run / "made_of.json").read_text())["identity_scale"]
        photographs = find_photographs(Path(config.data.well_lit), "well-lit").photographs
        encoder = open_encoder(name)
        side = encoder.preprocessing.size_px
        pictures = torch.stack([to_tensor(load_square(p.file, side)) for p in photographs])
        before, after = encoder.stages(pictures), encoder.stages(pictures / 2)
        sizes.append(scale * float(identity_loss(before, after, [1.0] * len(before))))
        mended = {**json.loads((run / "made_of.json").read_text()), "identity_scale": 2 * scale}
        (run / "made_of.json").write_text(json.dumps(mended))
        train(read_config(run / "config.json"), run, resume=True)  # keeps the factor it began with
    assert sizes == pytest.approx([PUBLISHED_COST_OF_HALVING] * 2, rel=0.01)
    assert is_published_identity("open_clip:RN101@weights.safetensors")
    assert not is_published_identity("open_clip:RN50@openai")


@pytest.mark.parametrize(
    ("encoder", "identity"),
    [
        ("open_clip:ViT-B-32@openai", PUBLISHED_IDENTITY_ENCODER),
        ("open_clip:ViT-B-32", PUBLISHED_IDENTITY_ENCODER),
        ("open_clip:ViT-B-32,quickgelu=yes@dir/open_clip_model.safetensors", PUBLISHED_IDENTITY_ENCODER),
        ("open_clip:ViT-B-32-quickgelu@ViT-B-32.pt", PUBLISHED_IDENTITY_ENCODER),
        ("open_clip:ViT-B-32,quickgelu=no@laion.safetensors", None),
        ("open_clip:ViT-B-32@laion2b_s34b_b79k", None),
        ("timm:resnet50@weights.safetensors", None),
    ],
)
def test_the_published_pair_may_be_named_by_files(
    config: RunConfig, encoder: str, identity: str | None
) -> None:
    """Naming the file as the offline advice says made the identity encoder that ViT, silently."""
    assert dataclasses.replace(config, encoder=encoder).identity_encoder_name == (identity or encoder)


@pytest.mark.gpu
def test_mixed_precision_on_a_gpu(config: RunConfig, tmp_path: Path) -> None:
    for precision in ("bf16", "fp16"):
        outcome = train(dataclasses.replace(config, precision=precision), tmp_path / precision)
        assert outcome.finished
