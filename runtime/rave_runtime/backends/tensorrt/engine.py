"""Runs one TensorRT engine on the GPU, with an execution context for each profile that is needed."""

from __future__ import annotations

import math
from typing import Any, Final

from rave_runtime.backends.compiled_cache import keep, recall
from rave_runtime.backends.tensorrt.library import Gpu
from rave_runtime.backends.tensorrt.memory import GpuMemory, GpuTensor
from rave_runtime.bundle import EngineFile
from rave_runtime.errors import DeviceError


class Engine:
    """A loaded engine.

    Args:
        trt: the module of the library that built it.
        description: its entry in a manifest; for an engine that is not in a bundle, an entry like it.
        plan: the serialized engine.
        gpu: the GPU that runs it; part of the key under which compiled kernels are kept.

    Raises:
        DeviceError: the library cannot load it.
    """

    def __init__(self, trt: Any, description: EngineFile, plan: bytes, gpu: Gpu) -> None:
        self.name: Final = description.file
        self._trt = trt
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        if description.version_compatible:
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise DeviceError(f"TensorRT cannot load {description.file}: build it again on this machine")
        count = self._engine.num_io_tensors
        names = [self._engine.get_tensor_name(index) for index in range(count)]
        self._outputs = [
            name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
        ]
        self._inputs = [name for name in names if name not in self._outputs]
        self._profiles = self._read_profiles()
        self._contexts: dict[int, Any] = {}
        self._kernels = (
            _Kernels(self._engine, f"{description.sha256} on {gpu}") if _compiles(description) else None
        )

    def run(self, inputs: dict[str, GpuTensor], memory: GpuMemory) -> dict[str, GpuTensor]:
        """Runs the engine.

        Args:
            inputs: tensors by input name.
            memory: where the outputs are placed; the engine runs on its stream.

        Returns:
            Tensors by output name, valid until the next run.

        Raises:
            DeviceError: no profile takes these shapes, or the run failed.
        """
        context = self._context_for(inputs, memory)
        for name, tensor in inputs.items():
            if not context.set_input_shape(name, tensor.shape):
                raise self._unfit(inputs)
            context.set_tensor_address(name, tensor.address)
        outputs = {}
        for name in self._outputs:
            shape = tuple(context.get_tensor_shape(name))
            dtype = self._trt.nptype(self._engine.get_tensor_dtype(name))
            outputs[name] = memory.reserve(f"{self.name} {name}", shape, dtype)
            context.set_tensor_address(name, outputs[name].address)
        if not context.execute_async_v3(int(memory.stream)):
            raise DeviceError(f"TensorRT failed to run {self.name}")
        if self._kernels is not None:
            self._kernels.keep_new(tuple(tensor.shape for tensor in inputs.values()))
        return outputs

    def _read_profiles(self) -> list[tuple[int, dict[str, Any]]]:
        """Returns the profiles by size: the index, and by input the smallest, best and largest shape."""
        profiles = [
            (index, {name: self._engine.get_tensor_profile_shape(name, index) for name in self._inputs})
            for index in range(self._engine.num_optimization_profiles)
        ]
        return sorted(profiles, key=lambda item: math.prod(tuple(item[1][self._inputs[0]][2])))

    def _context_for(self, inputs: dict[str, GpuTensor], memory: GpuMemory) -> Any:
        """Returns the context of the smallest profile that takes these shapes; makes it when first needed.

        A context reserves memory for the largest shapes of its profile, hence the smallest.
        """
        for index, shapes in self._profiles:
            if all(_lies_within(tensor.shape, shapes[name]) for name, tensor in inputs.items()):
                if index not in self._contexts:
                    context = self._make_context()
                    if not context.set_optimization_profile_async(index, int(memory.stream)):
                        raise DeviceError(f"TensorRT cannot use profile {index} of {self.name}")
                    self._contexts[index] = context
                return self._contexts[index]
        raise self._unfit(inputs)

    def _make_context(self) -> Any:
        if self._kernels is not None:
            return self._engine.create_execution_context(self._kernels.config)
        return self._engine.create_execution_context()

    def _unfit(self, inputs: dict[str, GpuTensor]) -> DeviceError:
        name, tensor = next(iter(inputs.items()))
        return DeviceError(
            f"{self.name} was not built for {name} of {list(tensor.shape)}: "
            "choose a smaller --tile-size or build it for larger tiles (rave-export --trt-tile)"
        )


class _Kernels:
    """What TensorRT for RTX compiles at run time for this GPU, kept for the next process.

    Args:
        engine: the library's engine.
        key: everything that the kernels depend on, as a text.
    """

    def __init__(self, engine: Any, key: str) -> None:
        self._key = f"TensorRT for RTX, kernels of {key}"
        self.config = engine.create_runtime_config()
        self._cache = self.config.create_runtime_cache()
        stored_kernels = recall(self._key)
        if stored_kernels is not None:
            self._cache.deserialize(stored_kernels)  # fails after a change of driver: they are compiled again
        self.config.set_runtime_cache(self._cache)
        self._shapes: set[tuple[tuple[int, ...], ...]] = set()
        self._stored_kernels = stored_kernels

    def keep_new(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Keeps the kernels after a run of new shapes, which may have compiled some."""
        if shapes in self._shapes:
            return
        self._shapes.add(shapes)
        content = bytes(self._cache.serialize())
        if content != self._stored_kernels:
            keep(self._key, content)
            self._stored_kernels = content


def _compiles(description: EngineFile) -> bool:
    return description.flavour == "tensorrt-rtx"


def _lies_within(shape: tuple[int, ...], limits: Any) -> bool:
    low, _, high = (tuple(limit) for limit in limits)
    return all(a <= side <= b for a, side, b in zip(low, shape, high, strict=True))
