from __future__ import annotations

import copy
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from rave_export.errors import ExportError
from rave_export.graphs.variants import Graph, int8_graphs, network_facts
from rave_export.int8.float_layers import find_float_layers, lights, worst_db
from rave_export.int8.in_memory import NetworkInMemory, Session
from rave_export.int8.quantize import FIRST_AND_LAST, fits_16_bits, observed_tensors, quantize
from rave_export.int8.ranges import observe_ranges
from rave_export.int8.rounding import Rounding
from rave_export.proof.parity import probe_picture
from rave_runtime.bundle import Bundle, NetworkFacts
from rave_train.network import EnhancementNetwork
from tests.export.conftest import models_of, tiny_network, with_weights_of

PICTURES = [probe_picture(40, 52, seed) for seed in range(2)]


def test_onnxruntime_runs_the_convolutions_in_eight_bits(exported: Bundle, tmp_path: Path) -> None:
    """Few float32 islands: the first and last convolution, their neighbours, and the pooled grids."""
    found = {}
    for part, image in (("context", "uint8"), ("enhance", None)):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / f"{part}.onnx")
        graph = exported.manifest.graph(part, "int8", image)  # type: ignore[arg-type]
        onnxruntime.InferenceSession(exported.read_file(graph), options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(options.optimized_model_filepath).graph.node
        found[part] = Counter(node.op_type for node in nodes)
    assert (found["context"]["QLinearConv"], found["context"]["Conv"]) == (4, 1)
    assert (found["enhance"]["QLinearConv"], found["enhance"]["Conv"]) == (11, 3)
    for part, most in (("context", 4), ("enhance", 7)):  # the grids' float32 share joins in enhance
        counts = found[part]
        assert counts["QuantizeLinear"] + counts["DequantizeLinear"] <= most
        assert counts["LeakyRelu"] <= 1


def test_weights_are_int8_per_channel_and_nothing_big_stays_float(exported: Bundle) -> None:
    model = onnx.load_model_from_string(exported.read_file(exported.manifest.graph("enhance", "int8")))
    weights = {item.name: item for item in model.graph.initializer}
    weight = weights["network.condx.weight_bytes"]
    assert weight.data_type == onnx.TensorProto.INT8
    assert list(weights["network.condx.weight_scale"].dims) == [weight.dims[0]]
    assert "network.cond_add1.weight" in weights, "the last convolution stays float32"
    assert "network.condx.weight" not in weights


def test_processors_without_vnni_need_no_slower_sums(exported: Bundle) -> None:
    """Their 16 bits for two products do not overflow, even where all is black or white.

    On other processors both ways are the same, and only the weights are checked.
    """
    for name, image in (("context", "uint8"), ("context", "float32"), ("enhance", None)):
        graph = exported.manifest.graph(name, "int8", image)  # type: ignore[arg-type]
        assert graph.fits_16_bits
        content = exported.read_file(graph)
        assert fits_16_bits(onnx.load_model_from_string(content))
        rng = np.random.default_rng(0)
        inputs = {}
        for spec in graph.inputs:
            extremes = rng.integers(0, 2, [side if isinstance(side, int) else 12 for side in spec.shape])
            inputs[spec.name] = (extremes * (255 if spec.dtype == "uint8" else 1)).astype(spec.dtype)
        results = []
        for exact in ("0", "1"):
            options = onnxruntime.SessionOptions()
            options.add_session_config_entry("session.x64quantprecision", exact)
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            results.append(session.run(None, inputs))
        for fast, slow in zip(*results, strict=True):
            np.testing.assert_array_equal(fast, slow)
    assert not any(graph.fits_16_bits for graph in exported.manifest.graphs if graph.precision != "int8")


def test_neighbours_that_overflow_are_seen(exported: Bundle) -> None:
    model = onnx.load_model_from_string(exported.read_file(exported.manifest.graph("enhance", "int8")))
    (weight,) = [item for item in model.graph.initializer if item.name == "network.condx.weight_bytes"]
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 4:6, 1, 1] = 64, 65
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    assert not fits_16_bits(model)
    values[0, 4:6, 1, 1] = 100, -100
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    assert fits_16_bits(model), "of two signs they take from each other"


def test_every_layer_can_be_quantised(fp32_graphs: list[Graph], network: EnhancementNetwork) -> None:
    graphs = int8_graphs(fp32_graphs, network_facts(network), PICTURES, every_layer=True)
    names = {item.name for graph in graphs for item in graph.model.graph.initializer}
    assert {"network.cond1.weight_bytes", "network.cond_add1.weight_bytes"} <= names
    assert all(fits_16_bits(graph.model) for graph in graphs), "also the first, whose three channels are odd"
    context = graphs[0].model.graph.initializer
    (image_scale,) = [item for item in context if item.name.endswith("_scale") and "div" in item.name]
    assert onnx.numpy_helper.to_array(image_scale) == np.float32(1 / 255), "bytes stay as they are"


def weight_of(block: torch.nn.Module) -> torch.Tensor:
    """The weight of the only convolution in a block."""
    (convolution,) = [module for module in block.modules() if isinstance(module, torch.nn.Conv2d)]
    return convolution.weight


def test_grids_of_another_range_cost_nothing(network: EnhancementNetwork, fp32_graphs: list[Graph]) -> None:
    """PPM's grids a thousand times larger and their readers as much smaller, which is the same network."""
    tailed = copy.deepcopy(network)
    with torch.no_grad():
        for pool in tailed.PPM1.features:
            weight_of(pool)[:] *= 1000
        weight_of(tailed.PPM1.fuse)[:, tailed.channels :] /= 1000
    facts = network_facts(network)
    reached = [
        _worst_of_int8(graphs, facts) for graphs in (fp32_graphs, with_weights_of(tailed, fp32_graphs))
    ]
    assert reached[1] == pytest.approx(reached[0], abs=0.5)


def test_layers_are_spared_until_it_is_enough(fp32_graphs: list[Graph]) -> None:
    said: list[str] = []
    network = tiny_network(seed=1)  # in which some layers are worse than others
    graphs, facts = with_weights_of(network, fp32_graphs), network_facts(network)
    spared = int8_graphs(graphs, facts, PICTURES, enough_db=200, say=said.append)
    assert said.pop() == (
        "int8 stays short of the 200 dB that are aimed at on the worst calibration picture; "
        "45 are needed in the proof"
    )
    assert said.pop(0).startswith("int8 reaches ")
    assert 1 <= len(said) <= 3
    names = {item.name for graph in spared for item in graph.model.graph.initializer}
    reached: list[float] = []
    for line in said:
        match = re.fullmatch(r"int8 leaves (\S+) in float32, which gives (\S+) dB", line)
        assert match, line
        layer = match[1] if match[1] == "PPM1.fuse" else f"{match[1]}.weight"
        assert layer in names
        assert f"{layer}_bytes" not in names
        reached.append(float(match[2]))
    assert reached == sorted(reached)
    assert reached[0] > _worst_of_int8(graphs, facts) + 0.4


def _worst_of_int8(graphs: list[Graph], facts: NetworkFacts) -> float:
    models = models_of(graphs)
    expected = lights(NetworkInMemory(facts, *map(Session, models.values())), PICTURES)
    widest = Rounding(observe_ranges(facts, models, PICTURES)[0], FIRST_AND_LAST)
    return worst_db(widest.network(facts, models), PICTURES, expected)


def test_no_layer_is_spared_where_none_helps(fp32_graphs: list[Graph], network: EnhancementNetwork) -> None:
    exact = NetworkInMemory(
        network_facts(network), *map(Session, (fp32_graphs[0].model, fp32_graphs[2].model))
    )
    builds: list[tuple[str, ...]] = []

    def build(spared: tuple[str, ...]) -> NetworkInMemory:
        builds.append(spared)
        return exact

    assert find_float_layers(build, ["a", "b"], PICTURES, lights(exact, PICTURES)) == []
    assert builds == [()], "it is right as it is, so nothing else is tried"


def test_zero_padding_is_quantised_as_zero(network: EnhancementNetwork) -> None:
    """QLinearConv pads with the zero point, so that zero padding needs no Pad node."""
    model = _conv_model(pads=[1, 1, 1, 1])
    picture = np.random.default_rng(0).uniform(-0.3, 1, (1, 3, 9, 9)).astype(np.float32)
    (expected,) = _run(model, picture)
    ranges = {"x": (-0.3, 1.0), "sum": (-float(expected.max()), float(expected.max()))}
    (found,) = _run(quantize(model, ranges), picture)
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()


def _conv_model(pads: list[int]) -> onnx.ModelProto:
    weight = np.random.default_rng(1).normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", "condx.weight", "bias"], ["sum"], pads=pads),
            onnx.helper.make_node("Relu", ["sum"], ["y"]),
        ],
        "conv",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 9, 9])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4, 9, 9])],
        [
            onnx.numpy_helper.from_array(weight, "condx.weight"),
            onnx.numpy_helper.from_array(np.array([0.1, -0.2, 0.3, 0], np.float32), "bias"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model


def _run(model: onnx.ModelProto, value: Any) -> list[Any]:
    running = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(running.run(None, {"x": value}))


def test_a_range_that_is_missing_or_not_finite_is_an_error(fp32_graphs: list[Graph]) -> None:
    model = fp32_graphs[2].model
    ranges = dict.fromkeys(observed_tensors(model), (-1.0, 1.0))
    quantize(model, ranges)
    last = next(name for name in ranges if name.startswith("leaky"))
    for wrong in ({**ranges, last: (0.0, float("nan"))}, {k: v for k, v in ranges.items() if k != last}):
        with pytest.raises(ExportError, match=rf"no finite range of {last}: the network overflows"):
            quantize(model, wrong)


def test_a_diverged_network_is_named_in_calibration(
    network: EnhancementNetwork, fp32_graphs: list[Graph]
) -> None:
    diverged = copy.deepcopy(network)
    with torch.no_grad():
        diverged.ResidualBlock1.conv1.weight[0, 0, 0, 0] = float("nan")
    graphs = with_weights_of(diverged, fp32_graphs)
    with pytest.raises(ExportError, match=r"no finite range of .*: the network overflows"):
        int8_graphs(graphs, network_facts(diverged), PICTURES)
