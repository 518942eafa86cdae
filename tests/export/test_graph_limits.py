"""Every graph that can be exported stays within what the runtime allows of tensors and work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from rave_export.bundles import write_graph
from rave_export.graphs.variants import Graph, float_graphs, int8_graphs, network_facts, single_graphs
from rave_runtime.backends.graph_check import check_graph
from rave_train.network import EnhancementNetwork, Padding


@pytest.mark.parametrize(
    ("channels", "padding"), [(4, "zeros"), pytest.param(64, "reflect", marks=pytest.mark.slow)]
)
def test_the_graphs_of_any_width_pass_the_runtimes_limits(
    tmp_path: Path, channels: int, padding: Padding, narrow_graphs: list[Graph]
) -> None:
    network = EnhancementNetwork(channels, padding).eval()
    network.initialize(torch.Generator().manual_seed(0))
    facts = network_facts(network)
    graphs = list(narrow_graphs) if channels == 4 else float_graphs(network, "fp32")
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    graphs += int8_graphs(graphs, facts, [picture], every_layer=True)
    whole = [each for size in (None, 32, 1024, 65536) for each in single_graphs(graphs, size)]
    assert len(graphs) == 6
    assert len(whole) == 8
    for graph in (*graphs, *whole):
        entry = write_graph(tmp_path, graph)
        check_graph((tmp_path / entry.file).read_bytes(), entry, facts)


def test_older_onnxruntimes_load_the_single_graphs(narrow_graphs: list[Graph]) -> None:
    """Up to version 1.23, onnxruntime has no Max and no Min of bytes, and does not load a graph with one."""
    for graph in (each for size in (None, 32) for each in single_graphs(narrow_graphs, size)):
        model = onnx.shape_inference.infer_shapes(graph.model, strict_mode=True)
        values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
        dtypes = {value.name: value.type.tensor_type.elem_type for value in values}
        dtypes |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        taken = {(node.op_type, dtypes[node.input[0]]) for node in model.graph.node if node.input}
        assert taken.isdisjoint({("Max", onnx.TensorProto.UINT8), ("Min", onnx.TensorProto.UINT8)})
        assert model.ir_version <= 10  # the newest that version 1.18 reads
