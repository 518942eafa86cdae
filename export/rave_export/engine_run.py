"""Running engines on this machine's GPU, to prove them. Memory and stream come from torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from rave_export.engines import Array, make_logger
from rave_export.errors import ExportError
from rave_runtime.bundle import EngineFile, ImageType, NetworkFacts, Part


class EngineNetwork:
    """A `rave_runtime.backends.network.Network` of TensorRT engines.

    Args:
        trt: the module `tensorrt`.
        engines: part, image type and bytes of each engine, with its description.
        facts: of the network.
        device: of torch, where the buffers are.

    Raises:
        ExportError: an engine does not load here.
    """

    def __init__(
        self,
        trt: Any,
        engines: Sequence[tuple[Part, ImageType | None, EngineFile, bytes]],
        facts: NetworkFacts,
        device: str = "cuda",
    ) -> None:
        self.facts: Final = facts
        self._engines = {
            (part, image): _Engine(trt, description, plan, device)
            for part, image, description, plan in engines
        }

    def pool(self, images: Any, pool_rows: Array, pool_cols: Array) -> Array:
        """See `Network.pool`."""
        pooled: Array = self._context(images, pool_rows, pool_cols)["pooled"].cpu().numpy()
        return pooled

    def illuminate(self, images: Any, pooled: Array, rows: Array, cols: Array) -> Array:
        """See `Network.illuminate`."""
        unused = np.zeros_like(rows.transpose(0, 2, 1)), np.zeros_like(cols.transpose(0, 2, 1))
        return self._light(self._context(images, *unused)["features"], pooled, rows, cols)

    def illuminate_whole(
        self, images: Any, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array
    ) -> Array:
        """See `Network.illuminate_whole`."""
        found = self._context(images, pool_rows, pool_cols)
        return self._light(found["features"], found["pooled"], rows, cols)

    def _context(self, images: Any, rows: Array, cols: Array) -> dict[str, torch.Tensor]:
        image: ImageType = "uint8" if images.dtype == np.uint8 else "float32"
        return self._engines["context", image].run({"image": images, "rows": rows, "cols": cols})

    def _light(self, features: torch.Tensor, pooled: Array | torch.Tensor, rows: Array, cols: Array) -> Array:
        inputs = {"features": features, "pooled": pooled, "rows": rows, "cols": cols}
        light: Array = self._engines["enhance", None].run(inputs)["light"].cpu().numpy()
        return light


class _Engine:
    """One engine with its execution context. Batches larger than the engine's are split."""

    def __init__(self, trt: Any, description: EngineFile, plan: bytes, device: str) -> None:
        self._trt = trt
        self._device = device
        self._batch = description.batch
        self._logger = make_logger(trt)
        runtime = trt.Runtime(self._logger)
        if description.version_compatible:
            runtime.engine_host_code_allowed = True
        self._runtime = runtime
        self._engine = runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ExportError(f"{description.file} does not load here: {self._logger.reasons()}")
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._outputs = [
            name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
        ]

    def run(self, inputs: dict[str, NDArray[Any] | torch.Tensor]) -> dict[str, torch.Tensor]:
        count = len(next(iter(inputs.values())))
        parts = [
            self._run_once({name: value[start : start + self._batch] for name, value in inputs.items()})
            for start in range(0, count, self._batch)
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in self._outputs}

    def _run_once(self, inputs: dict[str, NDArray[Any] | torch.Tensor]) -> dict[str, torch.Tensor]:
        placed = {name: self._place(value) for name, value in inputs.items()}
        for name, value in placed.items():
            self._context.set_input_shape(name, tuple(value.shape))
            self._context.set_tensor_address(name, value.data_ptr())
        results = {}
        for name in self._outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            half = self._engine.get_tensor_dtype(name) == self._trt.DataType.HALF
            dtype = torch.float16 if half else torch.float32
            results[name] = torch.empty(shape, dtype=dtype, device=self._device)
            self._context.set_tensor_address(name, results[name].data_ptr())
        stream = torch.cuda.current_stream() if self._device == "cuda" else None
        if not self._context.execute_async_v3(stream.cuda_stream if stream else 0):
            raise ExportError(f"TensorRT failed to run an engine: {self._logger.reasons()}")
        if stream:
            stream.synchronize()
        return results

    def _place(self, value: NDArray[Any] | torch.Tensor) -> torch.Tensor:
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(np.ascontiguousarray(value))
        return value.to(self._device).contiguous()
