"""Engines are checked against the real bindings of TensorRT, without a GPU or its libraries."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rave_export.engines.add import add_engines, write_engines
from rave_export.engines.build import EngineOptions, find_build_gpu, import_tensorrt
from rave_export.engines.precision import check_precision, float32_convolutions
from rave_export.errors import ExportError
from rave_runtime.backends.tensorrt.building import Profile, profile_shapes
from rave_runtime.bundle import Bundle, EngineFile, TensorSpec, read_bundle
from rave_runtime.files import windows
from rave_train.network import EnhancementNetwork

STUB = """
void *createInferBuilder_INTERNAL(void *a, int b) { return 0; }
void *createInferRuntime_INTERNAL(void *a, int b) { return 0; }
void *createInferRefitter_INTERNAL(void *a, void *b, int c) { return 0; }
void *createNvOnnxParser_INTERNAL(void *a, void *b, int c) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void *a, void *b, int c) { return 0; }
void *getBuilderPluginRegistry(int a) { return 0; }
void *getPluginRegistry(void) { return 0; }
int getNvOnnxParserVersion(void) { return 0; }
int initLibNvInferPlugins(void *a, const char *b) { return 1; }
"""

HALF = {"Format/Datatype": "Row major linear FP16 format"}
FLOAT = {"Format/Datatype": "Row major linear FP32 format"}
HALF_11 = {"DataType": "Half", "Format": "Row major linear format (kLINEAR)"}
FLOAT_11 = {"DataType": "Float", "Format": "Row major linear format (kLINEAR)"}


@pytest.mark.trt
@pytest.mark.parametrize("major", ["10", "11"])
def test_every_call_is_one_that_the_bindings_know(exported: Bundle, tmp_path: Path, major: str) -> None:
    wheels = os.environ.get("RAVE_CHECK_WHEELS")
    if not wheels:
        pytest.skip("RAVE_CHECK_WHEELS names no folder with TensorRT's bindings")
    source = tmp_path / "stub.c"
    source.write_text(STUB)
    for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        name = f"lib{library}.so.{major}"
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(tmp_path / name), str(source)]
        subprocess.run(command, check=True)
    path = os.pathsep.join([str(Path(wheels) / f"trt{major}"), *sys.path])
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": path}
    script = Path(__file__).with_name("engines_contract.py")
    done = subprocess.run(
        [sys.executable, str(script), str(exported.folder), major],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"checked {major}." in done.stdout


def information(*layers: tuple[str, dict[str, str], dict[str, str]]) -> dict[str, Any]:
    return {
        "Layers": [
            {"Name": f"layer{i}", "LayerType": kind, "Inputs": [first], "Outputs": [last]}
            for i, (kind, first, last) in enumerate(layers)
        ]
    }


@pytest.mark.parametrize(("half", "single"), [(HALF, FLOAT), (HALF_11, FLOAT_11)])
def test_float32_layers_in_an_fp16_engine_are_found(
    exported: Bundle, half: dict[str, str], single: dict[str, str]
) -> None:
    context = exported.read_file(exported.manifest.graph("context", "fp16", "uint8"))
    enhance = exported.read_file(exported.manifest.graph("enhance", "fp16"))
    assert (float32_convolutions(context), float32_convolutions(enhance)) == (0, 2)
    good = information(("Reformat", single, half), ("CaskConvolution", half, half), ("kgen", single, single))
    check_precision(good, context, "g")
    mixed = information(("CaskConvolution", half, half), ("CaskConvolution", single, single))
    check_precision(mixed, enhance, "g")
    with pytest.raises(ExportError, match=r"1 convolutions of g's engine work in float32 \(0 are meant to\)"):
        check_precision(mixed, context, "g")
    with pytest.raises(ExportError, match="fp16 was asked for, but no layer of g's engine is"):
        check_precision(information(("CaskConvolution", single, single)), context, "g")


@pytest.mark.parametrize("text", ['{"Layers": ["conv1", "conv2"]}', '{"Layers": []}', "{}"])
def test_an_engine_that_tells_nothing_is_refused(exported: Bundle, text: str) -> None:
    graph = exported.read_file(exported.manifest.graph("context", "fp16", "uint8"))
    with pytest.raises(ExportError, match="does not describe the layers of g's engine"):
        check_precision(json.loads(text), graph, "g")


def test_profiles_span_one_tiny_window_to_a_full_batch() -> None:
    spec = TensorSpec("features", "float16", ("batch", 8, "height", "width"))
    assert profile_shapes(spec, Profile(5, 300)) == ((1, 8, 2, 2), (5, 8, 300, 300), (5, 8, 300, 300))


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ExportError, match=r"TensorRT is missing .* pip install 'rave-backlit\[trt\]'"):
        import_tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.9.0.34"))
    with pytest.raises(ExportError, match=r"TensorRT 10\.9\.0\.34 is too old, 10\.12 or newer is needed"):
        import_tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="11.4.0.106"))
    assert import_tensorrt().__version__ == "11.4.0.106"
    no_gpu = SimpleNamespace(cudaGetDeviceCount=lambda: (100, 0))
    monkeypatch.setattr("rave_export.engines.build.import_cuda", lambda: no_gpu)
    with pytest.raises(ExportError, match=r"no NVIDIA GPU is visible .*: run rave-export --trt there"):
        find_build_gpu(SimpleNamespace(__version__="11.4.0.106"))


def describe(bundle: Bundle) -> EngineFile:
    return EngineFile(
        file="engine.plan",
        sha256="0" * 64,
        graph="enhance_fp16.onnx",
        gpu="Test GPU",
        compute_capability="9.0",
        tensorrt_version="10.16.1.11",
        precision="fp16",
        tile_px=256,
        batch=4,
    )


def test_engines_enter_the_manifest(bundle: Bundle) -> None:
    engine = describe(bundle)
    parity = [replace(bundle.manifest.parity[0], precision="fp16", provider="TensorRT")]
    before = len(bundle.manifest.parity)
    found = write_engines(bundle, [(engine, b"plan")], parity)
    assert found.manifest.engines == (engine,)
    assert len(found.manifest.parity) == before + 1
    again = write_engines(found, [(replace(engine, batch=8), b"other")], parity)
    assert [item.batch for item in again.manifest.engines] == [8], "the same file is replaced"
    assert len(again.manifest.parity) == before + 1
    assert (bundle.folder / "engine.plan").read_bytes() == b"other"
    assert not list(bundle.folder.glob(".*"))


def test_a_full_disk_leaves_the_bundle_as_it_was(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    before = sorted((file.name, file.read_bytes()) for file in bundle.folder.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("rave_export.engines.add.write_manifest", fill)
        with pytest.raises(ExportError, match=r"\(No space left on device\): the bundle is unchanged"):
            write_engines(bundle, [(describe(bundle), b"plan")], [])
    assert sorted((file.name, file.read_bytes()) for file in bundle.folder.iterdir()) == before
    assert read_bundle(bundle.folder).manifest == bundle.manifest


def test_a_virus_scanner_that_looks_at_a_new_engine_spoils_nothing(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.replace, []

    def hold_at_first(source: Path, target: Path) -> None:
        calls.append(target)
        if calls.count(target) == 1:
            raise PermissionError(errno.EACCES, "Access is denied")
        real(source, target)

    monkeypatch.setattr(windows, "_IS_HERE", True)
    monkeypatch.setattr(os, "replace", hold_at_first)
    engine = describe(bundle)
    assert write_engines(bundle, [(engine, b"plan")], []).manifest.engines == (engine,)
    assert len(calls) == 4


def test_an_interruption_leaves_the_bundle_as_it_was(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine and a folder stayed, and the program said that nothing half-made was left."""

    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    before = sorted((file.name, file.read_bytes()) for file in bundle.folder.iterdir())
    monkeypatch.setattr("rave_export.engines.add.write_manifest", stop)
    with pytest.raises(KeyboardInterrupt):
        write_engines(bundle, [(describe(bundle), b"plan")], [])
    assert sorted((file.name, file.read_bytes()) for file in bundle.folder.iterdir()) == before


@pytest.mark.gpu
@pytest.mark.trt
def test_engines_are_built_and_proven_on_a_gpu(bundle: Bundle, network: EnhancementNetwork) -> None:
    pytest.importorskip("tensorrt")
    found = add_engines(bundle.folder, EngineOptions(tile_px=160, batch=2), network)
    assert len(found.manifest.engines) == 3
    assert any(row.provider == "TensorRT" for row in found.manifest.parity)
