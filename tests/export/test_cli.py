from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from rave_export.bundles import write_checkpoint
from rave_export.cli import app
from rave_export.variants import Graph
from rave_runtime.bundle import Bundle, read_bundle, write_manifest
from rave_train.checkpoint import Checkpoint, save_checkpoint
from rave_train.network import EnhancementNetwork

runner = CliRunner()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from rave_export.cli import app\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'PIL'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
        "app(['--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in ("--fp16", "--int8", "--calibration", "--trt", "--single-graph", "--triton", "--verify"):
        assert option in done.stdout


def test_export_makes_what_is_asked_for(
    checkpoint_file: Path,
    exports: Callable[..., list[Graph]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rave_export.bundles.float_graphs", exports)
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(photos / "a.png")
    output, models = tmp_path / "bundle", tmp_path / "models"
    arguments = [str(checkpoint_file), "-o", str(output), "--int8", "--calibration", str(photos)]
    arguments += ["--single-graph", "--triton", str(models), "--working-size", "640", "--trt"]
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    done = runner.invoke(app, arguments)
    assert done.exit_code == 1, "engines were asked for and not made"
    assert "no engines were made: TensorRT is missing" in done.stderr
    assert "pip install 'rave-backlit[trt]'" in done.stderr
    manifest = read_bundle(output).manifest
    assert manifest.precisions() == ("fp32", "int8")
    assert manifest.working_size_px == 640
    assert manifest.provenance == {"method": "test"}
    assert "calibrating int8 graphs on 2 pictures" in done.stderr
    assert "whole_uint8_int8.onnx" in done.stdout
    assert "worst PSNR dB" in done.stdout
    assert (models / "rave_whole_uint8_int8" / "config.pbtxt").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "give a CHECKPOINT and --output BUNDLE, or --verify BUNDLE"),
        (["{pth}"], 2, "give a CHECKPOINT and --output BUNDLE"),
        (
            ["{pth}", "-o", "{new}", "--padding", "mirror"],
            2,
            "--padding mirror is unknown: give",
        ),
        (
            ["{pth}", "-o", "{new}", "--trt-hardware", "all"],
            2,
            "--trt-hardware all is unknown: give one",
        ),
        (["{pth}", "-o", "{new}", "--calibration", "{old}"], 2, "--calibration is for --int8"),
        (["{pth}", "-o", "{new}", "--images", "{old}"], 2, "--reference and --images belong to --verify"),
        (["{pth}", "-o", "{new}", "--verify", "{old}"], 2, "give no CHECKPOINT and no --output with it"),
        (["--verify", "{old}", "--fp16"], 2, "--verify makes nothing: give it no options of an export"),
        (["{pth}", "-o", "{new}", "--int8-every-layer"], 2, "--int8-every-layer is for --int8"),
        (["{pth}", "-o", "{new}", "--int8-target", "50"], 2, "--int8-target is for --int8 that may leave"),
        (
            ["{pth}", "-o", "{new}", "--int8", "--int8-every-layer", "--int8-target", "50"],
            2,
            "not with --int8-every",
        ),
        (["--verify", "{old}", "--int8-target", "50"], 2, "--verify makes nothing"),
        (["{pth}", "-o", "{new}", "--triton", "{new}"], 2, "--output and --triton are one folder"),
        (["{pth}", "-o", "{new}"], 1, "is a checkpoint of another network"),
        (["{new}", "-o", "{new}"], 1, "is not there: a checkpoint"),
        (["{good}", "-o", "{old}"], 1, "exists: choose another output folder, or give --force"),
        (["{good}", "-o", "{link}", "--force"], 1, "is a link: name the folder itself"),
        (["--verify", "{old}", "--working-size", "64"], 2, "--verify makes nothing"),
        (["--verify", "{old}", "--padding", "zeros"], 2, "--padding with --verify is that of a --reference"),
        (["{good}", "-o", "{new}", "--working-size", "20"], 2, "at least 32 are needed, or 0 for full"),
        (["{pth}", "-o", "{new}", "--int8", "--int8-target", "nan"], 2, "--int8-target"),
        (["{good}", "-o", "{new}", "--triton", "{old}"], 1, "exists: choose another output folder"),
        (["{good}", "-o", "{new}", "--opset", "12"], 1, "opset 12 is too low for these graphs"),
        (["{good}", "-o", "{new}", "--int8", "--calibration", "{old}"], 1, "holds no pictures"),
        (["--verify", "{old}"], 1, "is not a bundle: it has no manifest.json"),
    ],
)
def test_errors_say_what_to_do(
    arguments: list[str], code: int, words: str, checkpoint_file: Path, tmp_path: Path
) -> None:
    torch.save({"backbone.weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "old").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "old")
    names = {
        "link": tmp_path / "link",
        "pth": tmp_path / "other.pth",
        "good": checkpoint_file,
        "old": tmp_path / "old",
        "new": tmp_path / "new",
    }
    done = runner.invoke(app, [argument.format(**names) for argument in arguments])
    assert (done.exit_code, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "old").iterdir()) == []


def test_verify_passes_and_fails(bundle: Bundle, checkpoint_file: Path, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    arguments = ["--verify", str(bundle.folder), "--reference", str(checkpoint_file)]
    done = runner.invoke(app, [*arguments, "--images", str(tmp_path)])
    assert done.exit_code == 0, done.stderr
    assert "passed" in done.stdout
    assert "mixed batch" in done.stdout
    assert "given" in done.stdout
    absent = runner.invoke(app, [*arguments, "--images", str(tmp_path / "none")])
    assert absent.exit_code == 1
    assert "none is not a folder: give --images a folder of photographs" in absent.stderr

    file = bundle.folder / "manifest.json"
    content = json.loads(file.read_text())
    content["network"]["halo_px"] = 6
    file.write_text(json.dumps(content))
    done = runner.invoke(app, arguments)
    assert done.exit_code == 1
    assert "FAILED" in done.stderr
    assert "is allowed" in done.stderr


def test_verify_compares_with_the_bundles_own_checkpoint(bundle: Bundle) -> None:
    arguments = ["--verify", str(bundle.folder)]
    assert runner.invoke(app, arguments).exit_code == 0
    other = write_checkpoint(bundle.folder, Checkpoint(EnhancementNetwork(8), {}))
    write_manifest(bundle.folder, replace(bundle.manifest, checkpoint=other))
    done = runner.invoke(app, arguments)
    assert done.exit_code == 1
    assert "measurements are over their tolerance" in done.stderr


@pytest.mark.parametrize(
    ("given", "provenance", "expected_px"),
    [
        ([], {"training_size_px": 144}, 144),
        ([], {"training_size_px": 16}, 32),
        ([], {}, 512),
        (["--working-size", "0"], {"training_size_px": 144}, None),
        (["--working-size", "96"], {"training_size_px": 144}, 96),
    ],
)
def test_the_light_is_estimated_at_the_size_of_the_training(
    given: list[str],
    provenance: dict[str, int],
    expected_px: int | None,
    network: EnhancementNetwork,
    exports: Callable[..., list[Graph]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rave_export.bundles.float_graphs", exports)
    monkeypatch.setattr("rave_export.bundles.measure_bundle", lambda *_: [])
    save_checkpoint(network, tmp_path / "net.safetensors", provenance)
    done = runner.invoke(app, [str(tmp_path / "net.safetensors"), "-o", str(tmp_path / "one"), *given])
    assert done.exit_code == 0, done.stderr
    assert read_bundle(tmp_path / "one").manifest.working_size_px == expected_px
    assert f"light at {expected_px or 'full size'}" in done.stdout
    again = runner.invoke(app, [str(tmp_path / "one"), "-o", str(tmp_path / "two")])
    assert again.exit_code == 0, again.stderr
    assert read_bundle(tmp_path / "two").manifest.working_size_px == expected_px


def test_verify_without_torch_compares_with_float32_graphs(
    bundle: Bundle, checkpoint_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("rave_export.cli.find_spec", lambda name: None)
    monkeypatch.setattr("rave_export.verify.read_reference", missing)
    assert runner.invoke(app, ["--verify", str(bundle.folder)]).exit_code == 0
    done = runner.invoke(app, ["--verify", str(bundle.folder), "--reference", str(checkpoint_file)])
    assert done.exit_code == 1
    assert "torch is missing: pip install 'rave-backlit[export]'" in done.stderr


def test_verify_takes_the_word_for_the_embedded_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rave_export.verify.measure_bundle", lambda *_: [])
    monkeypatch.setattr("rave_export.verify.halo_failures", lambda *_: [])
    done = runner.invoke(app, ["--verify", "embedded"])
    assert (done.exit_code, done.stderr) == (0, "")
