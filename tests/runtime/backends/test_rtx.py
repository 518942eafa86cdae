"""TensorRT for RTX: engines are built at first use, kept, and refused on GPUs that it does not know."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from rave_runtime import DeviceError, Enhancer
from rave_runtime.backends.tensorrt.library import RTX_TARGETS, Gpu
from rave_runtime.backends.tensorrt.network import choose_engine, first_use_profiles
from rave_runtime.bundle import EngineFile, read_bundle, write_manifest
from tests.runtime.backends.host_cuda import H200, HostCuda, OnnxEngine, engine_for, host_tensorrt
from tests.runtime.pictures import MakePicture


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
