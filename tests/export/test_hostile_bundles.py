"""A stranger's bundle: no writer and no proof opens a graph that holds more than arithmetic."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from rave_export.bundles import write_graph
from rave_export.engines.build import EngineOptions, build_engines
from rave_export.graphs.normal_way import normal_way
from rave_export.graphs.variants import Graph
from rave_export.proof.report import prove_bundle
from rave_export.proof.verify import make_session
from rave_export.triton import write_triton_repository
from rave_export.web.page import page_graph
from rave_runtime.backends.devices import choose_device
from rave_runtime.backends.graph_check import read_graph
from rave_runtime.bundle import Bundle, read_bundle, write_manifest
from rave_runtime.errors import BundleError

PARTS = ("context", "enhance", "normal", "whole")


@pytest.fixture
def complete(bundle: Bundle) -> Bundle:
    """A bundle that holds a graph of every part, recommended for a working size."""
    context, enhance = (
        onnx.load_model_from_string(read_graph(bundle, graph))
        for graph in (
            bundle.manifest.graph("context", "fp32", "uint8"),
            bundle.manifest.graph("enhance", "fp32"),
        )
    )
    entry = write_graph(bundle.folder, Graph(normal_way(context, enhance, 32), "normal", "fp32", "uint8"))
    manifest = replace(bundle.manifest, graphs=(*bundle.manifest.graphs, entry), working_size_px=32)
    write_manifest(bundle.folder, manifest)
    return read_bundle(bundle.folder)


def keep_outside(model: onnx.ModelProto) -> None:
    tensor = onnx.numpy_helper.from_array(np.zeros(16, np.float32), "outside")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "secret.bin"), ("offset", "0"), ("length", "64")):
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)


def add_operator(kind: str, domain: str = "") -> Callable[[onnx.ModelProto], None]:
    def add(model: onnx.ModelProto) -> None:
        name = model.graph.input[0].name
        model.graph.node.append(onnx.helper.make_node(kind, [name], ["unused"], domain=domain))

    return add


def add_branches(model: onnx.ModelProto) -> None:
    branch = onnx.helper.make_graph([], "branch", [], [])
    name = model.graph.input[0].name
    model.graph.node.append(onnx.helper.make_node("Identity", [name], ["unused"], body=branch))


SPOILS: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "external data": (keep_outside, r"keeps weights outside the graph's file"),
    "a loop": (add_operator("Loop"), "uses the operator 'Loop'"),
    "a foreign operator": (add_operator("Conv", "com.microsoft"), "operators of 'com.microsoft'"),
    "a subgraph": (add_branches, "a subgraph, for one"),
    "another output": (
        lambda model: setattr(model.graph.output[0], "name", "other"),
        "outputs are not what the manifest declares",
    ),
}


def spoil(bundle: Bundle, part: str, change: Callable[[onnx.ModelProto], None]) -> Bundle:
    """Changes every graph of a part; the manifest agrees, as in a bundle of somebody with bad intent."""
    graphs = []
    for graph in bundle.manifest.graphs:
        if graph.part == part:
            model = onnx.load_model_from_string(bundle.read_file(graph))
            change(model)
            content = model.SerializeToString()
            (bundle.folder / graph.file).write_bytes(content)
            graph = replace(graph, sha256=hashlib.sha256(content).hexdigest())
        graphs.append(graph)
    write_manifest(bundle.folder, replace(bundle.manifest, graphs=tuple(graphs)))
    return read_bundle(bundle.folder)


def open_everywhere(bundle: Bundle, part: str, tmp_path: Path) -> dict[str, Callable[[], Any]]:
    """Everything of `rave-export` that opens a graph of that part."""
    graph = next(item for item in bundle.manifest.graphs if item.part == part)
    uses: dict[str, Callable[[], Any]] = {
        "verify": lambda: prove_bundle(bundle),
        "a session": lambda: make_session(bundle, graph, choose_device("cpu")),
    }
    if part == "normal":
        uses["Triton"] = lambda: write_triton_repository(bundle, tmp_path / "models")
    if part in ("context", "enhance"):
        uses["the web page"] = lambda: page_graph(bundle)
    if part == "context":  # the first that becomes an engine
        options = EngineOptions(precision="fp32", flavour="tensorrt-rtx")
        # The graph is refused before the library, which is not installed everywhere, is asked for anything.
        uses["TensorRT"] = lambda: build_engines(bundle, options, NoLibrary(), None, lambda _: None)
    return uses


class NoLibrary:
    """Stands where TensorRT's module would: nothing of it may be used."""

    __version__ = "none"


def test_every_graph_that_is_exported_passes(complete: Bundle) -> None:
    held = {graph.part for graph in complete.manifest.graphs}
    assert held == set(PARTS)
    for graph in complete.manifest.graphs:
        assert read_graph(complete, graph) == complete.read_file(graph)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("fault", SPOILS)
def test_a_hostile_graph_is_refused_wherever_it_is_opened(
    complete: Bundle, part: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, words = SPOILS[fault]
    wrong = spoil(complete, part, change)
    monkeypatch.chdir(wrong.folder)
    (wrong.folder / "secret.bin").write_bytes(bytes(64))
    for place, use in open_everywhere(wrong, part, tmp_path).items():
        with pytest.raises(BundleError, match=words):
            use()
        assert not (tmp_path / "models").exists(), place


@pytest.mark.parametrize("part", ["whole"])
def test_tritons_copy_of_a_hostile_graph(complete: Bundle, part: str, tmp_path: Path) -> None:
    """Full-resolution graphs are served where there are none of the normal way."""
    graphs = tuple(graph for graph in complete.manifest.graphs if graph.part != "normal")
    write_manifest(complete.folder, replace(complete.manifest, graphs=graphs))
    wrong = spoil(read_bundle(complete.folder), part, keep_outside)
    with pytest.raises(BundleError, match="keeps weights outside"):
        write_triton_repository(wrong, tmp_path / "models")
    assert not (tmp_path / "models").exists()
