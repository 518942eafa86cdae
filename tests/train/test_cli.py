from __future__ import annotations

import dataclasses
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save
from typer.testing import CliRunner

from rave_runtime import __version__
from rave_train.checkpoint import save_checkpoint
from rave_train.cli import app
from rave_train.cli.options import command_with_options, field_helps
from rave_train.commands import COMMANDS
from rave_train.loop.config import METHODS, DataOptions, NetworkOptions, RunConfig, read_config
from rave_train.network import EnhancementNetwork

runner = CliRunner()
SHORT = ["--size-px", "16", "--batch", "2", "--warm-up", "1", "--light-bias", "0.7"]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )


def test_help_imports_nothing_heavy() -> None:
    done = run_python(
        "import sys\nfrom typer.testing import CliRunner\nfrom rave_train.cli import app\n"
        "result = CliRunner().invoke(app, ['rave', '--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "heavy = {'torch', 'numpy', 'open_clip', 'timm', 'scipy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\nprint(result.output)\n"
    )
    assert done.returncode == 0, done.stderr
    assert "--iterations" in done.stdout
    assert "5000" in done.stdout


def test_without_the_extra_one_line_says_what_to_install() -> None:
    done = run_python(
        "import sys\nsys.modules['torch'] = None\nfrom rave_train.cli import app\n"
        "sys.argv = ['rave-train', 'rave', 'a', 'b', '--out', 'c']\napp()\n"
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "torch is missing: pip install 'rave-backlit[train]'"


def test_help_without_the_extra_is_that_with_it() -> None:
    named = {
        info.name or info.callback.__name__: (info.help or info.callback.__doc__ or "").splitlines()[0]
        for info in app.registered_commands
        if info.callback is not None
    }
    assert list(COMMANDS.items()) == list(named.items())


def test_every_option_has_its_help_and_default() -> None:
    for source in (*METHODS.values(), DataOptions, NetworkOptions, RunConfig):
        helps = field_helps(source)
        for entry in dataclasses.fields(source):
            if entry.name != "method":
                assert len(helps[entry.name]) > 5, (source, entry.name)


def test_options_are_there_where_python_drops_docstrings(monkeypatch: pytest.MonkeyPatch) -> None:
    """With PYTHONOPTIMIZE=2, as some containers set it, no command could start."""
    monkeypatch.setattr("rave_train.cli.options.field_helps", lambda source: {})
    command = command_with_options([("Data", DataOptions, ())], lambda out, values: None, "", lambda file: {})
    names = {entry.name for entry in dataclasses.fields(DataOptions)}
    assert names <= set(inspect.signature(command).parameters)


def test_brackets_in_a_help_are_shown() -> None:
    """Rich took [@WEIGHTS], how weights are named, for its own markup and left it out."""
    output = runner.invoke(app, ["rave", "--help"], env={"COLUMNS": "160"}).output
    assert "SOURCE:MODEL[,key=value...][@WEIGHTS]" in output


def test_each_method_has_its_own_options_only() -> None:
    outputs = {name: runner.invoke(app, [name, "--help"], env={"COLUMNS": "160"}).output for name in METHODS}
    assert "--shift-tokens" in outputs["rave"]
    assert "--rounds" not in outputs["rave"]
    assert "--rounds" in outputs["clip-lit"]
    assert "5e-06" in outputs["clip-lit"]
    assert "0.0005" in outputs["clip-lit-latent"]
    assert "--shift-tokens" not in outputs["clip-lit-latent"]


def test_train_resume_interpret(scenes: tuple[Path, Path], toy_resnet: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["rave", *map(str, scenes), "--out", str(run), "--encoder", toy_resnet, *SHORT]
    result = runner.invoke(app, [*command, "--iterations", "2", "--cache", str(tmp_path / "c"), "--unpaired"])
    assert result.exit_code == 0, result.output
    assert "best.safetensors" in result.output
    config = read_config(run / "config.json")
    assert config.data.paired is False
    assert config.options == METHODS["rave"](iterations=2)  # type: ignore[call-arg]
    assert config.identity_encoder_name == toy_resnet
    again = runner.invoke(app, command)
    assert again.exit_code == 2
    assert "holds a run already" in again.output
    assert runner.invoke(app, ["resume", str(run)]).exit_code == 0
    state = (run / "state.pt").read_bytes()
    (run / "state.pt").unlink()
    refused = runner.invoke(app, ["resume", str(run)])
    assert (refused.exit_code, refused.output.count("error:")) == (2, 1), refused.output
    (run / "state.pt").write_bytes(state)
    found = runner.invoke(app, ["interpret", str(run), "--count", "3", "--word", "dark"])
    assert found.exit_code == 0, found.output
    assert "highest similarity" in found.output
    assert (run / "interpretation" / "tokens.png").is_file()


def test_values_of_another_run_take_the_place_of_defaults(
    scenes: tuple[Path, Path], toy_resnet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scenes[0].parent)
    sides = [side.name for side in scenes]
    first = ["rave", *sides, "--out", "run", "--encoder", toy_resnet, *SHORT, "--iterations", "2"]
    assert runner.invoke(app, [*first, "--cache", str(tmp_path / "c")]).exit_code == 0
    finished = runner.invoke(app, ["resume", "run"])
    assert finished.exit_code == 0
    assert "run is finished after 3 steps; --lengthen STEPS adds more" in finished.output
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = str(scenes[0].parent / "run")
    again = runner.invoke(app, ["rave", "--config", run, "--out", "again", "--iterations", "1"])
    assert again.exit_code == 0, again.output
    config = read_config(Path("again") / "config.json")
    assert config.options == METHODS["rave"](iterations=1)  # type: ignore[call-arg]
    assert config.data.backlit == str(scenes[0])
    assert (config.encoder, config.network.size_px) == (toy_resnet, 16)
    other = runner.invoke(app, ["clip-lit", "--config", run, "--out", "other"])
    assert other.exit_code == 2
    assert "is of a run by rave: use rave-train rave --config" in other.output
    missing = runner.invoke(app, ["rave", "--out", "other"], env={"COLUMNS": "200"})
    assert missing.exit_code == 2
    assert "Invalid value for BACKLIT: a folder is needed" in missing.output


def test_a_run_like_another_finds_its_files_from_anywhere(
    scenes: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of pictures were found from another folder, files of weights and the cache were not."""
    timm = pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    Path("weights.safetensors").write_bytes(save(timm.create_model("test_vit", num_classes=0).state_dict()))
    save_checkpoint(EnhancementNetwork(4), "first.safetensors")
    encoder = "timm:test_vit@weights.safetensors"
    places = ["--encoder", encoder, "--cache", "embeddings", "--init-from", "first.safetensors"]
    first = ["rave", *map(str, scenes), "--out", "run", *places, "--size-px", "16", "--iterations", "1"]
    done = runner.invoke(app, first)
    assert done.exit_code == 0, done.output
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = runner.invoke(app, ["rave", "--config", "../run", "--out", "again"])
    assert again.exit_code == 0, again.output
    config = read_config(Path("again") / "config.json")
    assert config.encoder == f"timm:test_vit@{tmp_path / 'weights.safetensors'}"
    assert config.cache == str(tmp_path / "embeddings")


def test_a_misspelt_option_is_guessed_and_several_gpus_are_explained() -> None:
    wrong = runner.invoke(app, ["rave", "a", "b", "--out", "c", "--iteration", "3"], env={"COLUMNS": "200"})
    assert wrong.exit_code == 2
    assert "--iterations" in wrong.output
    helped = runner.invoke(app, ["rave", "--help"], env={"COLUMNS": "200"}).output
    assert "torchrun --nproc-per-node=N -m rave_train rave" in helped


def test_a_run_goes_on_from_any_folder(
    scenes: tuple[Path, Path], toy_resnet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scenes[0].parent)
    sides = [side.name for side in scenes]
    command = ["rave", *sides, "--out", str(tmp_path / "run"), "--encoder", toy_resnet, *SHORT]
    started = runner.invoke(
        app, [*command, "--iterations", "2", "--cache", str(tmp_path / "c"), "--unpaired"]
    )
    assert started.exit_code == 0, started.output
    monkeypatch.chdir(tmp_path)
    gone_on = runner.invoke(app, ["resume", "run"])
    assert gone_on.exit_code == 0, gone_on.output
    found = runner.invoke(app, ["interpret", "run", "--count", "2", "--out", "found"])
    assert found.exit_code == 0, found.output
    assert (tmp_path / "found" / "tokens.png").is_file()
    assert Path.cwd() == tmp_path


def test_synthesize_and_evaluate(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    pairs = tmp_path / "pairs"
    made = runner.invoke(app, ["synthesize", str(scenes[1]), str(pairs), "--untouched", "0"])
    assert made.exit_code == 0, made.output
    assert "6 pairs in" in made.output
    command = ["evaluate", str(pairs / "input"), str(pairs / "gt"), "--metrics", "psnr,ssim"]
    found = runner.invoke(app, [*command, "--out", str(tmp_path / "measured")])
    assert found.exit_code == 0, found.output
    assert "mean of 6" in found.output
    metrics = tmp_path / "measured" / "metrics.json"
    metrics.write_text("of another evaluation")
    for place, words in (
        (tmp_path / "measured", "holds an evaluation already: give another --out, or --force to replace it"),
        (metrics, "metrics.json is a file: give a folder"),
        (metrics / "below", "cannot be made (Not a directory): give another --out"),
    ):
        refused = runner.invoke(app, [*command, "--out", str(place)])
        assert refused.exit_code == 2
        assert words in refused.output
    assert metrics.read_text() == "of another evaluation"
    assert runner.invoke(app, [*command, "--out", str(tmp_path / "measured"), "--force"]).exit_code == 0
    assert "psnr" in metrics.read_text()


def test_a_terminal_that_lacks_letters_loses_no_evaluation(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    """As a code page of Windows: what it lacks is spelled out."""
    for side in scenes:
        (side / "scene0.png").rename(side / "caf\u00e9.png")
    (scenes[0] / "t\u014dky\u014d.png").write_bytes(b"not a picture")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "ascii:strict"}
    command = [sys.executable, "-m", "rave_train", "evaluate", *map(str, scenes), "--metrics", "psnr"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], env=environment, capture_output=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert rb"t\u014dky\u014d.png: is not a picture" in done.stdout
    assert "caf\u00e9.png" in (tmp_path / "out" / "table.csv").read_text(encoding="utf-8")


def test_names_that_are_not_utf8_are_synthesized(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    (scenes[1] / "scene0.png").rename(scenes[1] / "caf\udce9.png")
    result = runner.invoke(app, ["synthesize", str(scenes[1]), str(tmp_path / "pairs")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "pairs" / "gt" / "caf\udce9.png").is_file()


def test_version() -> None:
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"rave-train {__version__}\n")


def test_a_bug_keeps_its_traceback(
    scenes: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object) -> None:
        raise RuntimeError("shapes of 3 and 4 do not fit")

    monkeypatch.setattr("rave_train.data.synthesize_folder.synthesize_backlit", stumble)
    result = runner.invoke(app, ["synthesize", str(scenes[1]), str(tmp_path / "pairs")])
    assert isinstance(result.exception, RuntimeError)
    assert "error:" not in result.output


def test_names_of_files_do_nothing_to_a_terminal(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    name = "\x1b]0;title\x07[bold]x[-bold]\udcff.png"
    (scenes[1] / name).write_bytes(b"not a picture")
    result = runner.invoke(app, ["synthesize", str(scenes[1]), str(tmp_path / "pairs")])
    assert result.exit_code == 0, result.output
    assert r"\x1b]0;title\x07[bold]x[-bold]\udcff.png: is not a picture" in result.output
    assert not {"\x1b", "\x07"} & set(result.output)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rave", "absent", "absent", "--out", "run"], "error: absent is not a folder"),
        (
            ["rave", "absent", "absent", "--out", "run", "--iterations", "0"],
            "the run has no enhancement steps",
        ),
        (["resume", "absent"], "absent is not the folder of a rave-train run"),
        (
            ["rave", "--config", "absent", "--out", "run"],
            "absent is not the folder of a rave-train run",
        ),
        (["interpret", "absent"], "absent is not the folder of a rave-train run"),
        (["synthesize", "absent", "out"], "absent is not a folder"),
        (["synthesize", "absent", "out", "--panoramas", "--untouched", "0.5"], "leave out --untouched"),
        (["evaluate", "absent", "absent", "--metrics", "beauty"], "beauty is not a metric"),
        (["rave", "absent", "absent", "--out", "run", "--batch", "many"], "Invalid value for '--batch'"),
        (["raev"], "No such command 'raev'"),
    ],
)
def test_wrong_use_exits_with_2_and_a_line(arguments: list[str], words: str) -> None:
    result = runner.invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output
