"""Graphs of strangers: nothing but arithmetic on the declared tensors reaches a library that runs them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rave_runtime import BundleError, Enhancer, PhotoError
from rave_runtime.backends.graph_check import check_graph, read_graph
from rave_runtime.backends.onnx_model import OnnxModel
from rave_runtime.bundle import MANIFEST_NAME, GraphFile, embedded_bundle, read_bundle
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.photo import Photo
from rave_runtime.run.batch import Batch
from rave_runtime.run.jobs import Job

onnx = pytest.importorskip("onnx", reason="graphs are changed with the onnx package")
helper = onnx.helper
PICTURE = np.full((40, 50, 3), 60, np.uint8)
DEVICES = ["cpu", pytest.param("openvino", marks=pytest.mark.filterwarnings("default"))]


def replace_graph(
    bundle: Path, part: str, content: bytes, precision: str = "fp32", **declared: Any
) -> GraphFile:
    """Puts other bytes in the place of a graph for uint8 pictures; the manifest agrees."""
    manifest = json.loads((bundle / MANIFEST_NAME).read_text())
    (entry,) = [
        graph
        for graph in manifest["graphs"]
        if (graph["part"], graph["precision"]) == (part, precision) and graph["image"] != "float32"
    ]
    (bundle / entry["file"]).write_bytes(content)
    entry |= {"sha256": hashlib.sha256(content).hexdigest(), **declared}
    (bundle / MANIFEST_NAME).write_text(json.dumps(manifest))
    (graph,) = [item for item in read_bundle(bundle).manifest.graphs if item.file == entry["file"]]
    return graph


def load(part: str, precision: str = "fp32") -> Any:
    names = {"context": f"context_uint8_{precision}.onnx", "enhance": f"enhance_{precision}.onnx"}
    return onnx.load(embedded_bundle() / names[part])


def change(part: str, edit: Callable[[Any], object], precision: str = "fp32") -> bytes:
    model = load(part, precision)
    edit(model)
    content: bytes = model.SerializeToString()
    return content


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


FACTS = read_bundle(embedded_bundle()).manifest.network
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


@pytest.mark.parametrize("tile_size", [64, None])
@pytest.mark.parametrize("device", DEVICES)
def test_light_that_is_not_a_number_fails_the_photograph(
    bundle_copy: Path,
    device: str,
    tile_size: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was written as a black picture, and counted as enhanced."""
    if device == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setenv("RAVE_CACHE_DIR", str(tmp_path / "cache"))

    def spoil_all(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 4:
                values = onnx.numpy_helper.to_array(tensor)
                values = np.where(values > 0, np.float32(3e38), np.float32(-3e38))  # sums overflow
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    replace_graph(bundle_copy, "context", change("context", spoil_all))
    replace_graph(bundle_copy, "enhance", change("enhance", spoil_all))
    enhancer = Enhancer(bundle_copy, precision="fp32", device=device, working_size=None, tile_size=tile_size)
    with pytest.raises(PhotoError, match=r"computed (light that is not a number|no light at all)"):
        enhancer.enhance(np.full((100, 120, 3), 60, np.uint8))
    source, target = tmp_path / "a.png", tmp_path / "out" / "a.png"
    source.write_bytes(encode_photo(Photo(PICTURE, "PNG"), PICTURE, "PNG").content)
    (result,) = Batch(enhancer).run([Job(source, target, "a.png")])
    assert result.status == "failed"
    assert "cannot be enhanced with this model" in (result.error or "")
    assert not target.exists()


def int8_context() -> GraphFile:
    return next(
        item
        for item in read_bundle(embedded_bundle()).manifest.graphs
        if (item.part, item.precision, item.image) == ("context", "int8", "uint8")
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["weight", "scale", "bias"])
def test_weights_that_are_not_numbers_are_refused_with_the_models_name(name: str, value: float) -> None:
    """In an 8-bit graph they become finite numbers: the photograph was black, and counted as enhanced."""
    graph = int8_context()
    content = (embedded_bundle() / graph.file).read_bytes()
    model = onnx.load_from_string(content)
    floats = onnx.TensorProto.FLOAT
    tensor = next(
        item for item in model.graph.initializer if item.name.endswith(name) and item.data_type == floats
    )
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.ravel()[-1:] = value
    tensor.CopyFrom(onnx.numpy_helper.from_array(values.reshape(tuple(tensor.dims)), tensor.name))
    with pytest.raises(ValueError, match=f"its weights .*{name}' hold what is infinite or not a number"):
        check_graph(model.SerializeToString(), graph, FACTS)
    tensor.ClearField("raw_data")
    tensor.float_data.extend(values.ravel())  # the other way to store them
    with pytest.raises(ValueError, match="hold what is infinite or not a number"):
        check_graph(model.SerializeToString(), graph, FACTS)


@pytest.mark.parametrize("scale", [0.0, -0.5])
def test_scales_of_8_bit_values_are_above_0(scale: float) -> None:
    graph = int8_context()
    model = onnx.load_from_string((embedded_bundle() / graph.file).read_bytes())
    tensor = next(item for item in model.graph.initializer if item.name == "leaky_relu_scale")
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(scale), tensor.name))
    with pytest.raises(ValueError, match="its scale 'leaky_relu_scale' of 8-bit values is not above 0"):
        check_graph(model.SerializeToString(), graph, FACTS)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_fractions_are_looked_at_too(dtype: Any) -> None:
    for value, is_refused in ((1.0, False), (np.inf, True)):
        tensor = onnx.numpy_helper.from_array(np.array([1, value], dtype), "w")
        reader = OnnxModel()
        if is_refused:
            with pytest.raises(ValueError, match="'w' hold what is infinite or not a number"):
                reader._read_tensor(memoryview(tensor.SerializeToString()))
        else:
            assert reader._read_tensor(memoryview(tensor.SerializeToString())) == ("w", [])


@pytest.mark.parametrize(("level", "words"), [(1e30, "far beyond 0 to 1"), (3e38, "not a number")])
@pytest.mark.parametrize("tile_size", [64, None])
def test_infinity_inside_an_8_bit_model_fails_the_photograph(
    bundle_copy: Path, tile_size: int | None, level: float, words: str
) -> None:
    """The enhance graph rounds its input to bytes, and made finite light of it."""

    def enlarge(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == "network.ResidualBlock2.conv1.weight":
                values = np.where(onnx.numpy_helper.to_array(tensor) > 0, level, -level).astype(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        # Leave out the rounding behind it, as where a bundle spares the layer.
        graph = model.graph
        for node in list(graph.node):
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and "weight" not in node.input[0]:
                source, removed = node.input[0], node.output[0]
                graph.node.remove(node)
                for other in graph.node:
                    other.input[:] = [source if name == removed else name for name in other.input]

    replace_graph(bundle_copy, "context", change("context", enlarge, "int8"), "int8")
    enhancer = Enhancer(bundle_copy, precision="int8", device="cpu", working_size=None, tile_size=tile_size)
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    with pytest.raises(PhotoError, match=f"context_uint8_int8.onnx computed light that is {words}"):
        enhancer.enhance(noise)


def test_light_far_beyond_any_fails_the_photograph(bundle_copy: Path) -> None:
    """Finite numbers make a black picture too, as an 8-bit graph computes them instead of infinity."""

    def enlarge(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 4:
                values = onnx.numpy_helper.to_array(tensor)
                values = np.abs(values) * np.float32(10)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    for part in ("context", "enhance"):
        replace_graph(bundle_copy, part, change(part, enlarge))
    enhancer = Enhancer(bundle_copy, precision="fp32", device="cpu")
    with pytest.raises(PhotoError, match=r"computed light that is far beyond 0 to 1"):
        enhancer.enhance(PICTURE)


@pytest.mark.parametrize("device", DEVICES)
def test_a_graph_whose_output_has_another_shape_is_named(
    bundle_copy: Path, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told as a fault of rave-run."""
    if device == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setenv("RAVE_CACHE_DIR", str(tmp_path / "cache"))

    def shrink(model: Any) -> None:
        graph = model.graph
        last = graph.output[0].name
        for node in graph.node:
            node.output[:] = ["wide" if name == last else name for name in node.output]
        numbers = {"from": [0], "to": [-1], "axis": [2]}
        graph.initializer.extend(
            onnx.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()
        )
        graph.node.append(helper.make_node("Slice", ["wide", *numbers], [last]))

    graph = replace_graph(bundle_copy, "enhance", change("enhance", shrink))
    enhancer = Enhancer(bundle_copy, precision="fp32", device=device)
    with pytest.raises(
        BundleError, match=r"gave light of the shape \[1, 40, 49\], .* needs \[1, 40, 50\]"
    ) as caught:
        enhancer.enhance(PICTURE)
    assert graph.file in str(caught.value)
