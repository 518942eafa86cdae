"""rave-export --verify: what passes, what fails, and what is proven without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rave_export.bundles import write_checkpoint
from rave_runtime.bundle import Bundle, write_manifest
from rave_train.checkpoint import Checkpoint
from rave_train.network import EnhancementNetwork
from tests.export.conftest import Run


def test_verify_passes_and_fails(run: Run, bundle: Bundle, checkpoint_file: Path, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    arguments = ["--verify", str(bundle.folder), "--reference", str(checkpoint_file)]
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much")
    done = run(*arguments, "--images", str(tmp_path))
    assert done.exit_code == 0, done.stderr
    assert f"rave-export: skipped {tmp_path / 'broken.jpg'}: " in done.stderr
    assert "within their tolerances" in done.stdout
    assert "1 only hashed" in done.stdout, "the bundle's own checkpoint is not what was given"
    assert "mixed batch" in done.stdout
    assert "given" in done.stdout
    absent = run(*arguments, "--images", str(tmp_path / "none"))
    assert absent.exit_code == 2
    assert "none is not a folder: give --images a folder of photographs" in absent.stderr

    file = bundle.folder / "manifest.json"
    content = json.loads(file.read_text())
    content["network"]["halo_px"] = 6
    file.write_text(json.dumps(content))
    done = run(*arguments)
    assert done.exit_code == 1
    assert "FAILED" in done.stderr
    assert "is allowed" in done.stderr


def test_verify_compares_with_the_bundles_own_checkpoint(run: Run, bundle: Bundle) -> None:
    arguments = ["--verify", str(bundle.folder)]
    done = run(*arguments)
    assert done.exit_code == 0
    assert "passed: 13 files" in done.stdout
    other = write_checkpoint(bundle.folder, Checkpoint(EnhancementNetwork(8), {}))
    write_manifest(bundle.folder, replace(bundle.manifest, checkpoint=other))
    done = run(*arguments)
    assert done.exit_code == 1
    assert "measurements are over their tolerance" in done.stderr
    assert "enhance_fp32.onnx          wrong   on CPU" in done.stdout, "it was called proven"
    (bundle.folder / other.file).unlink()
    done = run(*arguments)
    assert done.exit_code == 1, "a bundle that lacks a file fails, as one with a damaged graph does"
    assert f"{other.file} is named by the manifest but cannot be read: No such file or" in done.stderr


def test_verify_without_torch_compares_with_float32_graphs(
    run: Run, bundle: Bundle, checkpoint_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("rave_export.verify_command.find_spec", lambda name: None)
    monkeypatch.setattr("rave_export.verify_command.read_reference", missing)
    assert run("--verify", str(bundle.folder)).exit_code == 0
    done = run("--verify", str(bundle.folder), "--reference", str(checkpoint_file))
    assert done.exit_code == 1
    assert "torch is missing: pip install 'rave-backlit[export]'" in done.stderr


def test_verify_takes_the_word_for_the_embedded_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rave_export.proof.report.measure_bundle", lambda *_: [])
    monkeypatch.setattr("rave_export.proof.report.halo_failures", lambda *_: [])
    done = run("--verify", "embedded")
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_bundle_is_proven_where_torch_is_not_installed(bundle: Bundle) -> None:
    graphs = tuple(graph for graph in bundle.manifest.graphs if graph.precision == "fp32")
    write_manifest(bundle.folder, replace(bundle.manifest, graphs=graphs))
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'rave_train'], None))\n"
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from rave_export.cli import main\n"
        "main(['--verify', sys.argv[1]])\n"
    )
    command = [sys.executable, "-c", code, str(bundle.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "checkpoint.safetensors" in done.stdout
    assert "is proven in part" in done.stdout
    assert "1 only hashed" in done.stdout
