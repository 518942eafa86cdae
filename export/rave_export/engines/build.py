"""Builds TensorRT engines of a bundle's tiling graphs, checks them, and describes them for the manifest.

TensorRT builds on the GPU model that will run its engines. TensorRT for RTX needs no GPU to build, and its
engines run on several generations of GPUs; so here only their building and their types can be checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rave_export.engines.precision import check_parsed_precision, check_precision
from rave_export.errors import ExportError
from rave_export.options import TRT_BATCH, TRT_TILE_PX, Hardware
from rave_runtime.backends.graph_check import read_graph
from rave_runtime.backends.tensorrt.building import Profile, build_plan, build_rtx_plan, make_logger
from rave_runtime.backends.tensorrt.library import (
    RTX_TARGETS,
    TURING_TARGETS,
    Gpu,
    TargetSet,
    find_gpu,
    import_cuda,
    import_library,
)
from rave_runtime.bundle import Bundle, EngineFile, Flavour, GraphFile, Precision
from rave_runtime.errors import DeviceError, PhotoError
from rave_runtime.files.atomic import write_atomically
from rave_runtime.files.cache_folder import cache_folder
from rave_runtime.files.regular import read_own

Say = Callable[[str], None]

GATHERED_BATCH: Final = 8
"""Most reduced pictures that `rave-run` puts into one run of an engine."""


@dataclass(frozen=True)
class EngineOptions:
    """What engines are built for.

    Attributes:
        precision: the precision of the graphs that are built, "fp16" or "fp32". TensorRT cannot build int8
            graphs, since it needs zero points of 0.
        tile_px: longest side of a tile, for which engines are tuned.
        batch: most tiles per run, for which engines are tuned.
        working_size_px: long side of reduced pictures, for which engines are tuned as well; None tunes for
            tiles alone.
        hardware: which other GPUs may run the engines.
        version_compatible: whether other TensorRT versions of the same major version may run them.
        timing_cache: file of kernel timings, kept between builds; None chooses one in the user's cache
            folder.
        flavour: TensorRT, or TensorRT for RTX, which ignores `hardware`, `version_compatible` and
            `timing_cache`.
    """

    precision: Precision = "fp16"
    tile_px: int = TRT_TILE_PX
    batch: int = TRT_BATCH
    working_size_px: int | None = None
    hardware: Hardware = "none"
    version_compatible: bool = False
    timing_cache: Path | None = None
    flavour: Flavour = "tensorrt"

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The windows to tune for: full tiles, and reduced pictures if those are smaller."""
        tiles = Profile(self.batch, self.tile_px)
        side_px = self.working_size_px
        if side_px is None or side_px >= self.tile_px:
            return (tiles,)
        return (tiles, Profile(min(self.batch, GATHERED_BATCH), side_px))


def import_tensorrt(flavour: Flavour = "tensorrt") -> Any:
    """Imports the Python module of TensorRT or of TensorRT for RTX.

    Raises:
        ExportError: it is missing or too old; the message says how to install it.
    """
    try:
        return import_library(flavour)
    except DeviceError as error:
        option = "--trt" if flavour == "tensorrt" else "--trt-rtx"
        raise ExportError(f"{error}, or leave out {option}") from error


def find_build_gpu(trt: Any) -> Gpu:
    """Finds the GPU that engines are built on and for.

    Raises:
        ExportError: this machine has none that can be used.
    """
    try:
        return find_gpu(import_cuda(), {"tensorrt": str(trt.__version__)})
    except DeviceError as error:
        raise ExportError(
            f"{error}. TensorRT builds engines on the GPU model that runs them: run rave-export --trt there"
        ) from error


def build_engines(
    bundle: Bundle, options: EngineOptions, trt: Any, gpu: Gpu | None, say: Say = lambda _: None
) -> list[tuple[EngineFile, bytes]]:
    """Builds and checks an engine of every tiling graph of a precision.

    Args:
        bundle: the bundle, which holds graphs of that precision.
        options: what the engines are built for.
        trt: the library's module.
        gpu: the GPU of this machine; None for TensorRT for RTX, which builds for all GPUs that it supports.
        say: called with a line per stage.

    Returns:
        Each engine's manifest entry and bytes.

    Raises:
        ExportError: a graph cannot be parsed or built, or the engine's layers are not of the precision of its
            graph.
        BundleError: the bundle's files are damaged.
    """
    engines = []
    for graph in bundle.manifest.graphs:
        if graph.precision != options.precision or graph.part not in ("context", "enhance"):
            continue
        content = read_graph(bundle, graph)
        for target in (RTX_TARGETS, TURING_TARGETS) if gpu is None else (gpu,):
            place = target.name if isinstance(target, Gpu) else f"compute capability {', '.join(target)}"
            say(f"building a TensorRT {trt.__version__} engine of {graph.file} for {place}")
            if isinstance(target, Gpu):
                plan = _Builder(target).build(trt, content, graph, options, say)
            else:
                plan = _build_for_rtx(trt, content, graph, options, target, say)
            engines.append((_describe(plan, graph, options, str(trt.__version__), target), plan))
    return engines


def _describe(
    plan: bytes, graph: GraphFile, options: EngineOptions, version: str, target: Gpu | TargetSet
) -> EngineFile:
    """The manifest's entry of an engine."""
    gpu = target if isinstance(target, Gpu) else None
    return EngineFile(
        file=engine_name(graph, options, version, target),
        sha256=hashlib.sha256(plan).hexdigest(),
        graph=graph.file,
        gpu=gpu.name if gpu else "",
        compute_capability=gpu.compute_capability if gpu else "",
        tensorrt_version=version,
        precision=options.precision,
        tile_px=options.tile_px,
        batch=options.batch,
        hardware=options.hardware if gpu else "none",
        version_compatible=options.version_compatible and gpu is not None,
        flavour=options.flavour,
        targets=() if isinstance(target, Gpu) else target,
    )


def _build_for_rtx(
    trt: Any, content: bytes, graph: GraphFile, options: EngineOptions, targets: TargetSet, say: Say
) -> bytes:
    """Builds an engine of TensorRT for RTX; the types of its parsed layers are checked."""

    def configure(config: Any) -> None:
        config.progress_monitor = _make_monitor(trt, say)

    def check(network: Any) -> None:
        check_parsed_precision(trt, network, content, graph.file)

    try:
        return build_rtx_plan(trt, content, graph, options.profiles, targets, configure, check)
    except DeviceError as error:
        raise ExportError(str(error)) from error


class _Builder:
    """Builds engines with TensorRT on one GPU, where kernels are timed and engines can be inspected."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def build(self, trt: Any, content: bytes, graph: GraphFile, options: EngineOptions, say: Say) -> bytes:
        """Builds the engine of a graph and checks that its layers have the graph's precision."""
        cache = options.timing_cache or default_timing_cache(str(trt.__version__), self._gpu)
        configs = []

        def configure(config: Any) -> None:
            config.progress_monitor = _make_monitor(trt, say)
            if options.hardware != "none":
                level = getattr(trt.HardwareCompatibilityLevel, options.hardware.upper())
                config.hardware_compatibility_level = level
            if options.version_compatible:
                config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
            timings = _read_timings(cache, is_named=options.timing_cache is not None)
            config.set_timing_cache(config.create_timing_cache(timings), ignore_mismatch=False)
            configs.append(config)

        try:
            plan = build_plan(trt, content, graph, options.profiles, configure)
        except DeviceError as error:
            raise ExportError(str(error)) from error
        if cache is not None:
            _write_timings(cache, bytes(configs[0].get_timing_cache().serialize()))
        layers = inspect_engine(trt, plan, options.version_compatible)
        if options.precision == "fp16":
            check_precision(layers, content, graph.file)
        return plan


def inspect_engine(trt: Any, plan: bytes, version_compatible: bool) -> dict[str, Any]:
    """What TensorRT's inspector says about an engine's layers, as parsed JSON.

    Raises:
        ExportError: the engine does not load.
    """
    runtime = trt.Runtime(make_logger(trt))
    if version_compatible:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ExportError(f"TensorRT {trt.__version__} cannot load the engine that it built")
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def engine_name(graph: GraphFile, options: EngineOptions, version: str, target: Gpu | TargetSet) -> str:
    """The file name of an engine, with all that distinguishes engines, so that one bundle can hold many."""
    gpu = target if isinstance(target, Gpu) else None
    place = ["rtx", "turing"] if target == TURING_TARGETS else ["rtx"]
    if gpu is not None:
        place = [_slug(gpu.name), "sm" + gpu.compute_capability.replace(".", "")]
    parts = [Path(graph.file).stem, *place, f"trt{version}", f"{options.tile_px}px", f"b{options.batch}"]
    if gpu is not None and options.hardware != "none":
        parts.append(options.hardware.replace("_", "-"))
    if gpu is not None and options.version_compatible:
        parts.append("any-version")
    return "_".join(parts) + ".plan"


def default_timing_cache(version: str, gpu: Gpu) -> Path | None:
    """The file of kernel timings in the user's cache, one for each TensorRT and GPU; None without a cache."""
    folder = cache_folder("timings")
    return None if folder is None else folder / f"tensorrt-{version}-{_slug(gpu.name)}.timing"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _make_monitor(trt: Any, say: Say) -> Any:
    """Returns a progress monitor for TensorRT's builder that reports by `say`."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Reports how far the outermost phases have come, at most every two seconds."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.last_report_s = time.monotonic()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """Called by TensorRT."""
            if not parent_phase:
                self.steps[phase_name] = num_steps
                say(f"TensorRT: {phase_name}")

        def step_complete(self, phase_name: str, step: int) -> bool:
            """Called by TensorRT; True goes on."""
            if phase_name in self.steps and time.monotonic() - self.last_report_s > 2:
                self.last_report_s = time.monotonic()
                say(f"TensorRT: {phase_name} {step} of {self.steps[phase_name]}")
            return True

        def phase_finish(self, phase_name: str) -> None:
            """Called by TensorRT."""
            self.steps.pop(phase_name, None)

    return Monitor()


def _read_timings(cache: Path | None, *, is_named: bool) -> bytes:
    """The bytes of a timing cache; none if it is missing, or may be another user's and no option named it."""
    if cache is None or not cache.is_file():
        return b""
    return cache.read_bytes() if is_named else read_own(cache) or b""


def _write_timings(cache: Path, content: bytes) -> None:
    """Writes the timing cache; errors are ignored, since without a cache builds only take longer."""
    with contextlib.suppress(OSError, PhotoError):
        cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(cache, content)
        cache.chmod(0o600)  # some umasks let a group write to it, which `read_own` refuses
