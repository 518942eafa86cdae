"""The native runner against stand-ins: CUDA whose memory is the host's, engines that run the ONNX graphs."""

from __future__ import annotations

import ctypes
import hashlib
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from rave_runtime import DeviceError, Enhancer
from rave_runtime.backends.tensorrt_network import Gpu, choose_engine
from rave_runtime.bundle import EngineFile, Manifest, embedded_bundle, read_bundle, write_manifest

MakePicture = Callable[..., NDArray[np.uint8]]

H200 = Gpu("NVIDIA H200", "9.0", "11.4.0")
CHANNELS = read_bundle(embedded_bundle()).manifest.network.channels


def engine_for(graph: str, **changes: Any) -> EngineFile:
    engine = EngineFile(
        file=graph.replace(".onnx", ".plan"),
        sha256="0" * 64,
        graph=graph,
        gpu=H200.name,
        compute_capability=H200.compute_capability,
        tensorrt_version=H200.tensorrt_version,
        precision="fp32",
        tile_px=512,
        batch=4,
    )
    return replace(engine, **changes)


class HostCuda(types.ModuleType):
    """The calls of CUDA's runtime that the network makes, on host memory."""

    cudaMemcpyKind = types.SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815

    def __init__(self, gpu: Gpu = H200, count: int = 1) -> None:
        super().__init__("runtime")
        self._gpu, self._count, self._kept = gpu, count, list[Any]()

    def cudaStreamCreate(self) -> tuple[int, int]:  # noqa: N802
        return 0, 7

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:  # noqa: N802
        assert stream == 7
        return (0,)

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        self._kept.append(ctypes.create_string_buffer(size))
        return 0, ctypes.addressof(self._kept[-1])

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        (freed,) = [block for block in self._kept if ctypes.addressof(block) == address]
        self._kept.remove(freed)
        return (0,)

    @property
    def allocations(self) -> int:
        return len(self._kept)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:  # noqa: N802
        assert (kind in (1, 2), stream) == (True, 7)
        ctypes.memmove(to, source, size)
        return (0,)

    def cudaGetDeviceCount(self) -> tuple[int, int]:  # noqa: N802
        return 0, self._count

    def cudaGetDeviceProperties(self, device: int) -> tuple[int, Any]:  # noqa: N802
        major, minor = map(int, self._gpu.compute_capability.split("."))
        return 0, types.SimpleNamespace(name=self._gpu.name.encode(), major=major, minor=minor)


class Mode(Enum):
    INPUT = 0
    OUTPUT = 1


class OnnxEngine:
    """An engine and its execution context in one: runs an ONNX graph on raw addresses."""

    def __init__(self, plan: bytes) -> None:
        self._session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self._inputs = {item.name: item for item in self._session.get_inputs()}
        self._names = [*self._inputs, *(item.name for item in self._session.get_outputs())]
        self.num_io_tensors = len(self._names)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name in self._inputs else Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> type:
        return np.uint8 if name in self._inputs and "uint8" in self._inputs[name].type else np.float32

    def create_execution_context(self) -> OnnxEngine:
        return self

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return max(shape) <= 512

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name == "pooled":
            return (self._shapes["image"][0], CHANNELS, 12, 12)
        if name == "features":
            count, height, width, _ = self._shapes["image"]
            return (count, CHANNELS, height, width)
        count, _, height, width = self._shapes["features"]
        return (count, height, width)

    def _view(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        dtype = np.dtype(self.get_tensor_dtype(name))
        raw = (ctypes.c_char * (int(np.prod(shape)) * dtype.itemsize)).from_address(self._addresses[name])
        return np.frombuffer(raw, dtype).reshape(shape)

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 7
        results = self._session.run(
            None, {name: self._view(name, shape) for name, shape in self._shapes.items()}
        )
        for item, value in zip(self._session.get_outputs(), results, strict=True):
            view = self._view(item.name, value.shape)
            ctypes.memmove(view.ctypes.data, np.ascontiguousarray(value).ctypes.data, value.nbytes)
        return True


def host_tensorrt() -> types.ModuleType:
    module = types.ModuleType("tensorrt")
    attributes = {
        "__version__": H200.tensorrt_version,
        "Logger": type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None}),
        "Runtime": type(
            "Runtime",
            (),
            {
                "__init__": lambda self, logger: None,
                "deserialize_cuda_engine": lambda self, plan: OnnxEngine(plan),
            },
        ),
        "TensorIOMode": Mode,
        "nptype": lambda dtype: dtype,
    }
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> HostCuda:
    runtime = HostCuda()
    bindings = types.ModuleType("cuda.bindings")
    bindings.runtime = runtime  # type: ignore[attr-defined]
    monkeypatch.setattr("rave_runtime.backends.devices._is_installed", lambda module: True)
    monkeypatch.setitem(sys.modules, "tensorrt", host_tensorrt())
    monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
    return runtime


@pytest.fixture
def with_engines(bundle_copy: Path) -> Path:
    """The embedded bundle with an "engine" for each float32 graph: the graph itself."""
    manifest = read_bundle(bundle_copy).manifest
    engines = []
    for graph in manifest.graphs:
        if graph.precision == "fp32":
            engine = engine_for(graph.file)
            content = (bundle_copy / graph.file).read_bytes()
            (bundle_copy / engine.file).write_bytes(content)
            engines.append(replace(engine, sha256=hashlib.sha256(content).hexdigest()))
    write_manifest(bundle_copy, replace(manifest, engines=tuple(engines)))
    return bundle_copy


@pytest.mark.parametrize("tile_size", [None, 64])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_engines_give_the_graphs_light(
    cuda: HostCuda,
    with_engines: Path,
    enhancer: Enhancer,
    picture: MakePicture,
    tile_size: int | None,
    dtype: type,
) -> None:
    image = picture(80, 80).astype(dtype) * (257 if dtype is np.uint16 else 1)
    engines = Enhancer(
        with_engines, device="tensorrt", precision="fp32", working_size=None, tile_size=tile_size
    )
    for _ in range(2):  # the second call reuses the first one's memory
        np.testing.assert_allclose(engines.illumination(image), enhancer.illumination(image), atol=1e-5)


def test_photographs_of_many_shapes_take_the_memory_of_the_largest(
    cuda: HostCuda, with_engines: Path, picture: MakePicture
) -> None:
    engines = Enhancer(with_engines, device="tensorrt", precision="fp32", working_size=None, tile_size=None)
    assert engines.batch == 4  # the engines' own limit
    engines.enhance(picture(80, 80))
    allocations = cuda.allocations
    for height in (40, 50, 60, 90):
        engines.enhance(picture(height, 70))
    assert cuda.allocations == allocations


def test_a_tile_larger_than_the_engines_is_refused(
    cuda: HostCuda, with_engines: Path, picture: MakePicture
) -> None:
    engines = Enhancer(with_engines, device="tensorrt", precision="fp32", working_size=None, tile_size=None)
    with pytest.raises(DeviceError, match=r"was not built for image of \[1, 40, 600, 3\]: choose a smaller"):
        engines.illumination(picture(40, 600))


def test_without_a_gpu(cuda: HostCuda, with_engines: Path) -> None:
    cuda._count = 0
    with pytest.raises(DeviceError, match="no NVIDIA GPU is visible to CUDA"):
        Enhancer(with_engines, device="tensorrt", precision="fp32")


def test_without_the_libraries(with_engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rave_runtime.backends.devices._is_installed", lambda module: False)
    with pytest.raises(DeviceError, match=r"tensorrt is not installed: pip install 'rave-backlit\[trt\]'"):
        Enhancer(with_engines, device="tensorrt")


@pytest.mark.parametrize(
    ("changes", "gpu", "fits"),
    [
        ({}, H200, True),
        ({}, Gpu("NVIDIA H100", "9.0", "11.4.0"), False),
        ({}, Gpu("NVIDIA H200", "9.0", "11.5.0"), False),
        ({"version_compatible": True}, Gpu("NVIDIA H200", "9.0", "11.5.0"), True),
        ({"version_compatible": True}, Gpu("NVIDIA H200", "9.0", "10.12.0"), False),
        ({"hardware": "same_compute_capability"}, Gpu("NVIDIA H100", "9.0", "11.4.0"), True),
        ({"hardware": "same_compute_capability"}, Gpu("NVIDIA A100", "8.0", "11.4.0"), False),
        ({"hardware": "ampere_plus"}, Gpu("NVIDIA A100", "8.0", "11.4.0"), True),
        ({"hardware": "ampere_plus"}, Gpu("NVIDIA T4", "7.5", "11.4.0"), False),
    ],
)
def test_an_engine_runs_only_where_its_key_says(
    enhancer: Enhancer, changes: dict[str, Any], gpu: Gpu, fits: bool
) -> None:
    graph = enhancer.manifest.graph("enhance", "fp32")
    manifest: Manifest = replace(enhancer.manifest, engines=(engine_for(graph.file, **changes),))
    if fits:
        assert choose_engine(manifest, graph, gpu).graph == graph.file
    else:
        with pytest.raises(DeviceError, match=rf"is for {gpu.name} .*; the bundle has NVIDIA H200 .*--trt"):
            choose_engine(manifest, graph, gpu)
