"""Graphs of strangers: nothing but arithmetic on the declared tensors reaches a library that runs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rave_runtime import BundleError, Enhancer
from rave_runtime.backends.graph_check import check_graph, read_graph
from rave_runtime.bundle import embedded_bundle, read_bundle
from tests.runtime.backends.changed_graphs import (
    DEVICES,
    FACTS,
    PICTURE,
    change,
    helper,
    load,
    onnx,
    replace_graph,
)


def keep_outside(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="*/_ORT_MEM_ADDR_/*")


def keep_constant_outside(model: Any) -> None:
    tensor = onnx.numpy_helper.from_array(np.zeros(3, np.float32))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    model.graph.node.append(helper.make_node("Constant", [], ["outside"], value=tensor))


def add_subgraph(model: Any) -> None:
    branch = helper.make_graph([], "branch", [], [])
    model.graph.node.append(helper.make_node("Identity", ["cols"], ["unused"], body=branch))


def add_branch(model: Any) -> None:
    branch = helper.make_graph([], "branch", [], [])
    model.graph.node.append(
        helper.make_node("If", ["cols"], ["unused"], then_branch=branch, else_branch=branch)
    )


def add_function(model: Any) -> None:
    model.functions.append(helper.make_function("mine", "F", ["x"], ["x"], [], [helper.make_opsetid("", 18)]))


def repeat_type(model: Any) -> bytes:
    """A second shape of an input, which Protocol Buffers would add to the first."""
    content: bytes = model.SerializeToString()
    return content + b"\x3a\x00"  # field 7 again, empty


CHANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "external data": (keep_outside, r"keeps weights outside the graph's file \(external data\)"),
    "external data of a constant": (keep_constant_outside, "external data"),
    "a subgraph": (add_subgraph, "subgraph"),
    "an operator with branches": (add_branch, "subgraph|operator 'If'"),
    "another domain": (
        lambda model: model.graph.node.append(
            helper.make_node("Conv", ["cols"], ["unused"], domain="com.microsoft")
        ),
        "uses operators of 'com.microsoft'",
    ),
    "an operator that ours do not use": (
        lambda model: model.graph.node.append(helper.make_node("Loop", ["cols"], ["unused"])),
        "uses the operator 'Loop', which bundles do not need",
    ),
    "a function": (add_function, r"the file holds something that bundles do not need \(field 25\)"),
    "a sparse weight": (lambda model: model.graph.sparse_initializer.add(), r"the graph holds .*field 15"),
    "another output": (
        lambda model: model.graph.output.append(
            helper.make_tensor_value_info("cols", onnx.TensorProto.FLOAT, ["batch"])
        ),
        r"have the same name|outputs are not what .* it has cols",
    ),
    "an output less": (
        lambda model: model.graph.output.pop(),
        "its outputs are not what the manifest declares",
    ),
    "another input": (
        lambda model: model.graph.input.append(
            helper.make_tensor_value_info("secret", onnx.TensorProto.FLOAT, ["batch"])
        ),
        r"it has secret float32 \[batch\]",
    ),
    "another type of input": (
        lambda model: setattr(model.graph.input[1].type.tensor_type, "elem_type", onnx.TensorProto.DOUBLE),
        "it has (rows|pooled) float64",
    ),
    "a sequence as input": (
        lambda model: model.graph.input[0].CopyFrom(
            helper.make_tensor_sequence_value_info("image", onnx.TensorProto.FLOAT, None)
        ),
        "'image' is not a tensor",
    ),
    "an input that has a weight's name": (
        lambda model: model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1), "cols")),
        "have the same name",
    ),
    "a wide border": (
        lambda model: model.graph.node.append(
            helper.make_node("Conv", ["cols"], ["unused"], pads=[0, 0, 1 << 40, 0])
        ),
        "borders that are not 0 to 64 px",
    ),
    "a computed border": (
        lambda model: model.graph.node.append(helper.make_node("Pad", ["cols", "rows"], ["unused"])),
        "a Pad node adds borders that are not known",
    ),
    "weights that are not there": (
        lambda model: model.graph.initializer[0].dims.append(1 << 30),
        "are not as many as their shape says",
    ),
    "weights of another kind": (
        lambda model: setattr(model.graph.initializer[0], "data_type", onnx.TensorProto.STRING),
        "weights are of the unknown type 8",
    ),
}


@pytest.mark.parametrize("part", ["context", "enhance"])
@pytest.mark.parametrize("kind", CHANGES)
def test_a_graph_that_holds_more_than_arithmetic_is_refused(bundle_copy: Path, part: str, kind: str) -> None:
    edit, message = CHANGES[kind]
    graph = replace_graph(bundle_copy, part, change(part, edit))
    with pytest.raises(BundleError, match=message) as caught:
        read_graph(read_bundle(bundle_copy), graph)
    assert graph.file in str(caught.value)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("part", ["context", "enhance"])
def test_no_library_sees_external_data(
    bundle_copy: Path, part: str, device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if device == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setenv("RAVE_CACHE_DIR", str(tmp_path / "cache"))
    replace_graph(bundle_copy, part, change(part, keep_outside))
    enhancer = Enhancer(bundle_copy, precision="fp32", device=device)
    with pytest.raises(BundleError, match="external data"):
        enhancer.enhance(PICTURE)


@pytest.mark.parametrize("device", DEVICES)
def test_a_graph_that_makes_no_sense_is_named_with_its_library(bundle_copy: Path, device: str) -> None:
    if device == "openvino":
        pytest.importorskip("openvino")
    graph = replace_graph(bundle_copy, "enhance", change("enhance", lambda model: model.graph.node.pop()))
    with pytest.raises(BundleError, match=r"cannot be loaded by (onnxruntime|OpenVINO)") as caught:
        Enhancer(bundle_copy, precision="fp32", device=device).enhance(PICTURE)
    assert graph.file in str(caught.value)


def test_two_graphs_in_one_file_are_refused(bundle_copy: Path) -> None:
    graph = replace_graph(bundle_copy, "enhance", repeat_type(load("enhance")))
    with pytest.raises(BundleError, match="holds 2 graphs, one is needed"):
        read_graph(read_bundle(bundle_copy), graph)


def test_a_declaration_that_the_network_contradicts_is_refused(bundle_copy: Path) -> None:
    def widen(model: Any) -> None:
        model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 7

    light = [{"name": "light", "dtype": "float32", "shape": [7, "height", "width"]}]
    graph = replace_graph(bundle_copy, "enhance", change("enhance", widen), outputs=light)
    with pytest.raises(
        BundleError, match=r"the enhance graph of this network has light float32 \[\*, \*, \*\]"
    ):
        read_graph(read_bundle(bundle_copy), graph)


def test_the_embedded_graphs_pass_quickly() -> None:
    bundle = read_bundle(embedded_bundle())
    started = time.perf_counter()
    contents = [read_graph(bundle, graph) for graph in bundle.manifest.graphs]
    assert time.perf_counter() - started < 1
    assert len(contents) == 9
    assert all(contents)


GRAPH = next(
    item for item in read_bundle(embedded_bundle()).manifest.graphs if item.file == "enhance_fp32.onnx"
)
CONTENT = (embedded_bundle() / GRAPH.file).read_bytes()


@settings(max_examples=300, deadline=1000)
@given(
    place=st.integers(0, len(CONTENT) - 1),
    bytes_=st.binary(min_size=1, max_size=12),
    cut=st.integers(0, len(CONTENT)),
)
def test_whatever_the_bytes_it_passes_or_says_why_not(place: int, bytes_: bytes, cut: int) -> None:
    spoiled = CONTENT[:place] + bytes_ + CONTENT[place + len(bytes_) :]
    for content in (spoiled, spoiled[:cut], bytes_):
        try:
            check_graph(content, GRAPH, FACTS)
        except ValueError as error:
            assert 0 < len(str(error)) < 1000  # noqa: PT017


@pytest.mark.parametrize(
    "content",
    [
        b"\x3a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01" + b"\0" * 99,  # a length of 2**63
        b"\xff" * 1000,  # a number without end
        b"\x08\x00" * 2_000_000,  # millions of fields
        b"\x3b" * 10_000_000,  # groups, which Protocol Buffers reads within each other
    ],
)
def test_headers_that_never_end_are_refused_at_once(content: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(ValueError, match=r"it holds|longer than|does not end|unknown kind"):
        check_graph(content, GRAPH, FACTS)
    assert time.perf_counter() - started < 3
