from __future__ import annotations

import numpy as np
import onnx
import pytest

from rave_export.errors import ExportError
from rave_export.graphs.variants import Graph, network_facts
from rave_export.int8.bias import correct_biases, float32_means
from rave_export.int8.float_layers import lights, worst_db
from rave_export.int8.in_memory import NetworkInMemory, Session
from rave_export.int8.quantize import FIRST_AND_LAST, observed_tensors
from rave_export.int8.ranges import least_error_range, observe_ranges
from rave_export.int8.rounding import Rounding, shift_biases
from rave_export.proof.parity import probe_picture
from rave_train.network import EnhancementNetwork
from tests.export.conftest import models_of, tiny_network, with_weights_of

PICTURES = [probe_picture(40, 52, seed) for seed in range(2)]


def test_ranges_are_those_of_the_runtimes_own_tiles(
    fp32_graphs: list[Graph], network: EnhancementNetwork
) -> None:
    models = models_of(fp32_graphs)
    widest, closest = observe_ranges(network_facts(network), models, PICTURES)
    for ranges in (widest, closest):
        for part, model in models.items():
            assert set(ranges[part]) == set(observed_tensors(model))
        low, high = ranges["context"]["features"]
        assert low < 0 < high
    for part in models:
        for name, (low, high) in closest[part].items():
            assert widest[part][name][0] <= low <= 0 <= high <= widest[part][name][1], name
    with pytest.raises(ExportError, match="no picture to calibrate on"):
        observe_ranges(network_facts(network), models, [])


def test_the_range_of_least_error_is_that_of_a_search_over_all() -> None:
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(0, 1, 400_000), 12.0)
    low, high = float(values.min()), float(values.max())

    def error(ends: tuple[float, float]) -> float:
        step = (ends[1] - ends[0]) / 255
        rounded = ends[0] + np.rint((values.clip(*ends) - ends[0]) / step) * step
        return float(np.square(rounded - values).mean())

    counts = np.histogram(values, 4096, (low, high))[0]
    found = least_error_range(counts, low, high)
    assert low < found[0] < 0 < found[1] < high
    tried = [error((low * a, high * b)) for a in np.linspace(0.1, 1, 25) for b in np.linspace(0.1, 1, 25)]
    assert error(found) < 1.02 * min(tried)
    assert error(found) < 0.7 * error((low, high))
    assert least_error_range(np.ones(64, np.int64), 0.0, 1.0) == (0.0, 1.0)


def test_biases_take_the_mean_of_the_errors_away(fp32_graphs: list[Graph]) -> None:
    network = tiny_network(seed=1)
    models, facts = models_of(with_weights_of(network, fp32_graphs)), network_facts(network)
    rounding = Rounding(observe_ranges(facts, models, PICTURES)[1], FIRST_AND_LAST)
    means = float32_means(facts, models, PICTURES)
    corrected = correct_biases(facts, models, rounding, PICTURES, means)
    assert corrected.in_float32 == rounding.in_float32
    exact = lights(NetworkInMemory(facts, *map(Session, models.values())), PICTURES)

    def shift(rounding: Rounding) -> float:
        found = lights(rounding.network(facts, models), PICTURES)
        return abs(float(np.mean([(a - b).mean() for a, b in zip(found, exact, strict=True)])))

    assert shift(corrected) < 0.2 * shift(rounding)
    reached = [worst_db(each.network(facts, models), PICTURES, exact) for each in (rounding, corrected)]
    assert reached[1] > reached[0]


def test_nothing_is_corrected_where_nothing_is_rounded(
    fp32_graphs: list[Graph], network: EnhancementNetwork
) -> None:
    models, facts = models_of(fp32_graphs), network_facts(network)
    ranges = observe_ranges(facts, models, PICTURES)[0]
    in_float32 = Rounding(ranges, ("weight", "PPM1.fuse"))
    means = float32_means(facts, models, PICTURES)
    shifts = correct_biases(facts, models, in_float32, PICTURES, means).shifts
    assert len(shifts) == 17, "all 3x3 convolutions"
    assert max(float(np.abs(shift).max()) for shift in shifts.values()) < 1e-6


def test_shifts_become_biases(fp32_graphs: list[Graph]) -> None:
    model = models_of(fp32_graphs)["enhance"]
    with_bias, without = "network.condx.weight", "network.ResidualBlock3.conv1.weight"
    shift = np.arange(16, dtype=np.float32)
    shifted = shift_biases(model, {with_bias: shift, without: shift, "of another graph": shift})
    before, after = ({item.name: item for item in each.graph.initializer} for each in (model, shifted))
    onnx.checker.check_model(shifted, full_check=True)
    for node in shifted.graph.node:
        if node.op_type == "Conv" and node.input[1] in (with_bias, without):
            bias = onnx.numpy_helper.to_array(after[node.input[2]])
            old = before.get(node.input[2])
            np.testing.assert_array_equal(
                bias, shift if old is None else onnx.numpy_helper.to_array(old) + shift
            )
    assert Rounding({}, ("a",), {"b": shift, "c": shift}).also_in_float32(("b",)) == Rounding(
        {}, ("a", "b"), {"c": shift}
    )
