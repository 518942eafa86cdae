"""Runs a bundle's network on an NVIDIA GPU by TensorRT, without torch and onnxruntime.

Engines come with the bundle, or TensorRT for RTX builds them at first use. Features stay on the GPU between
the two engines of a call.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Final

from rave_runtime.arrays import Array
from rave_runtime.backends.compiled_cache import keep, recall
from rave_runtime.backends.graph_check import read_graph
from rave_runtime.backends.network import Image
from rave_runtime.backends.split import ContextOutput, SplitNetwork, image_type
from rave_runtime.backends.tensorrt.building import Profile, build_rtx_plan
from rave_runtime.backends.tensorrt.engine import Engine
from rave_runtime.backends.tensorrt.library import (
    Gpu,
    TargetSet,
    find_gpu,
    import_cuda,
    installed_libraries,
    rtx_targets_of,
    runs_rtx,
)
from rave_runtime.backends.tensorrt.memory import GpuMemory, GpuTensor
from rave_runtime.bundle import Bundle, EngineFile, GraphFile, ImageType, Manifest, Part, Precision
from rave_runtime.errors import DeviceError

BATCH: Final = 8
"""Most windows per run of engines that are built at first use."""

_TILE_PX: Final = 512
_WHOLE_PX: Final = 2048
"""Longest sides of the windows for which engines are built at first use: tiles, and one whole picture."""


class TensorRtNetwork(SplitNetwork):
    """Runs a bundle by TensorRT, one call at a time: see `rave_runtime.backends.network.Network`.

    Args:
        bundle: the bundle with the engines or graphs.
        precision: the precision of the engines.
        plans: descriptions and bytes of engines to use in place of the bundle's; None takes the bundle's.

    Raises:
        DeviceError: the libraries or a GPU are missing, or no engine fits and none can be built here; the
            message says which engines the bundle has and how to build one.
    """

    def __init__(
        self, bundle: Bundle, precision: Precision, plans: Sequence[tuple[EngineFile, bytes]] | None = None
    ) -> None:
        self.facts = bundle.manifest.network
        self._bundle = bundle
        self._precision: Precision = precision
        self._plans = None if plans is None else {engine.file: (engine, plan) for engine, plan in plans}
        self._libraries = installed_libraries()
        cudart = import_cuda()
        versions = {flavour: str(module.__version__) for flavour, module in self._libraries.items()}
        self._gpu = find_gpu(cudart, versions)
        self._memory = GpuMemory(cudart)
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()
        self._find("enhance", None)

    def prepare(self, *, whole: bool) -> None:
        """See `LoadedNetwork.prepare`."""
        del whole  # the same two engines serve both ways
        with self._lock:
            self._find("context", "uint8")
            self._find("enhance", None)

    def load_all(self) -> set[str]:
        """Loads the engines of every graph of the precision.

        Returns:
            The names of their files.

        Raises:
            DeviceError: an engine does not fit this GPU.
        """
        graphs = [
            graph
            for graph in self._bundle.manifest.graphs
            if graph.precision == self._precision and graph.part in ("context", "enhance")
        ]
        with self._lock:
            for graph in graphs:
                self._find(graph.part, graph.image)
        return {self._choose(graph).file for graph in graphs}

    def exclusive(self) -> threading.Lock:
        """See `SplitNetwork.exclusive`: buffers on the GPU are reused by the next call."""
        return self._lock

    def graph_file(self, part: Part, images: Image) -> str:
        """See `SplitNetwork.graph_file`: the engine's file."""
        return self._find(part, image_type(images) if part == "context" else None).name

    def run_context(
        self, images: Image, pool_rows: Array, pool_cols: Array, outputs: tuple[ContextOutput, ...]
    ) -> dict[str, GpuTensor]:
        """See `SplitNetwork.run_context`."""
        del outputs  # the engine gives both anyway
        inputs = {"image": images, "rows": pool_rows, "cols": pool_cols}
        tensors = {name: self._memory.upload(f"context {name}", value) for name, value in inputs.items()}
        return self._find("context", image_type(images)).run(tensors, self._memory)

    def run_enhance(self, features: GpuTensor, pooled: GpuTensor | Array, rows: Array, cols: Array) -> Array:
        """See `SplitNetwork.run_enhance`."""
        inputs = {
            "features": features,
            "pooled": pooled if isinstance(pooled, GpuTensor) else self._memory.upload("pooled", pooled),
            "rows": self._memory.upload("enhance rows", rows),
            "cols": self._memory.upload("enhance cols", cols),
        }
        return self._memory.download(self._find("enhance", None).run(inputs, self._memory)["light"])

    def fetch(self, pooled: GpuTensor) -> Array:
        """See `SplitNetwork.fetch`."""
        return self._memory.download(pooled)

    def _find(self, part: Part, image_type: ImageType | None) -> Engine:
        graph = self._bundle.manifest.graph(part, self._precision, image_type)
        if graph.file not in self._engines:
            self._engines[graph.file] = self._load(graph)
        return self._engines[graph.file]

    def _load(self, graph: GraphFile) -> Engine:
        """Loads the engine that fits, or builds one where none does."""
        try:
            description = self._choose(graph)
        except DeviceError:
            targets = buildable_targets(self._gpu)
            if self._plans is not None or targets is None:
                raise
            description, plan = self._build(graph, targets)
        else:
            plan = self._read(description)
        return Engine(self._libraries[description.flavour], description, plan, self._gpu)

    def _choose(self, graph: GraphFile) -> EngineFile:
        engines = self._bundle.manifest.engines
        if self._plans is not None:
            engines = tuple(engine for engine, _ in self._plans.values())
        return choose_engine(engines, graph, self._gpu)

    def _read(self, description: EngineFile) -> bytes:
        if self._plans is not None:
            return self._plans[description.file][1]
        return self._bundle.read_file(description)

    def _build(self, graph: GraphFile, targets: TargetSet) -> tuple[EngineFile, bytes]:
        """Builds an engine of TensorRT for RTX for this GPU in some seconds, or takes one kept earlier."""
        trt = self._libraries["tensorrt-rtx"]
        profiles = first_use_profiles(self._bundle.manifest)
        key = f"TensorRT for RTX {trt.__version__}, {graph.sha256}, {self._gpu}, {profiles}"
        plan = recall(key)
        if plan is None:
            plan = build_rtx_plan(trt, read_graph(self._bundle, graph), graph, profiles, targets)
            keep(key, plan)
        description = EngineFile(
            file=f"the engine of {graph.file}",
            sha256=hashlib.sha256(plan).hexdigest(),
            graph=graph.file,
            gpu=self._gpu.name,
            compute_capability=self._gpu.compute_capability,
            tensorrt_version=self._gpu.rtx_version,
            precision=graph.precision,
            tile_px=_TILE_PX,
            batch=BATCH,
            flavour="tensorrt-rtx",
            targets=targets,
        )
        return description, plan


def buildable_targets(gpu: Gpu) -> TargetSet | None:
    """Returns the targets of engines built at first use; None where none can be built for the GPU."""
    return rtx_targets_of(gpu.compute_capability) if gpu.rtx_version else None


def first_use_profiles(manifest: Manifest) -> tuple[Profile, ...]:
    """Returns the profiles of engines built at first use: reduced pictures, tiles, one whole picture."""
    size_px = manifest.working_size_px
    reduced = () if size_px is None else (Profile(BATCH, size_px),)
    return (*reduced, Profile(BATCH, _TILE_PX), Profile(1, _WHOLE_PX))


def choose_engine(engines: Sequence[EngineFile], graph: GraphFile, gpu: Gpu) -> EngineFile:
    """Returns the engine of a graph that may run on a GPU with the installed TensorRT libraries.

    Raises:
        DeviceError: no engine matches the GPU and the versions.
    """
    candidates = [engine for engine in engines if engine.graph == graph.file]
    for engine in candidates:
        if _fits_gpu(engine, gpu) and _fits_version(engine, gpu):
            return engine
    descriptions = "; ".join(map(_describe, candidates)) or "none"
    versions = " and ".join(
        f"{title} {version}"
        for title, version in (("TensorRT", gpu.tensorrt_version), ("TensorRT for RTX", gpu.rtx_version))
        if version
    )
    advice = "build one on this machine with rave-export CHECKPOINT --output BUNDLE --fp16 --trt"
    if gpu.rtx_version and not gpu.tensorrt_version:
        advice = "TensorRT for RTX cannot use it: choose --device cuda, or pip install 'rave-backlit[trt]'"
    raise DeviceError(
        f"no engine of {graph.file} is for {gpu.name} (compute capability {gpu.compute_capability}) with "
        f"{versions}; the bundle has {descriptions}: {advice}"
    )


def _describe(engine: EngineFile) -> str:
    """Describes in words on which GPU and with which library an engine runs."""
    if engine.flavour == "tensorrt-rtx":
        return f"compute capability {', '.join(engine.targets)}, TensorRT for RTX {engine.tensorrt_version}"
    return (
        f"{engine.gpu} (compute capability {engine.compute_capability}), TensorRT {engine.tensorrt_version}"
    )


def _fits_gpu(engine: EngineFile, gpu: Gpu) -> bool:
    if engine.flavour == "tensorrt-rtx":
        return runs_rtx(gpu.compute_capability, engine.targets)
    if engine.hardware == "ampere_plus":
        return float(gpu.compute_capability) >= 8.0
    if engine.hardware == "same_compute_capability":
        return engine.compute_capability == gpu.compute_capability
    return (engine.gpu, engine.compute_capability) == (gpu.name, gpu.compute_capability)


def _fits_version(engine: EngineFile, gpu: Gpu) -> bool:
    if engine.flavour == "tensorrt-rtx":
        return engine.tensorrt_version == gpu.rtx_version  # its releases do not run each other's engines
    if engine.version_compatible:
        return engine.tensorrt_version.split(".")[0] == gpu.tensorrt_version.split(".")[0]
    return engine.tensorrt_version == gpu.tensorrt_version
