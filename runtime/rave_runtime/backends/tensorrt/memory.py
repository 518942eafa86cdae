"""Allocates and copies tensors on an NVIDIA GPU through NVIDIA's Python bindings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.backends.tensorrt.library import checked


@dataclass(frozen=True)
class GpuTensor:
    """An array on the GPU: its address, shape and dtype."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class GpuMemory:
    """Memory on the GPU that the next call uses again: one block for each use, as large as was ever needed.

    Attributes:
        stream: the CUDA stream on which everything is copied and run.

    Args:
        cudart: what `rave_runtime.backends.tensorrt.library.import_cuda` returns.
    """

    def __init__(self, cudart: Any) -> None:
        self._cudart = cudart
        self.stream: Final = checked(cudart.cudaStreamCreate())
        self._blocks: dict[str, tuple[int, int]] = {}

    def upload(self, use: str, array: NDArray[Any]) -> GpuTensor:
        """Copies an array to the GPU, where it stays until the next upload for the same use."""
        array = np.ascontiguousarray(array)
        tensor = self.reserve(use, array.shape, array.dtype)
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        checked(
            self._cudart.cudaMemcpyAsync(tensor.address, array.ctypes.data, array.nbytes, kind, self.stream)
        )
        checked(self._cudart.cudaStreamSynchronize(self.stream))
        return tensor

    def download(self, tensor: GpuTensor) -> Array:
        """Copies a tensor from the GPU and returns it as float32."""
        array = np.empty(tensor.shape, tensor.dtype)
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        checked(
            self._cudart.cudaMemcpyAsync(array.ctypes.data, tensor.address, array.nbytes, kind, self.stream)
        )
        checked(self._cudart.cudaStreamSynchronize(self.stream))
        return array.astype(np.float32, copy=False)

    def reserve(self, use: str, shape: tuple[int, ...], dtype: Any) -> GpuTensor:
        """Reserves room for a tensor, until the next reservation for the same use."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address, room = self._blocks.get(use, (0, 0))
        if size > room:
            if room:
                # Photographs come in every shape: their blocks must not accumulate.
                checked(self._cudart.cudaStreamSynchronize(self.stream))
                del self._blocks[use]
                checked(self._cudart.cudaFree(address))
            address = int(checked(self._cudart.cudaMalloc(size)))
            self._blocks[use] = address, size
        return GpuTensor(address, shape, np.dtype(dtype))
