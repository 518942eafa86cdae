"""Weights that are infinite or not numbers, and scales that are not above 0, are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rave_runtime.backends.graph_check import check_graph
from rave_runtime.backends.onnx_graph.reading import read_tensor
from rave_runtime.backends.onnx_wire import WireReader
from rave_runtime.bundle import GraphFile, embedded_bundle, read_bundle
from tests.runtime.backends.changed_graphs import FACTS, onnx


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
        if is_refused:
            with pytest.raises(ValueError, match="'w' hold what is infinite or not a number"):
                read_tensor(WireReader(), memoryview(tensor.SerializeToString()))
        else:
            assert read_tensor(WireReader(), memoryview(tensor.SerializeToString())).tensor.shape == (2,)
