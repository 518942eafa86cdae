"""Triton's own server (of the wheel nvidia-pytriton) with the repositories that rave-export writes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from rave_export.bundles import Contents, export_bundle
from rave_export.triton import write_triton_repository
from rave_runtime import Enhancer
from rave_runtime.arrays import Array
from rave_runtime.bundle.opening import open_bundle
from rave_train.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow

MODEL = "rave_normal_uint8_fp32"


def find_server() -> Path:
    """The folder with the server and its backends."""
    wheels = os.environ.get("RAVE_CHECK_WHEELS")
    folder = Path(wheels or "", "pytriton", "pytriton", "tritonserver")
    if not wheels or not folder.is_dir():
        pytest.skip("RAVE_CHECK_WHEELS names no folder with the wheel nvidia-pytriton")
    return folder


def make_backends(server: Path, folder: Path) -> None:
    """Fills a folder with the backends python and, on top of it, onnxruntime."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file() or b"not found" in subprocess.run(["ldd", stub], capture_output=True).stdout:
        pytest.skip(f"the server's Python backend does not run with Python {version} here: no libpython")
    shutil.copytree(server / "backends" / "python", folder / "python")
    runnable(stub, folder / "python")
    (folder / "onnxruntime").mkdir()
    backend = Path(__file__).with_name("onnxruntime_backend.py")
    shutil.copy(backend, folder / "onnxruntime" / "model.py")


def runnable(program: Path, folder: Path) -> Path:
    copy = Path(shutil.copy(program, folder))
    copy.chmod(0o755)
    return copy


@contextmanager
def serve(models: Path, scratch: Path) -> Iterator[str]:
    """Starts the server, and yields its address once every model has run its warm-up."""
    server = find_server()
    make_backends(server, scratch / "backends")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = runnable(server / "bin" / "tritonserver", scratch)
    environment = os.environ | {
        "LD_LIBRARY_PATH": str(server.parents[1] / "nvidia_pytriton.libs"),
        "PYTHONPATH": os.pathsep.join(str(Path(m.__file__ or "").parents[1]) for m in (np, onnxruntime)),
    }
    log = scratch / "log.txt"
    options = [f"--model-repository={models}", f"--backend-directory={scratch / 'backends'}"]
    options += ["--http-address=127.0.0.1", f"--http-port={port}", "--allow-grpc=0", "--allow-metrics=0"]
    with log.open("wb") as file:
        process = subprocess.Popen([program, *options], stdout=file, stderr=file, env=environment)
    try:
        address = f"http://127.0.0.1:{port}/v2"
        until = time.monotonic() + 120
        while not is_ready(address):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ask(address: str, image: Array, strength: float) -> dict[str, Array]:
    """Sends a picture as JSON; returns the outputs by name."""
    inputs = [
        {"name": "image", "datatype": "UINT8", "shape": [1, *image.shape], "data": image.ravel().tolist()},
        {"name": "strength", "datatype": "FP32", "shape": [1, 1], "data": [strength]},
    ]
    answer = read_json(f"{address}/models/{MODEL}/infer", {"inputs": inputs})
    return {each["name"]: np.reshape(each["data"], each["shape"]) for each in answer["outputs"]}


def read_json(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=120) as answer:
        return json.load(answer)


def test_the_server_gives_what_rave_run_gives(tmp_path: Path) -> None:
    models = tmp_path / "models"
    export_bundle(
        read_checkpoint("embedded"), tmp_path / "bundle", Contents(single_graph="normal"), working_size_px=144
    )
    assert write_triton_repository(open_bundle(tmp_path / "bundle"), models) == [MODEL]
    image = np.random.default_rng(0).integers(0, 90, (60, 80, 3), np.uint8)
    image[:30] += 160
    strengths = [0.0, 0.5, 1.0, 2.0]
    with serve(models, tmp_path) as address, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, address, image, strength) for strength in strengths * 3]
        answers = [each.result() for each in asked]
        (statistics,) = read_json(f"{address}/models/{MODEL}/stats")["model_stats"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(address, image[..., :2], 1.0)
    assert refused.value.code == 400
    assert statistics["inference_count"] >= len(asked)
    assert statistics["execution_count"] < statistics["inference_count"], "requests were joined"
    for answer, strength in zip(answers, strengths * 3, strict=True):
        expected = Enhancer(device="cpu", precision="fp32", strength=strength).enhance(image)
        difference = np.abs(answer["enhanced"][0] - expected.astype(int))
        assert (difference <= 1).mean() >= 0.999
        assert answer["light"].shape == (1, 60, 80)


def test_the_server_loads_graphs_of_tiles(tmp_path: Path) -> None:
    names = write_triton_repository(open_bundle(None), tmp_path / "models")
    with serve(tmp_path / "models", tmp_path) as address:
        for name in names:
            described = read_json(f"{address}/models/{name}")
            assert described["versions"] == ["1"]
            assert described["inputs"][0]["shape"][0] == -1, "any number of tiles"
    assert {name.rpartition("_")[2] for name in names} == {"fp32", "fp16", "int8"}
