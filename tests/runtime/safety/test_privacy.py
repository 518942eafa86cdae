"""Nothing reports home: no file appears in the home folder, no name is looked up, no machine is called."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import rave_runtime
from rave_runtime.backends.privacy import REPORTS_OFF
from rave_runtime.bundle import embedded_bundle, read_bundle, write_manifest
from tests.runtime.pictures import MakePicture
from tests.walls.imports import imported

ROOMS = Path(rave_runtime.__file__).parents[2]
RUN = "from rave_runtime.cli import main; main()"
LOOPBACK = ("127.", "::1", "::ffff:127.", "localhost", socket.gethostname())

Traced = Callable[..., set[str]]


@pytest.fixture
def photograph(picture: MakePicture, tmp_path: Path) -> Path:
    file = tmp_path / "a.jpg"
    Image.fromarray(picture(40, 60)).save(file)
    return file


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("the library that watches the network needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("shim") / "network_log.so"
    source = Path(__file__).with_name("network_log.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


@pytest.fixture
def traced(shim: Path, tmp_path: Path) -> Traced:
    """Runs Python code in an empty home; gives the calls of the network that leave this machine."""

    def run(code: str, *arguments: object) -> set[str]:
        home, log = tmp_path / "home", tmp_path / "network.log"
        home.mkdir()
        off = set(REPORTS_OFF)
        environment = {name: value for name, value in os.environ.items() if name not in off}
        environment |= {
            "HOME": str(home),
            "RAVE_CACHE_DIR": "",
            "OMP_NUM_THREADS": "1",  # the tests' processes have the others
            "LD_PRELOAD": str(shim),
            "NETWORK_LOG": str(log),
        }
        environment.pop("XDG_CACHE_HOME", None)
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stderr
        assert sorted(home.rglob("*")) == []
        calls = set(log.read_text().splitlines()) if log.exists() else set()
        return {call for call in calls if not call.split(" ", 1)[1].startswith(LOOPBACK)}

    return run


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_a_photograph_leaves_nothing_at_home_and_calls_nobody(
    device: str, traced: Traced, photograph: Path, tmp_path: Path
) -> None:
    if device == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    calls = traced(RUN, photograph, tmp_path / "out.jpg", "--device", device)
    assert calls == set()
    assert (tmp_path / "out.jpg").is_file()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_local_cluster_talks_to_this_machine_alone(
    traced: Traced, photograph: Path, tmp_path: Path
) -> None:
    assert traced(RUN, photograph, tmp_path / "out.jpg", "--device", "cpu", "--cluster", "local") == set()
    log = (tmp_path / "network.log").read_text()
    assert "bind ::ffff:127.0.0.1" in log or "bind 127.0.0.1" in log


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is None, reason="s3fs is not installed")
def test_stores_ask_for_nothing_until_one_is_named(traced: Traced, photograph: Path, tmp_path: Path) -> None:
    code = (
        "import s3fs; from rave_runtime.files.location import parse_location; "
        "parse_location('s3://bucket/a.jpg'); " + RUN
    )
    assert traced(code, photograph, tmp_path / "out.jpg", "--device", "cpu") == set()


def test_the_library_reports_nothing_either(traced: Traced) -> None:
    code = (
        "import numpy; from rave_runtime import Enhancer; "
        "Enhancer(device='cpu').enhance(numpy.zeros((40, 60, 3), numpy.uint8))"
    )
    assert traced(code) == set()


def test_proving_a_bundle_reports_nothing(traced: Traced, tmp_path: Path) -> None:
    """One with the graphs of one precision, in a few cases, since more call nobody else."""
    for package in ("torch", "onnx"):
        pytest.importorskip(package)
    shutil.copytree(embedded_bundle(), tmp_path / "bundle")
    manifest = read_bundle(tmp_path / "bundle").manifest
    graphs = tuple(graph for graph in manifest.graphs if graph.precision == "fp32")
    write_manifest(tmp_path / "bundle", replace(manifest, graphs=graphs, parity=()))
    code = (
        "from rave_export.cli import main; from rave_export.proof import verify; "
        "cases = verify.probe_cases()[2:5]; verify.probe_cases = lambda: cases; main()"
    )
    assert traced(code, "--verify", tmp_path / "bundle") == set()


def test_clients_of_the_model_hub_are_told_to_report_nothing(traced: Traced) -> None:
    pytest.importorskip("huggingface_hub")
    code = (
        "import rave_train; from huggingface_hub import constants; assert constants.HF_HUB_DISABLE_TELEMETRY"
    )
    assert traced(code) == set()


def test_the_doctor_says_that_reports_are_off() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, "--doctor"], capture_output=True, text=True, check=False
    )
    assert "usage reports of onnxruntime, OpenVINO, Ray and the model hub: off" in done.stdout


@pytest.mark.skipif(not (ROOMS / "runtime").is_dir(), reason="the source tree is not here")
def test_onnxruntime_is_imported_in_one_place() -> None:
    files = [
        file for room in ("runtime", "train", "export", "benchmarks") for file in (ROOMS / room).rglob("*.py")
    ]
    importing = [
        file.name for file in files if "onnxruntime" in {name.split(".")[0] for name in imported(file)}
    ]
    assert importing == ["privacy.py"]
