"""Walks the whole engine code on the real bindings of one TensorRT version: see `test_engines.py`.

Usage: engines_contract.py BUNDLE MAJOR
"""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tensorrt_bindings
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tests.export.engines.strict_tensorrt import Module, Strict
else:  # run as a program, where an installed package may be called `tests`
    sys.path.insert(0, str(Path(__file__).parent))
    from strict_tensorrt import Module, Strict

from rave_export.engines.build import EngineOptions, build_engines
from rave_export.errors import ExportError
from rave_runtime.backends.tensorrt.engine import Engine
from rave_runtime.backends.tensorrt.library import Gpu
from rave_runtime.backends.tensorrt.memory import GpuMemory
from rave_runtime.bundle import EngineFile, read_bundle

TRT = tensorrt_bindings
HALF = {
    "10": {"Format/Datatype": "Row major linear FP16 format"},
    "11": {"DataType": "Half", "Format": "Row"},
}
FLOAT = {"10": {"Format/Datatype": "Row major linear FP32"}, "11": {"DataType": "Float", "Format": "Row"}}


def main(folder: str, major: str) -> None:
    """Builds, inspects, loads and runs; raises where the bindings differ from what the code thinks."""
    assert TRT.__version__.split(".")[0] == major
    bundle = read_bundle(folder)
    refuses_without_gpu()
    is_strict()
    with tempfile.TemporaryDirectory() as work:
        cache = Path(work) / "kept" / "timing"
        options = EngineOptions("fp16", 256, 4, 96, "ampere_plus", True, cache)
        world = World(half=HALF[major])
        said: list[str] = []
        built = build_engines(bundle, options, world.module, Gpu("Test GPU", "9.0"), said.append)
        assert len(built) == 3
        assert cache.read_bytes() == b"timings"
        assert any("Building" in line for line in said), said
        names = [name for config in world.configs for name, *_ in config.calls]
        for needed in ("profiling_verbosity", "progress_monitor", "hardware_compatibility_level"):
            assert names.count(needed) == 3, needed
        flags = [call[1][0] for config in world.configs for call in config.calls if call[0] == "set_flag"]
        assert flags == [TRT.BuilderFlag.VERSION_COMPATIBLE] * 3
        strong = 1 << int(TRT.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        assert world.network_flags == [strong] * 3
        engine, plan = built[0]
        assert plan == b"plan"
        assert (
            engine.file
            == f"context_uint8_fp16_test-gpu_sm90_trt{TRT.__version__}_256px_b4_ampere-plus_any-version.plan"
        )
        assert world.cache_bytes == [b"", b"timings", b"timings"], "the timing cache is kept between builds"
        fails(World(half=FLOAT[major]), bundle, options, "fp16 was asked for, but no layer")
        fails(
            World(half=HALF[major], parses=False),
            bundle,
            options,
            "cannot parse context_uint8_fp16.onnx: why",
        )
        fails(World(half=HALF[major], builds=False), bundle, options, "cannot build context_uint8_fp16.onnx")
        runs(engine)
    print("checked", TRT.__version__)


def refuses_without_gpu() -> None:
    """The first call that needs a GPU's library really is made, and fails in the stub."""
    with pytest.raises(TypeError, match="nullptr"):
        TRT.Builder(TRT.Logger())


def is_strict() -> None:
    """The stand-ins refuse what the bindings would."""
    config = Strict(TRT.IBuilderConfig)
    for wrong in (
        lambda: config.set_flag(),
        lambda: config.set_flag(1, 2),
        lambda: config.set_timing_cache(1, ignore=True),
        lambda: config.max_workspace_size,
        lambda: setattr(config, "set_flag", 1),
        lambda: Strict(TRT.Builder, build_engine=None),
        lambda: Module(TRT).IInt9Calibrator,
    ):
        with pytest.raises((AssertionError, AttributeError)):
            wrong()


def fails(world: World, bundle: Any, options: EngineOptions, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        build_engines(bundle, options, world.module, Gpu("Test GPU", "9.0"))


class World:
    """What the factories give."""

    def __init__(self, half: dict[str, str], parses: bool = True, builds: bool = True) -> None:
        self.configs: list[Strict] = []
        self.network_flags: list[int] = []
        self.cache_bytes: list[bytes] = []
        self.half, self.parses, self.builds = half, parses, builds
        self.module = Module(
            TRT, Builder=self.builder, OnnxParser=self.parser, Runtime=lambda _: self.runtime()
        )

    def builder(self, logger: Any) -> Strict:
        def network(flags: int) -> Strict:
            self.network_flags.append(flags)
            return Strict(TRT.INetworkDefinition)

        def build(network: Any, config: Any) -> bytes | None:
            monitor = config.progress_monitor
            monitor.phase_start("Building", None, 3)
            monitor.phase_start("Tactics", "Building", 2)
            assert monitor.step_complete("Tactics", 1) is True
            monitor.phase_finish("Tactics")
            monitor.last_report_s -= 10
            assert monitor.step_complete("Building", 1) is True
            monitor.phase_finish("Building")
            logger.log(TRT.ILogger.Severity.ERROR, "out of tricks")
            return b"plan" if self.builds else None

        return Strict(
            TRT.Builder,
            create_network=network,
            create_builder_config=lambda: self.config(),
            create_optimization_profile=lambda: Strict(TRT.IOptimizationProfile, set_shape=check_profile),
            build_serialized_network=build,
        )

    def config(self) -> Strict:
        cache = Strict(TRT.ITimingCache, serialize=lambda: b"timings")

        def create(content: bytes) -> Strict:
            self.cache_bytes.append(content)
            return cache

        config = Strict(
            TRT.IBuilderConfig,
            create_timing_cache=create,
            set_timing_cache=True,
            get_timing_cache=lambda: cache,
        )
        self.configs.append(config)
        return config

    def parser(self, network: Any, logger: Any) -> Strict:
        error = Strict(TRT.ParserError, desc="why")
        return Strict(TRT.OnnxParser, parse=self.parses, num_errors=1, get_error=lambda _: error)

    def runtime(self) -> Strict:
        layer = {
            "Name": "conv",
            "LayerType": "CaskConvolution",
            "Inputs": [self.half],
            "Outputs": [self.half],
        }
        inspector = Strict(TRT.EngineInspector, get_engine_information=json.dumps({"Layers": [layer]}))
        engine = Strict(TRT.ICudaEngine, create_engine_inspector=lambda: inspector)
        return Strict(TRT.Runtime, deserialize_cuda_engine=lambda _: engine)


def check_profile(name: str, low: Any, best: Any, high: Any) -> None:
    assert len(low) == len(best) == len(high)
    assert all(a <= b <= c for a, b, c in zip(low, best, high, strict=True))
    for shape in (low, best, high):
        TRT.Dims(shape)
    assert (low[0], high[0]) == (1, 4)
    if name == "image":
        assert (low, high) in (((1, 2, 2, 3), (4, 256, 256, 3)), ((1, 2, 2, 3), (4, 96, 96, 3)))


class HostCuda:
    """The calls of CUDA's runtime that an engine's run makes, on host memory."""

    class cudaMemcpyKind:  # noqa: N801
        cudaMemcpyHostToDevice = 1  # noqa: N815
        cudaMemcpyDeviceToHost = 2  # noqa: N815

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def cudaStreamCreate(self) -> tuple[int, int]:  # noqa: N802
        return 0, 7

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:  # noqa: N802
        return (0,)

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        self.kept.append(ctypes.create_string_buffer(size))
        return 0, ctypes.addressof(self.kept[-1])

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        return (0,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:  # noqa: N802
        ctypes.memmove(to, source, size)
        return (0,)


def runs(description: EngineFile) -> None:
    """Loads an engine of two profiles and runs it in both, as `rave-run` and the proof do."""
    addresses: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    chosen: list[int] = []

    def execute(stream: int) -> bool:
        batch, height, width, _ = shapes["image"]
        for name, size, ctype in (
            ("features", 8 * height * width, ctypes.c_uint16),
            ("pooled", 8 * 144, ctypes.c_float),
        ):
            target = (ctype * (batch * size)).from_address(addresses[name])
            target[:] = [7] * (batch * size)
        return True

    def shape_of(name: str) -> tuple[int, ...]:
        batch, height, width, _ = shapes["image"]
        return (batch, 8, height, width) if name == "features" else (batch, 8, 12, 12)

    def choose_profile(index: int, stream: int) -> bool:
        chosen.append(index)
        return True

    def set_shape(name: str, shape: tuple[int, ...]) -> bool:
        shapes[name] = shape
        return True

    def set_address(name: str, address: int) -> bool:
        addresses[name] = address
        return True

    context = Strict(
        TRT.IExecutionContext,
        set_optimization_profile_async=choose_profile,
        set_input_shape=set_shape,
        set_tensor_address=set_address,
        get_tensor_shape=shape_of,
        execute_async_v3=execute,
    )
    names = ["image", "rows", "cols", "features", "pooled"]

    def limits(name: str, profile: int) -> tuple[tuple[int, ...], ...]:
        side = (256, 96)[profile]
        if name == "image":
            return (1, 2, 2, 3), (4, side, side, 3), (4, side, side, 3)
        return (1, 12, 2), (4, 12, side), (4, 12, side)

    engine = Strict(
        TRT.ICudaEngine,
        create_execution_context=lambda: context,
        num_io_tensors=5,
        num_optimization_profiles=2,
        get_tensor_profile_shape=limits,
        get_tensor_name=lambda index: names[index],
        get_tensor_mode=lambda name: TRT.TensorIOMode.INPUT if name in names[:3] else TRT.TensorIOMode.OUTPUT,
        get_tensor_dtype=lambda name: TRT.DataType.HALF if name == "features" else TRT.DataType.FLOAT,
    )
    runtime = Strict(TRT.Runtime, deserialize_cuda_engine=lambda _: engine)
    module = Module(TRT, Runtime=lambda _: runtime)
    memory = GpuMemory(HostCuda())
    running = Engine(module, description, b"plan", Gpu("Test GPU", "9.0", TRT.__version__))
    for side, profile in ((12, 1), (200, 0)):
        inputs: dict[str, NDArray[Any]] = {
            "image": np.zeros((3, 10, side, 3), np.uint8),
            "rows": np.zeros((3, 12, 10), np.float32),
            "cols": np.zeros((3, 12, side), np.float32),
        }
        results = running.run({name: memory.upload(name, value) for name, value in inputs.items()}, memory)
        assert chosen[-1] == profile, "the smallest profile that takes the shapes"
        assert results["features"].dtype == np.float16
        pooled = memory.download(results["pooled"])
        assert pooled.shape == (3, 8, 12, 12)
        assert (pooled == 7).all()
    assert [name for name, *_ in context.calls].count("execute_async_v3") == 2
    assert runtime.answers["engine_host_code_allowed"] is True


if __name__ == "__main__":
    main(*sys.argv[1:])
