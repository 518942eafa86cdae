"""TensorRT engines: built from a bundle's graphs, checked, and entered into its manifest.

Precision lives in the ONNX graph and the network is strongly typed, so the same calls serve TensorRT
10.12 and newer and 11 (which knows nothing else). `trt` is the module `tensorrt`, handed in so that
tests can check every call against the real bindings without a GPU.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rave_export.engine_precision import check_precision
from rave_export.errors import ExportError
from rave_runtime.bundle import Bundle, EngineFile, GraphFile, Precision, TensorSpec

Array = NDArray[np.float32]
Say = Callable[[str], None]
Hardware = Literal["none", "ampere_plus", "same_compute_capability"]
HARDWARE: Final[tuple[Hardware, ...]] = get_args(Hardware)

MIN_VERSION: Final = (10, 12)
"""Older ones deprecate nothing of what is used, but strong typing was young in them."""

MIN_SIDE_PX: Final = 2
"""Smallest window that reflection allows."""


@dataclass(frozen=True)
class EngineOptions:
    """What engines are built for.

    Attributes:
        precision: of the graphs that are built: "fp16" or "fp32" (int8 graphs are onnxruntime's:
            their zero points are not 0, which TensorRT needs).
        tile_px: longest side of a window, for which it is tuned.
        batch: most windows per run, for which it is tuned.
        hardware: other GPUs that may run it.
        version_compatible: let other TensorRT versions of the same major version run it.
        timing_cache: file of measured kernels, kept between builds; None chooses one in the user's
            cache folder.
    """

    precision: Precision = "fp16"
    tile_px: int = 512
    batch: int = 8
    hardware: Hardware = "none"
    version_compatible: bool = False
    timing_cache: Path | None = None


@dataclass(frozen=True)
class Gpu:
    """The GPU model of device 0, and its compute capability such as "9.0"."""

    name: str
    compute_capability: str


def import_tensorrt() -> Any:
    """The module `tensorrt`.

    Raises:
        ExportError: it is missing or too old; the message says how to get it.
    """
    try:
        trt = importlib.import_module("tensorrt")
    except ImportError as error:
        raise ExportError(
            f"TensorRT is missing ({error}): on a machine with an NVIDIA GPU type "
            "pip install 'rave-backlit[trt]' and run rave-export again, with --trt --force"
        ) from error
    found = tuple(int(part) for part in re.findall(r"\d+", trt.__version__)[:2])
    if found < MIN_VERSION:
        raise ExportError(
            f"TensorRT {trt.__version__} is too old: {'.'.join(map(str, MIN_VERSION))} or newer is needed, "
            "pip install --upgrade tensorrt"
        )
    return trt


def find_gpu() -> Gpu:
    """The GPU that engines would be built on, as torch sees it.

    Raises:
        ExportError: there is none.
    """
    import torch

    if not torch.cuda.is_available():
        raise ExportError(
            "there is no CUDA GPU that torch can use: engines are built on the GPU model that runs them, "
            "so run rave-export --trt on such a machine"
        )
    major, minor = torch.cuda.get_device_capability(0)
    return Gpu(torch.cuda.get_device_name(0), f"{major}.{minor}")


def build_engines(
    bundle: Bundle, options: EngineOptions, trt: Any, gpu: Gpu, say: Say = lambda _: None
) -> list[tuple[EngineFile, bytes]]:
    """Builds and checks an engine of every tiling graph of a precision.

    Args:
        bundle: with graphs of that precision.
        options: what for.
        trt: the module `tensorrt`.
        gpu: of this machine.
        say: called with a line per stage.

    Returns:
        Each engine's description and bytes.

    Raises:
        ExportError: a graph cannot be parsed or built, or the engine's layers are not of the
            precision of its graph.
        BundleError: the bundle's files are damaged.
    """
    cache = options.timing_cache or default_timing_cache(trt.__version__, gpu)
    results = []
    for graph in bundle.manifest.graphs:
        if graph.precision != options.precision or graph.part == "whole":
            continue
        say(f"building a TensorRT {trt.__version__} engine of {graph.file} for {gpu.name}")
        content = bundle.read_file(graph)
        plan, layers = build_engine(trt, content, graph, options, cache, say)
        if options.precision == "fp16":
            check_precision(layers, content, graph.file)
        engine = EngineFile(
            file=engine_name(graph, options, trt.__version__, gpu),
            sha256=hashlib.sha256(plan).hexdigest(),
            graph=graph.file,
            gpu=gpu.name,
            compute_capability=gpu.compute_capability,
            tensorrt_version=trt.__version__,
            precision=options.precision,
            tile_px=options.tile_px,
            batch=options.batch,
            hardware=options.hardware,
            version_compatible=options.version_compatible,
        )
        results.append((engine, plan))
    return results


def build_engine(
    trt: Any, content: bytes, graph: GraphFile, options: EngineOptions, cache: Path, say: Say
) -> tuple[bytes, dict[str, Any]]:
    """One engine and the inspector's description of its layers.

    Raises:
        ExportError: TensorRT cannot parse or build it; its own messages are in the error.
    """
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(content):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise ExportError(f"TensorRT {trt.__version__} cannot parse {graph.file}: {reasons}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.progress_monitor = _make_monitor(trt, say)
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.hardware != "none":
        level = getattr(trt.HardwareCompatibilityLevel, options.hardware.upper())
        config.hardware_compatibility_level = level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    profile = builder.create_optimization_profile()
    for spec in graph.inputs:
        profile.set_shape(spec.name, *profile_shapes(spec, options))
    config.add_optimization_profile(profile)
    timings = config.create_timing_cache(cache.read_bytes() if cache.is_file() else b"")
    config.set_timing_cache(timings, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(
            f"TensorRT {trt.__version__} cannot build {graph.file}: {logger.reasons() or 'it gave no reason'}"
        )
    _keep(cache, bytes(config.get_timing_cache().serialize()))
    plan = bytes(plan)
    return plan, inspect_engine(trt, plan, logger, options.version_compatible)


def inspect_engine(trt: Any, plan: bytes, logger: Any, version_compatible: bool) -> dict[str, Any]:
    """What the inspector says of an engine's layers, as parsed JSON.

    Raises:
        ExportError: the engine does not load.
    """
    runtime = trt.Runtime(logger)
    if version_compatible:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ExportError(f"TensorRT {trt.__version__} cannot load the engine that it built")
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def profile_shapes(spec: TensorSpec, options: EngineOptions) -> tuple[tuple[int, ...], ...]:
    """Smallest, best and largest shape of an input: from one tiny window to a full batch of tiles."""
    ranges = {
        "batch": (1, options.batch, options.batch),
        "height": (MIN_SIDE_PX, options.tile_px, options.tile_px),
        "width": (MIN_SIDE_PX, options.tile_px, options.tile_px),
    }
    axes = [(size, size, size) if isinstance(size, int) else ranges[size] for size in spec.shape]
    return tuple(zip(*axes, strict=True))


def engine_name(graph: GraphFile, options: EngineOptions, version: str, gpu: Gpu) -> str:
    """File name that holds the whole key, so that engines of many machines live in one bundle."""
    model = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    parts = [
        Path(graph.file).stem,
        model,
        "sm" + gpu.compute_capability.replace(".", ""),
        f"trt{version}",
        f"{options.tile_px}px",
        f"b{options.batch}",
    ]
    if options.hardware != "none":
        parts.append(options.hardware.replace("_", "-"))
    if options.version_compatible:
        parts.append("any-version")
    return "_".join(parts) + ".plan"


def default_timing_cache(version: str, gpu: Gpu) -> Path:
    """Where kernel timings are kept between builds, apart for each TensorRT and GPU."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    model = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    return base / "rave-backlit" / f"tensorrt-{version}-{model}.timing"


def make_logger(trt: Any) -> Any:
    """A logger for TensorRT whose `reasons()` are its last errors."""

    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps warnings and errors for the message of an exception."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            """Called by TensorRT."""
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.lines.append(msg)

        def reasons(self) -> str:
            """The last errors."""
            return "; ".join(self.lines[-3:])

    return Log()


def _make_monitor(trt: Any, say: Say) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Says how far the outermost phases are, at most every two seconds."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.said = time.monotonic()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """Called by TensorRT."""
            if not parent_phase:
                self.steps[phase_name] = num_steps
                say(f"TensorRT: {phase_name}")

        def step_complete(self, phase_name: str, step: int) -> bool:
            """Called by TensorRT; True goes on."""
            if phase_name in self.steps and time.monotonic() - self.said > 2:
                self.said = time.monotonic()
                say(f"TensorRT: {phase_name} {step} of {self.steps[phase_name]}")
            return True

        def phase_finish(self, phase_name: str) -> None:
            """Called by TensorRT."""
            self.steps.pop(phase_name, None)

    return Monitor()


def _keep(cache: Path, content: bytes) -> None:
    """Writes the timing cache; a machine that cannot keep one builds slower, nothing worse."""
    partial = cache.with_name(cache.name + ".partial")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(cache)
    except OSError:
        partial.unlink(missing_ok=True)
