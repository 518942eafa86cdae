"""The native runner against stand-ins: CUDA whose memory is the host's, engines that run the ONNX graphs."""

from __future__ import annotations

import ctypes
import hashlib
import sys
import types
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from rave_runtime import DeviceError, Enhancer
from rave_runtime.backends.tensorrt.library import RTX_TARGETS, Gpu
from rave_runtime.backends.tensorrt.network import choose_engine, first_use_profiles
from rave_runtime.bundle import EngineFile, embedded_bundle, read_bundle, write_manifest
from tests.runtime.pictures import MakePicture

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
        self._names: list[str] = [*self._inputs, *(item.name for item in self._session.get_outputs())]
        self.num_io_tensors = len(self._names)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name in self._inputs else Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> type:
        return np.uint8 if name in self._inputs and "uint8" in self._inputs[name].type else np.float32

    num_optimization_profiles = 2

    def get_tensor_profile_shape(self, name: str, index: int) -> tuple[tuple[int, ...], ...]:
        batch, side = ((4, 512), (2, 96))[index]
        limits = {"batch": (1, batch, batch), "height": (2, side, side), "width": (2, side, side)}
        sizes = [
            limits[str(axis)] if isinstance(axis, str) else (axis,) * 3 for axis in self._inputs[name].shape
        ]
        return tuple(zip(*sizes, strict=True))

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        assert stream == 7
        return index in (0, 1)

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
        view: NDArray[Any] = np.frombuffer(memoryview(raw), dtype)
        return view.reshape(shape)

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
    image: NDArray[np.unsignedinteger[Any]] = picture(80, 80).astype(dtype)
    image = image * image.dtype.type(257 if dtype is np.uint16 else 1)
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
    with pytest.raises(DeviceError, match=r"TensorRT is not installed: pip install 'rave-backlit\[rtx\]'"):
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
    engines = [engine_for(graph.file, **changes)]
    if fits:
        assert choose_engine(engines, graph, gpu).graph == graph.file
    else:
        with pytest.raises(DeviceError, match=rf"is for {gpu.name} .*; the bundle has NVIDIA H200 .*--trt"):
            choose_engine(engines, graph, gpu)


@pytest.mark.parametrize(
    ("capability", "version", "fits"),
    [
        ("8.6", "1.7.1.116", True),
        ("8.9", "1.7.1.116", True),
        ("12.0", "1.7.1.116", True),
        ("13.0", "1.7.1.116", True),  # newer than all that are named
        ("7.5", "1.7.1.116", False),
        ("9.0", "1.7.1.116", False),  # Hopper, which lies between those that are named
        ("8.9", "1.8.0.3", False),  # releases promise nothing to each other
    ],
)
def test_an_engine_for_rtx_runs_on_what_it_names(
    enhancer: Enhancer, capability: str, version: str, fits: bool
) -> None:
    graph = enhancer.manifest.graph("enhance", "fp32")
    engine = rtx_engine_for(graph.file)
    gpu = Gpu("GPU", capability, rtx_version=version)
    if fits:
        assert choose_engine([engine], graph, gpu) == engine
    else:
        with pytest.raises(DeviceError, match=r"the bundle has compute capability 8\.0, .*--device cuda"):
            choose_engine([engine], graph, gpu)


def rtx_engine_for(graph: str) -> EngineFile:
    return engine_for(
        graph,
        gpu="",
        compute_capability="",
        tensorrt_version="1.7.1.116",
        flavour="tensorrt-rtx",
        targets=RTX_TARGETS,
    )


class RtxEngine(OnnxEngine):
    """What TensorRT for RTX has besides: a configuration with kernels that can be kept."""

    given: ClassVar[list[bytes]] = []
    plans: ClassVar[list[bytes]] = []

    def __init__(self, plan: bytes) -> None:
        super().__init__(plan)
        self.plans.append(plan)

    def create_runtime_config(self) -> RtxEngine:
        return self

    def create_runtime_cache(self) -> RtxEngine:
        return self

    def set_runtime_cache(self, cache: object) -> bool:
        return cache is self

    def deserialize(self, blob: bytes) -> bool:
        self.given.append(blob)
        return True

    def serialize(self) -> bytes:
        return b"kernels"

    def create_execution_context(self, config: object = None) -> RtxEngine:
        assert config is self
        return self


@pytest.fixture
def rtx(cuda: HostCuda, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A machine with an RTX 4090 and TensorRT for RTX alone; the names of the graphs that were built."""
    module: Any = host_tensorrt()
    module.__version__ = "1.7.1.116"
    module.Runtime.deserialize_cuda_engine = lambda self, plan: RtxEngine(plan)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    monkeypatch.setattr(cuda, "_gpu", Gpu("NVIDIA GeForce RTX 4090", "8.9"))
    monkeypatch.setenv("RAVE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(RtxEngine, "given", [])
    monkeypatch.setattr(RtxEngine, "plans", [])
    built: list[str] = []

    def build(trt: Any, content: bytes, graph: Any, profiles: Any, configure: Any, check: Any) -> bytes:
        assert trt is module
        config = BuilderConfig()
        configure(config)
        built.append(graph.file + "".join(f" for {each}" for each in config.targets))
        return content

    module.ComputeCapability = types.SimpleNamespace(SM75="SM75")
    monkeypatch.setattr("rave_runtime.backends.tensorrt.building.build_plan", build)
    return built


class BuilderConfig:
    """What TensorRT for RTX has besides in its builder's configuration."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.num_compute_capabilities = 0

    def set_compute_capability(self, target: str, index: int) -> bool:
        assert index < self.num_compute_capabilities
        self.targets.append(target)
        return True


def test_on_turing_engines_come_from_graphs_without_matrix_products(
    rtx: list[str],
    cuda: HostCuda,
    bundle_copy: Path,
    enhancer: Enhancer,
    picture: MakePicture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cuda, "_gpu", Gpu("NVIDIA GeForce RTX 2080", "7.5"))
    image = picture(80, 80)
    engines = Enhancer(bundle_copy, device="tensorrt", precision="fp32", working_size=None)
    np.testing.assert_allclose(engines.illumination(image), enhancer.illumination(image), atol=1e-5)
    assert len(rtx) == 2
    assert all(name.endswith("_fp32.onnx for SM75") for name in rtx)
    assert all(b"MatMul" not in plan for plan in RtxEngine.plans)


def test_engines_for_rtx_are_built_at_first_use_and_kept(
    rtx: list[str], bundle_copy: Path, enhancer: Enhancer, picture: MakePicture
) -> None:
    image = picture(80, 80)
    for run in range(2):
        engines = Enhancer(bundle_copy, device="tensorrt", precision="fp32", working_size=None)
        np.testing.assert_allclose(engines.illumination(image), enhancer.illumination(image), atol=1e-5)
        assert len(rtx) == 2, "the second process finds what the first one built"
        assert RtxEngine.given == [b"kernels"] * 2 * run, "and what it compiled"


def test_engines_for_rtx_of_the_bundle_are_taken_first(
    rtx: list[str], with_engines: Path, enhancer: Enhancer, picture: MakePicture
) -> None:
    manifest = read_bundle(with_engines).manifest
    engines = tuple(
        replace(rtx_engine_for(engine.graph), sha256=engine.sha256) for engine in manifest.engines
    )
    write_manifest(with_engines, replace(manifest, engines=engines))
    image = picture(80, 80)
    found = Enhancer(with_engines, device="tensorrt", precision="fp32", working_size=None)
    np.testing.assert_allclose(found.illumination(image), enhancer.illumination(image), atol=1e-5)
    assert rtx == []


def test_a_gpu_that_rtx_does_not_know_is_refused(
    rtx: list[str], cuda: HostCuda, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "_gpu", H200)
    with pytest.raises(DeviceError, match=r"with TensorRT for RTX 1\.7.* has none: .*--device cuda"):
        Enhancer(bundle_copy, device="tensorrt", precision="fp32")
    assert rtx == []


def test_first_use_is_tuned_for_the_working_size_and_takes_long_pictures(enhancer: Enhancer) -> None:
    sides = [(profile.batch, profile.side_px) for profile in first_use_profiles(enhancer.manifest)]
    assert sides == [(8, enhancer.manifest.working_size_px), (8, 512), (1, 2048)]


def test_a_smaller_profile_runs_the_smaller_windows(
    cuda: HostCuda, with_engines: Path, picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []

    def choose(engine: OnnxEngine, index: int, stream: int) -> bool:
        chosen.append(index)
        return True

    monkeypatch.setattr(OnnxEngine, "set_optimization_profile_async", choose)
    engines = Enhancer(with_engines, device="tensorrt", precision="fp32", working_size=None, tile_size=None)
    engines.enhance(picture(80, 80))
    assert chosen == [1, 1]
    engines.enhance(picture(80, 200))
    assert chosen == [1, 1, 0, 0]
    engines.enhance(picture(90, 90))
    assert chosen == [1, 1, 0, 0], "contexts are made once"
