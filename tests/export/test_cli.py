"""rave-export by command line: what it makes, and that errors say what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rave_export.cli import main
from rave_export.errors import ExportError
from rave_export.graphs.variants import Graph
from rave_export.int8.calibration import proof_pictures
from rave_runtime.bundle import read_bundle
from rave_runtime.version import __version__
from rave_train.checkpoint import save_checkpoint
from rave_train.network import EnhancementNetwork
from tests.export.conftest import Run, few_proof_pictures


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from rave_export.cli import main\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'PIL', 'typer'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
        "main(['--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in (
        "--fp16",
        "--int8",
        "--calibration",
        "--trt",
        "--single-graph",
        "full",
        "--triton",
        "--verify",
    ):
        assert option in done.stdout


def fail_to_build(*_: object, **__: object) -> None:
    raise ExportError("the GPU is lost")


def test_export_makes_what_is_asked_for(
    run: Run,
    checkpoint_file: Path,
    exports: Callable[..., list[Graph]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rave_export.bundles.float_graphs", exports)
    monkeypatch.setattr("rave_export.bundles.proof_pictures", few_proof_pictures)
    monkeypatch.setattr("rave_export.export_command.default_pictures", lambda: proof_pictures()[:1])
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(photos / "a.png")
    output, models = tmp_path / "bundle", tmp_path / "models"
    arguments = [str(checkpoint_file), "-o", str(output), "--int8", "--calibration", str(photos)]
    arguments += ["--single-graph", "full", "--triton", str(models), "--working-size", "640", "--trt"]
    monkeypatch.setattr("rave_export.export_command.import_tensorrt", lambda flavour: None)
    monkeypatch.setattr("rave_export.export_command.find_build_gpu", lambda trt: None)
    monkeypatch.setattr("rave_export.export_command.add_engines", fail_to_build)
    done = run(*arguments)
    assert done.exit_code == 1, "engines were asked for and not made"
    assert "engines of TensorRT were not made: the GPU is lost" in done.stderr
    assert "engines are built in fp32: TensorRT takes INT8 with zero points of 0 only" in done.stderr
    manifest = read_bundle(output).manifest
    assert manifest.precisions() == ("fp32", "int8")
    assert manifest.working_size_px == 640
    assert manifest.provenance == {"method": "test"}
    assert "calibrating int8 graphs on 3 pictures" in done.stderr
    assert "whole_uint8_int8.onnx" in done.stdout
    assert "worst PSNR dB" in done.stdout
    assert (models / "rave_whole_uint8_int8" / "config.pbtxt").is_file()


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
    run: Run,
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
    done = run(str(tmp_path / "net.safetensors"), "-o", str(tmp_path / "one"), *given)
    assert done.exit_code == 0, done.stderr
    assert read_bundle(tmp_path / "one").manifest.working_size_px == expected_px
    size = f"a long side of {expected_px} px" if expected_px else "full size"
    assert f"rave-run estimates the light at {size}" in done.stdout
    again = run(str(tmp_path / "one"), "-o", str(tmp_path / "two"))
    assert again.exit_code == 0, again.stderr
    assert read_bundle(tmp_path / "two").manifest.working_size_px == expected_px


def test_the_command_that_tries_a_page_can_be_copied(
    run: Run,
    checkpoint_file: Path,
    exports: Callable[..., list[Graph]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rave_export.bundles.float_graphs", exports)
    monkeypatch.setattr("rave_export.bundles.measure_bundle", lambda *_: [])
    monkeypatch.setattr("rave_export.export_command.read_package", lambda archive: b"")
    monkeypatch.setattr("rave_export.export_command.write_page", lambda *_: None)
    done = run(checkpoint_file, "-o", tmp_path / "new", "--web", tmp_path / "my page")
    assert done.exit_code == 0, done.stderr
    assert f'python -m http.server --directory "{tmp_path / "my page"}"' in done.stdout


def test_version_is_printed(run: Run) -> None:
    done = run("--version")
    assert (done.exit_code, done.stdout) == (0, f"rave-export {__version__}\n")


def test_a_reader_who_goes_away_ends_nothing() -> None:
    """As `rave-export ... | head -1` does, when the bundle is whole and is reported."""
    code = "from rave_export.cli import _say\nfor line in 'ab': _say(line)"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_bug_of_ours_keeps_its_traceback(
    run: Run, checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("shapes do not match")

    monkeypatch.setattr("rave_export.export_command.export_bundle", fail)
    with pytest.raises(ValueError, match="shapes do not match"):
        main([str(checkpoint_file), "-o", str(tmp_path / "new")])


def test_a_container_that_is_stopped_leaves_nothing_half_made(
    run: Run, checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr("rave_export.bundles.float_graphs", stop)
    done = run(checkpoint_file, "-o", tmp_path / "new")
    assert done.exit_code == 130
    assert "rave-export: interrupted; nothing half-made is left" in done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("option", "module", "title"),
    [("--trt", "tensorrt", "TensorRT"), ("--trt-rtx", "tensorrt_rtx", "TensorRT for RTX")],
)
def test_a_missing_library_for_engines_is_said_before_the_work(
    run: Run,
    option: str,
    module: str,
    title: str,
    checkpoint_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was said after all graphs had been exported and proven."""
    monkeypatch.setitem(sys.modules, module, None)
    done = run(checkpoint_file, "-o", tmp_path / "new", option)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"rave-export: {title} is missing")
    assert line.endswith(f"or leave out {option}")
    assert not (tmp_path / "new").exists()


def test_an_option_without_its_value_leaves_the_checkpoint_alone(run: Run, tmp_path: Path) -> None:
    done = run("--single-graph", tmp_path / "none.pth", "-o", tmp_path / "new")
    assert done.exit_code == 2
    assert "none.pth does not exist: a checkpoint" in done.stderr


def test_a_missing_exporter_is_one_line(
    run: Run, checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    done = run(checkpoint_file, "-o", tmp_path / "new")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "rave-export: onnxscript is missing: pip install 'rave-backlit[export]'"
    )

    def clash(name: str) -> None:
        raise AttributeError("module 'ml_dtypes' has no attribute 'float4_e2m1fn'")

    monkeypatch.setattr("rave_export.graphs.split.importlib.import_module", clash)
    done = run(checkpoint_file, "-o", tmp_path / "new")
    assert done.exit_code == 1
    assert (
        "onnxscript does not go with the onnx and torch that are installed (module 'ml_dtypes'" in done.stderr
    )
    assert not (tmp_path / "new").exists()


def test_an_error_that_is_not_of_versions_keeps_its_words(
    run: Run, checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine short of memory, or a changed network, were told to upgrade onnxscript."""
    for error, words in (
        (
            RuntimeError("can't allocate memory: you tried to allocate 40 bytes"),
            "torch could not write the network as ONNX: RuntimeError: can't allocate memory: you tried",
        ),
        (AttributeError("'Tensor' object has no attribute 'lght'"), "AttributeError: 'Tensor' object has no"),
        (
            OSError(28, "No space left on device", "graph.onnx"),
            "new cannot be written (No space left on device)",
        ),
    ):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            if isinstance(error, OSError):
                raise error
            raise RuntimeError("Failed to export the model") from error

        monkeypatch.setattr("rave_export.graphs.split.torch.onnx.export", fail)
        done = run(checkpoint_file, "-o", tmp_path / "new")
        assert done.exit_code == 1
        assert words in done.stderr.splitlines()[-1]
        assert "onnxscript" not in done.stderr


@pytest.mark.parametrize(
    "missing",
    [
        "onnxscript._framework_apis",
        pytest.param("onnxscript.evaluator", marks=pytest.mark.slow),
        pytest.param("onnxscript.function_libs", marks=pytest.mark.slow),
    ],
)
def test_an_onnxscript_that_lacks_what_torch_asks_for_is_one_line(
    missing: str, checkpoint_file: Path, tmp_path: Path
) -> None:
    """An older one than torch needs: 53 lines of traceback, or the advice to install what is installed."""
    code = f"""
import importlib.abc, sys

class Older(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.startswith({missing!r}):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Older())
from rave_export.cli import main
main()
"""
    command = [sys.executable, "-c", code, str(checkpoint_file), "-o", str(tmp_path / "new")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert len(said) == 1, done.stderr
    assert "rave-export: onnxscript does not go with the onnx and torch that are installed" in said[0]
    assert said[0].endswith("pip install --upgrade onnx onnxscript")
