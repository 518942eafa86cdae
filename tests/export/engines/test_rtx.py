"""TensorRT for RTX, the real library: it needs no GPU to build engines, only to run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rave_export.engines.add import add_engines
from rave_export.engines.build import EngineOptions
from rave_export.errors import ExportError
from rave_runtime.bundle import Bundle
from rave_train.network import EnhancementNetwork


@pytest.mark.trt
def test_every_graph_is_built_with_the_types_it_means(exported: Bundle) -> None:
    wheels = os.environ.get("RAVE_CHECK_WHEELS")
    if not wheels or not (Path(wheels) / "rtx").is_dir():
        pytest.skip("RAVE_CHECK_WHEELS names no folder with TensorRT for RTX")
    path = os.pathsep.join([str(Path(wheels) / "rtx"), *sys.path])
    script = Path(__file__).with_name("build_rtx.py")
    done = subprocess.run(
        [sys.executable, str(script), str(exported.folder)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *engines, as_it_is, refused = json.loads(done.stdout.splitlines()[-1])
    assert [engine["file"].partition("_trt")[0] for engine in engines] == [
        f"{graph}_{gpus}"
        for graph in ("context_uint8_fp16", "context_float32_fp16", "enhance_fp16", "enhance_fp32")
        for gpus in ("rtx", "rtx_turing")
    ]
    assert all(engine["bytes"] > 100_000 for engine in engines)
    assert {engine["targets"] for engine in engines[1::2]} == {1}, "Turing's bit in the header of a plan"
    assert {engine["targets"] & 1 for engine in engines[::2]} == {0}
    assert "for Turing (SM75): FP32 GEMM is not supported" in as_it_is["as it is"]
    assert "convolutions of enhance would work in float32, 2 should" in refused["refused"]


def test_without_the_library(
    bundle: Bundle, network: EnhancementNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(ExportError, match=r"TensorRT for RTX is missing .*pip install 'rave-backlit\[rtx\]'"):
        add_engines(bundle.folder, EngineOptions(flavour="tensorrt-rtx"), network)
