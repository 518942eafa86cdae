"""Stand-ins for a GPU: CUDA whose memory is the host's, engines that run the ONNX graphs."""

from __future__ import annotations

import ctypes
import types
from dataclasses import replace
from enum import Enum
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from rave_runtime.backends.tensorrt.library import Gpu
from rave_runtime.bundle import EngineFile, embedded_bundle, read_bundle

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
