"""A machine with stand-ins for CUDA and TensorRT, and a bundle with engines for it."""

from __future__ import annotations

import hashlib
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from rave_runtime.bundle import read_bundle, write_manifest
from tests.runtime.backends.host_cuda import HostCuda, engine_for, host_tensorrt


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> HostCuda:
    runtime = HostCuda()
    bindings = types.ModuleType("cuda.bindings")
    bindings.runtime = runtime  # type: ignore[attr-defined]
    monkeypatch.setattr("rave_runtime.backends.devices._is_installed", lambda module: True)
    monkeypatch.setitem(sys.modules, "tensorrt", host_tensorrt())
    monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
    return runtime


@pytest.fixture
def with_engines(bundle_copy: Path) -> Path:
    """The embedded bundle with an "engine" for each float32 graph: the graph itself."""
    manifest = read_bundle(bundle_copy).manifest
    engines = []
    for graph in manifest.graphs:
        if graph.precision == "fp32":
            engine = engine_for(graph.file)
            content = (bundle_copy / graph.file).read_bytes()
            (bundle_copy / engine.file).write_bytes(content)
            engines.append(replace(engine, sha256=hashlib.sha256(content).hexdigest()))
    write_manifest(bundle_copy, replace(manifest, engines=tuple(engines)))
    return bundle_copy
