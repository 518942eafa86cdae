"""Graphs without matrix products compute what the graphs of the bundle compute."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from rave_runtime.backends.onnx_wire import WireReader, write_field
from rave_runtime.backends.tensorrt.turing import without_matrix_products
from rave_runtime.bundle import embedded_bundle, read_bundle


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_sums_of_products_are_matrix_products(precision: str) -> None:
    bundle = read_bundle(embedded_bundle())
    random = np.random.default_rng(0)
    sizes: dict[int | str, int] = {"batch": 2, "height": 40, "width": 56}
    graphs = [
        graph
        for graph in bundle.manifest.graphs
        if graph.precision == precision and graph.part in ("context", "enhance")
    ]
    assert len(graphs) == 3
    for graph in graphs:
        content = bundle.read_file(graph)
        rewritten = without_matrix_products(content)
        assert content.count(b"MatMul") > 0
        assert rewritten.count(b"MatMul") == 0
        assert rewritten.count(b"ReduceSum") == 2
        inputs = {}
        for spec in graph.inputs:
            shape = [sizes[size] if isinstance(size, str) else size for size in spec.shape]
            values = random.random(shape) * (255 if spec.dtype == "uint8" else 0.05)
            inputs[spec.name] = values.astype(spec.dtype)
        expected, found = (
            onnxruntime.InferenceSession(graph_bytes, providers=["CPUExecutionProvider"]).run(None, inputs)
            for graph_bytes in (content, rewritten)
        )
        for wanted, got in zip(expected, found, strict=True):
            np.testing.assert_allclose(got, wanted, atol=2e-6 if precision == "fp32" else 2e-3)


def test_graphs_of_old_operators_are_refused() -> None:
    opset = write_field(8, write_field(2, 12))
    with pytest.raises(ValueError, match="it uses opset 12, 13 or newer is needed: export it again"):
        without_matrix_products(opset)


@pytest.mark.parametrize("value", [0, 127, 128, 300, 2**40, b"", b"abc", b"x" * 200])
def test_a_field_that_was_written_is_read(value: int | bytes) -> None:
    (field,) = WireReader().fields(memoryview(write_field(300, value)))
    assert field.number == 300
    assert (bytes(field.content) if field.integer is None else field.integer) == value
