"""Graphs of allowed operators that ask for any amount of memory or work are refused before they are run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rave_runtime import BundleError, Enhancer
from rave_runtime.backends.graph_check import check_graph, read_graph
from rave_runtime.bundle import GraphFile, TensorSpec, embedded_bundle, read_bundle
from tests.runtime.backends.changed_graphs import (
    DEVICES,
    FACTS,
    PICTURE,
    change,
    helper,
    onnx,
    replace_graph,
)

Array = np.ndarray[Any, Any]


def weight(model: Any, name: str, value: Array) -> str:
    model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return name


def numbers(model: Any, *values: int) -> str:
    name = f"numbers_{len(model.graph.initializer)}"
    return weight(model, name, np.array(values, np.int64))


def add(model: Any, kind: str, *inputs: str, **attributes: Any) -> str:
    output = f"made_{len(model.graph.node)}"
    model.graph.node.append(helper.make_node(kind, list(inputs), [output], **attributes))
    return output


def double(model: Any) -> None:
    name = "features"
    for _ in range(40):
        name = add(model, "Concat", name, name, axis=1)


def widen(model: Any) -> None:
    """Convolutions of 1x1 from 16 channels to 3,000, and of 3,000 to 3,000 in 3,000 groups."""
    wide = weight(model, "wide", np.zeros((3000, 16, 1, 1), np.float32))
    each = weight(model, "each", np.zeros((3000, 1, 1, 1), np.float32))
    add(model, "Conv", add(model, "Conv", "features", wide), each, group=3000)


def multiply(model: Any) -> None:
    """Columns of the features times columns: a matrix of as many values as the picture's side squared."""
    turned = add(model, "Transpose", "features", perm=[0, 1, 3, 2])
    add(model, "MatMul", turned, "features")


def spread(model: Any) -> None:
    """[n, 16, h, w, 1] + [n, 16, h, 1, w]."""
    columns = add(model, "Unsqueeze", "features", numbers(model, 4))
    rows = add(model, "Unsqueeze", "features", numbers(model, 3))
    add(model, "Add", columns, rows)


def repeat(model: Any) -> None:
    places = weight(model, "places", np.zeros(5000, np.int64))
    add(model, "Gather", "features", places, axis=1)


def surround(model: Any) -> None:
    name = "features"
    for _ in range(60):
        name = add(model, "Pad", name, numbers(model, 0, 0, 64, 64, 0, 0, 64, 64))


def surround_in_convolutions(model: Any) -> None:
    one = weight(model, "one", np.zeros((16, 1, 1, 1), np.float32))
    name = "features"
    for _ in range(60):
        name = add(model, "Conv", name, one, pads=[64, 64, 64, 64], group=16)


def compute_a_size(model: Any) -> None:
    shape = add(model, "Shape", "features")
    add(model, "Reshape", "features", add(model, "Mul", shape, numbers(model, 1)))


def pick(model: Any) -> None:
    """Nothing of small pictures, and 16 times what lies beyond the 5,000th row of larger ones."""
    ends = [numbers(model, value) for value in (5000, 1 << 40, 2)]
    name = add(model, "Slice", "features", *ends)
    for _ in range(4):
        name = add(model, "Concat", name, name, axis=1)


def leave_out(model: Any) -> None:
    one = weight(model, "one", np.zeros((16, 1, 1, 1), np.float32))
    add(model, "Conv", "features", one, strides=[16, 16], group=16)


def work(model: Any) -> None:
    wide = weight(model, "wide", np.zeros((1, 16, 121, 121), np.float32))
    for _ in range(10):
        add(model, "Conv", "features", wide)


def misstate(model: Any) -> None:
    """An attribute that states another type than its value has, for which libraries take the default."""
    one = weight(model, "one", np.zeros((16, 16, 1, 1), np.float32))
    add(model, "Conv", "features", one, strides=[1, 1])
    model.graph.node[-1].attribute[0].type = onnx.AttributeProto.INT


def add_an_axis_twice(model: Any) -> None:
    add(model, "Unsqueeze", "features", numbers(model, 1, 1))


TOO_MUCH = (
    r"it computes \d+ (values|values at once|products) for each pixel of [\d x]+, the graphs of a network "
)
GROWTHS: dict[str, tuple[Callable[[Any], None], str]] = {
    "Concat": (double, TOO_MUCH),
    "Conv": (widen, TOO_MUCH),
    "MatMul": (multiply, TOO_MUCH),
    "Add": (spread, TOO_MUCH),
    "Gather": (repeat, TOO_MUCH),
    "Pad": (surround, TOO_MUCH),
    "borders of Conv": (surround_in_convolutions, TOO_MUCH),
    "work": (work, TOO_MUCH),
    "a computed size": (compute_a_size, "the size of what a Reshape node gives is not known before"),
    "a piece of large pictures": (pick, "a Slice node cuts more than a narrow border"),
    "steps": (leave_out, r"a Conv node leaves out pixels \(strides\)"),
    "an axis twice": (add_an_axis_twice, "an Unsqueeze node names an axis twice"),
    "another type": (misstate, "attribute 'strides' is not of the type that it states"),
}


@pytest.mark.parametrize("kind", GROWTHS)
def test_a_graph_that_grows_is_refused_in_one_line(bundle_copy: Path, kind: str) -> None:
    edit, message = GROWTHS[kind]
    graph = replace_graph(bundle_copy, "context", change("context", edit))
    started = time.perf_counter()
    with pytest.raises(BundleError, match=message) as caught:
        read_graph(read_bundle(bundle_copy), graph)
    assert time.perf_counter() - started < 1
    assert graph.file in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", DEVICES)
def test_no_library_sees_it(
    bundle_copy: Path, device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if device == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setenv("RAVE_CACHE_DIR", str(tmp_path / "cache"))
    replace_graph(bundle_copy, "enhance", change("enhance", double))
    enhancer = Enhancer(bundle_copy, precision="fp32", device=device)
    with pytest.raises(BundleError, match="cannot be loaded: it computes"):
        enhancer.enhance(PICTURE)


def whole_picture(*nodes: Any, **weights: Array) -> bytes:
    """A graph of a whole picture that computes more than its results."""
    image, enhanced = (
        helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, ["n", "h", "w", 3])
        for name in ("image", "enhanced")
    )
    light = helper.make_tensor_value_info("light", onnx.TensorProto.FLOAT, ["n", "h", "w"])
    values = {"last": np.array([3], np.int64), "zero": np.array(0, np.int64), "one": np.array(1, np.int64)}
    results = [
        helper.make_node("Identity", ["image"], ["enhanced"]),
        helper.make_node("Cast", ["image"], ["values"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["values", "last"], ["light"], keepdims=0),
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["height"]),
    ]
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in (values | weights).items()]
    graph = helper.make_graph([*results, *nodes], "g", [image], [enhanced, light], tensors)
    content: bytes = helper.make_model(graph).SerializeToString()
    return content


WHOLE = GraphFile(
    "whole.onnx",
    "",
    "whole",
    "fp32",
    (TensorSpec("image", "uint8", ("n", "h", "w", 3)),),
    (TensorSpec("enhanced", "uint8", ("n", "h", "w", 3)), TensorSpec("light", "float32", ("n", "h", "w"))),
    "uint8",
)
MANY = np.array([1, 1000, 1000, 3000], np.int64)
WHOLE_GROWTHS: dict[str, tuple[list[Any], dict[str, Array], str]] = {
    "Resize": ([helper.make_node("Resize", ["values", "", "", "many"], ["x"])], {"many": MANY}, TOO_MUCH),
    "Expand": ([helper.make_node("Expand", ["one", "many"], ["x"])], {"many": MANY}, TOO_MUCH),
    "Range": (
        [helper.make_node("Range", ["zero", "many", "one"], ["x"])],
        {"many": np.array(10**12)},
        TOO_MUCH,
    ),
    "Range of a computed size": (
        [
            helper.make_node("Mul", ["height", "many"], ["stop"]),
            helper.make_node("Range", ["zero", "stop", "one"], ["x"]),
        ],
        {"many": np.array(10**8)},
        TOO_MUCH,
    ),
    "Pad of a computed size": (
        [
            helper.make_node("Mul", ["shape", "shape"], ["sides"]),
            helper.make_node("Concat", ["sides", "sides"], ["borders"], axis=0),
            helper.make_node("Pad", ["image", "borders"], ["x"]),
        ],
        {},
        TOO_MUCH,
    ),
    "Range of the picture's values": (
        [
            helper.make_node("ReduceMax", ["values"], ["brightest"], keepdims=0),
            helper.make_node("Cast", ["brightest"], ["stop"], to=onnx.TensorProto.INT64),
            helper.make_node("Range", ["zero", "stop", "one"], ["x"]),
        ],
        {},
        "the size of what a Range node gives is not known before the graph runs",
    ),
    "a node before its input": (
        [helper.make_node("Identity", ["later"], ["x"]), helper.make_node("Identity", ["one"], ["later"])],
        {},
        "a Identity node reads 'later', which nothing before it gives",
    ),
}


@pytest.mark.parametrize("kind", WHOLE_GROWTHS)
def test_graphs_of_whole_pictures_are_followed_through_their_arithmetic(kind: str) -> None:
    nodes, weights, message = WHOLE_GROWTHS[kind]
    check_graph(whole_picture(), WHOLE, FACTS)
    with pytest.raises(ValueError, match=message):
        check_graph(whole_picture(*nodes, **weights), WHOLE, FACTS)


def test_the_embedded_graphs_take_milliseconds_more() -> None:
    """Of the two graphs that a run loads; 20 times as long is allowed here for a busy machine."""
    bundle = read_bundle(embedded_bundle())
    graphs = [bundle.manifest.graph("context", "int8", "uint8"), bundle.manifest.graph("enhance", "int8")]
    contents = [bundle.read_file(graph) for graph in graphs]
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        for content, graph in zip(contents, graphs, strict=True):
            check_graph(content, graph, bundle.manifest.network)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.2


def test_the_embedded_graphs_pass_though_no_start_checks_them() -> None:
    bundle = read_bundle(embedded_bundle())
    for graph in bundle.manifest.graphs:
        check_graph(bundle.read_file(graph), graph, bundle.manifest.network)
