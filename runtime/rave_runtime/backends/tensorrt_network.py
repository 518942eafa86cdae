"""A bundle's TensorRT engines on an NVIDIA GPU: native, with neither torch nor onnxruntime.

Memory and copies go through NVIDIA's own Python bindings. Features stay on the GPU between the two
engines of a call.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.backends.network import Array, Image
from rave_runtime.backends.split import ContextOutput, Part, SplitNetwork
from rave_runtime.bundle import Bundle, EngineFile, GraphFile, ImageType, Manifest, Precision
from rave_runtime.errors import DeviceError


@dataclass(frozen=True)
class Gpu:
    """What an engine's key is compared with: this machine's GPU and TensorRT."""

    name: str
    compute_capability: str
    tensorrt_version: str


class TensorRtNetwork(SplitNetwork):
    """See `rave_runtime.backends.network.Network`. One call runs at a time.

    Args:
        bundle: with engines that were built for this GPU and TensorRT.
        precision: of the engines.

    Raises:
        DeviceError: the libraries or a GPU are missing, or no engine fits; the message says which are
            there and how to build one.
    """

    def __init__(self, bundle: Bundle, precision: Precision) -> None:
        try:
            import tensorrt
            from cuda.bindings import runtime as cudart
        except ImportError as error:
            raise DeviceError(f"{error.name} is missing: pip install 'rave-backlit[trt]'") from error
        self.facts = bundle.manifest.network
        self._bundle = bundle
        self._precision: Precision = precision
        self._trt = tensorrt
        self._memory = _Memory(cudart)
        self._gpu = _find_gpu(cudart, tensorrt.__version__)
        self._engines: dict[str, _Engine] = {}
        self._lock = threading.Lock()
        self._find("enhance", None)

    def prepare(self, *, whole: bool) -> None:
        """See `LoadedNetwork.prepare`."""
        del whole  # the same engines
        with self._lock:
            self._find("context", "uint8")
            self._find("enhance", None)

    def exclusive(self) -> threading.Lock:
        """See `SplitNetwork.exclusive`: buffers on the GPU are reused by the next call."""
        return self._lock

    def graph_file(self, part: Part, images: Image) -> str:
        """See `SplitNetwork.graph_file`: the engine's file."""
        return self._find(part, _type_of(images) if part == "context" else None).name

    def run_context(
        self, images: Image, pool_rows: Array, pool_cols: Array, wanted: tuple[ContextOutput, ...]
    ) -> dict[str, _Tensor]:
        """See `SplitNetwork.run_context`."""
        del wanted  # both are there
        inputs = {"image": images, "rows": pool_rows, "cols": pool_cols}
        placed = {name: self._memory.upload(f"context {name}", value) for name, value in inputs.items()}
        return self._find("context", _type_of(images)).run(placed, self._memory)

    def run_enhance(self, features: _Tensor, pooled: _Tensor | Array, rows: Array, cols: Array) -> Array:
        """See `SplitNetwork.run_enhance`."""
        inputs = {
            "features": features,
            "pooled": pooled if isinstance(pooled, _Tensor) else self._memory.upload("pooled", pooled),
            "rows": self._memory.upload("enhance rows", rows),
            "cols": self._memory.upload("enhance cols", cols),
        }
        return self._memory.download(self._find("enhance", None).run(inputs, self._memory)["light"])

    def fetch(self, pooled: _Tensor) -> Array:
        """See `SplitNetwork.fetch`."""
        return self._memory.download(pooled)

    def _find(self, part: Any, image_type: ImageType | None) -> _Engine:
        graph = self._bundle.manifest.graph(part, self._precision, image_type)
        if graph.file not in self._engines:
            description = choose_engine(self._bundle.manifest, graph, self._gpu)
            plan = self._bundle.read_file(description)
            self._engines[graph.file] = _Engine(self._trt, description, plan)
        return self._engines[graph.file]


def _type_of(images: Image) -> ImageType:
    return "uint8" if images.dtype == np.uint8 else "float32"


def choose_engine(manifest: Manifest, graph: GraphFile, gpu: Gpu) -> EngineFile:
    """The engine of a graph that may run on a GPU with a TensorRT version.

    Raises:
        DeviceError: none may; a mismatch is never run.
    """
    candidates = [engine for engine in manifest.engines if engine.graph == graph.file]
    for engine in candidates:
        if _same_gpu(engine, gpu) and _same_version(engine, gpu.tensorrt_version):
            return engine
    made = "; ".join(
        f"{engine.gpu} (compute capability {engine.compute_capability}), TensorRT {engine.tensorrt_version}"
        for engine in candidates
    )
    raise DeviceError(
        f"no engine of {graph.file} is for {gpu.name} (compute capability {gpu.compute_capability}) with "
        f"TensorRT {gpu.tensorrt_version}; the bundle has {made or 'none'}: "
        "build one on this machine with rave-export CHECKPOINT --output BUNDLE --fp16 --trt"
    )


def _same_gpu(engine: EngineFile, gpu: Gpu) -> bool:
    if engine.hardware == "ampere_plus":
        return float(gpu.compute_capability) >= 8.0
    if engine.hardware == "same_compute_capability":
        return engine.compute_capability == gpu.compute_capability
    return (engine.gpu, engine.compute_capability) == (gpu.name, gpu.compute_capability)


def _same_version(engine: EngineFile, version: str) -> bool:
    if engine.version_compatible:
        return engine.tensorrt_version.split(".")[0] == version.split(".")[0]
    return engine.tensorrt_version == version


@dataclass(frozen=True)
class _Tensor:
    """An array on the GPU: its address, shape and dtype, and the arena block that keeps it."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class _Memory:
    """Allocations of one call, reused by the next: one block for each use, as large as was ever needed."""

    def __init__(self, cudart: Any) -> None:
        self._cudart = cudart
        self.stream: Final = _checked(cudart.cudaStreamCreate())
        self._blocks: dict[str, tuple[int, int]] = {}

    def upload(self, use: str, array: NDArray[Any]) -> _Tensor:
        """Copies an array to the GPU."""
        array = np.ascontiguousarray(array)
        tensor = self.reserve(use, array.shape, array.dtype)
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        _checked(
            self._cudart.cudaMemcpyAsync(tensor.address, array.ctypes.data, array.nbytes, kind, self.stream)
        )
        _checked(self._cudart.cudaStreamSynchronize(self.stream))
        return tensor

    def download(self, tensor: _Tensor) -> Array:
        """Copies a tensor back, as float32."""
        array = np.empty(tensor.shape, tensor.dtype)
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _checked(
            self._cudart.cudaMemcpyAsync(array.ctypes.data, tensor.address, array.nbytes, kind, self.stream)
        )
        _checked(self._cudart.cudaStreamSynchronize(self.stream))
        return array.astype(np.float32, copy=False)

    def reserve(self, use: str, shape: tuple[int, ...], dtype: Any) -> _Tensor:
        """Room for a tensor, until the next reservation for the same use."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address, room = self._blocks.get(use, (0, 0))
        if size > room:
            if room:
                # Photographs of every shape come by: their blocks must not pile up.
                _checked(self._cudart.cudaStreamSynchronize(self.stream))
                del self._blocks[use]
                _checked(self._cudart.cudaFree(address))
            address = int(_checked(self._cudart.cudaMalloc(size)))
            self._blocks[use] = address, size
        return _Tensor(address, shape, np.dtype(dtype))


class _Engine:
    """One engine with its execution context."""

    def __init__(self, trt: Any, description: EngineFile, plan: bytes) -> None:
        self.name: Final = description.file
        self._batch = description.batch
        self._trt = trt
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        if description.version_compatible:
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise DeviceError(f"TensorRT cannot load {description.file}: build it again on this machine")
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._outputs = [
            name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
        ]

    def run(self, inputs: dict[str, _Tensor], memory: _Memory) -> dict[str, _Tensor]:
        count = next(iter(inputs.values())).shape[0]
        if count > self._batch:
            raise DeviceError(f"{self.name} takes {self._batch} windows at most, got {count}")
        for name, tensor in inputs.items():
            if not self._context.set_input_shape(name, tensor.shape):
                raise DeviceError(
                    f"{self.name} was not built for {name} of {list(tensor.shape)}: "
                    "choose a smaller --tile-size or build it for larger tiles (rave-export --trt-tile)"
                )
            self._context.set_tensor_address(name, tensor.address)
        outputs = {}
        for name in self._outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            dtype = self._trt.nptype(self._engine.get_tensor_dtype(name))
            outputs[name] = memory.reserve(f"{self.name} {name}", shape, dtype)
            self._context.set_tensor_address(name, outputs[name].address)
        if not self._context.execute_async_v3(int(memory.stream)):
            raise DeviceError(f"TensorRT failed to run {self.name}")
        return outputs


def _find_gpu(cudart: Any, tensorrt_version: str) -> Gpu:
    error, count = cudart.cudaGetDeviceCount()
    if int(error) or not count:
        raise DeviceError("no NVIDIA GPU is visible to CUDA: check the driver with nvidia-smi")
    properties = _checked(cudart.cudaGetDeviceProperties(0))
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    return Gpu(name.rstrip("\0"), f"{properties.major}.{properties.minor}", tensorrt_version)


def _checked(result: tuple[Any, ...]) -> Any:
    """The value of a CUDA call.

    Raises:
        DeviceError: the call failed.
    """
    if int(result[0]):
        raise DeviceError(f"CUDA failed with {result[0]}: less memory is needed with a smaller --tile-size")
    return result[1] if len(result) > 1 else None
