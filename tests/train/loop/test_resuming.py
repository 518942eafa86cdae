"""A run that was killed, stopped or cut off goes on to the same bits, or is told why it cannot."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from rave_train.checkpoint import read_checkpoint
from rave_train.cli import app
from rave_train.errors import ConfigError, RunFolderError, StateError
from rave_train.guidance.options import RaveOptions
from rave_train.loop.config import RunConfig, read_config
from rave_train.loop.events import Event
from rave_train.loop.losses_log import LossesLog
from rave_train.loop.run_folder import RunFolder
from rave_train.loop.training import read_outcome, train
from tests.train.conftest import make_scenes
from tests.train.small_runs import SMALL_NETWORK, after_steps, of_method, rows_of


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


@pytest.mark.parametrize("content", ["", "ste", "step;phase\n0;enhance\n"])
def test_losses_without_their_titles_are_set_aside(tmp_path: Path, content: str) -> None:
    """A power cut leaves such files, and spreadsheets that separate by semicolons."""
    (tmp_path / "losses.csv").write_text(content)
    LossesLog(tmp_path, 3).close()
    assert (tmp_path / "losses.unreadable.csv").read_text() == content
    assert not (tmp_path / "losses.csv").exists(), "the next step begins a table with titles"


def test_a_stopped_run_saves_and_resumes(config: RunConfig, tmp_path: Path) -> None:
    outcome = train(config, tmp_path / "run", should_stop=after_steps(3))
    assert (outcome.finished, outcome.steps) == (False, 3)
    saved = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert saved.provenance["step"] == 3, "it can be exported"
    assert train(config, tmp_path / "run", resume=True).steps == 6


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


def test_resuming_needs_the_same_data_and_an_intact_state(config: RunConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config, run)
    state = (run / "state.pt").read_bytes()
    (run / "state.pt").write_bytes(state[: len(state) // 2])
    with pytest.raises(
        StateError, match=r"state.pt is not a state of a run, or damaged \(.*bring back a copy"
    ):
        train(config, run, resume=True)
    torch.save({"position": {}}, run / "state.pt")
    with pytest.raises(StateError, match=r"damaged \(it has no entry 'format'\): bring back a copy"):
        train(config, run, resume=True)
    (run / "state.pt").unlink()
    with pytest.raises(StateError, match=r"state.pt, .* is missing: bring back a copy"):
        train(config, run, resume=True)
    Path(config.data.backlit, "scene0.png").unlink()
    with pytest.raises(
        ConfigError, match=r"was begun with other backlit pictures, well-lit pictures: .*begin a new run"
    ):
        train(config, run, resume=True)
    wrong = json.loads((run / "config.json").read_text())
    wrong["network"]["batch"] = "x"
    (run / "config.json").write_text(json.dumps(wrong))
    with pytest.raises(ConfigError, match=r"batch is 'x', int is needed"):
        read_config(run / "config.json")
    (run / "config.json").write_text('{"method": "rave"}')
    with pytest.raises(ConfigError, match=r"config.json is not a config that .* can read: it has no options"):
        read_config(run / "config.json")
    wrong["network"] = {"bach": 2}
    (run / "config.json").write_text(json.dumps(wrong))
    with pytest.raises(ConfigError, match=r"can read: 'bach' is no option; known are .*batch"):
        read_config(run / "config.json")
    (run / "made_of.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"made_of.json is damaged: bring back a copy, or remove it"):
        RunFolder(run).made_of()


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
    refused = CliRunner().invoke(app, ["resume", str(run), "--lengthen", "5"], env={"COLUMNS": "400"})
    assert refused.exit_code == 2
    assert "is not finished: resume it first, then lengthen it" in refused.output
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
        "import os, signal, sys; from pathlib import Path; from rave_train.whole_files import write_whole\n"
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


@pytest.mark.slow
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
    assert "last.safetensors is the network so far" in " ".join(output.decode().split())
    saved = torch.load(run / "state.pt", weights_only=True)["position"]["total"]
    assert saved == steps > 7
