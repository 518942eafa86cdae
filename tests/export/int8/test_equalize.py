"""Channels of more equal range before INT8: the same light, and nearer to it in eight bits."""

from __future__ import annotations

import copy

import torch

from rave_export.graphs.variants import Graph, int8_graphs, network_facts
from rave_export.int8.equalize import equalize
from rave_export.int8.float_layers import lights, worst_db
from rave_export.int8.in_memory import NetworkInMemory, Session
from rave_export.proof.parity import probe_picture
from rave_runtime.bundle import NetworkFacts
from rave_train.network import EnhancementNetwork
from tests.export.conftest import tiny_network, with_weights_of

PICTURES = [probe_picture(40, 52, seed) for seed in range(2)]


def uneven_network() -> EnhancementNetwork:
    """A network in which one channel of each stream is a hundred times the others, and read as much less."""
    network = copy.deepcopy(tiny_network(seed=1))
    with torch.no_grad():
        for block in (network.ResidualBlock1, network.ResidualBlock3, network.ResidualBlock5):
            block.conv1.weight[0] *= 100
            block.conv2.weight[:, 0] /= 100
    return network


def test_the_light_is_the_same() -> None:
    network = uneven_network()
    evened = equalize(network, PICTURES)
    torch.manual_seed(0)
    image = torch.rand(2, 3, 33, 47)
    with torch.no_grad():
        torch.testing.assert_close(evened(image), network(image), rtol=1e-4, atol=1e-5)
    assert not torch.equal(evened.cond1.weight, network.cond1.weight)


def test_a_large_channel_no_longer_takes_the_steps_of_the_others(fp32_graphs: list[Graph]) -> None:
    network = uneven_network()
    facts = network_facts(network)
    reference, evened = (with_weights_of(one, fp32_graphs) for one in (network, equalize(network, PICTURES)))
    expected = lights(_in_memory(facts, reference), PICTURES)
    reached = []
    for graphs in (reference, evened):
        in_eight_bits = int8_graphs(graphs, facts, PICTURES, enough_db=0)
        reached.append(worst_db(_in_memory(facts, in_eight_bits), PICTURES, expected))
    assert reached[1] > reached[0] + 3


def test_a_block_that_adds_nothing_keeps_finite_weights() -> None:
    """It became NaN, and the export failed as if the network had diverged in training."""
    network = copy.deepcopy(tiny_network(seed=1))
    with torch.no_grad():
        network.ResidualBlock5.conv2.weight.zero_()
        network.ResidualBlock2.conv1.weight.zero_()
    evened = equalize(network, PICTURES)
    torch.manual_seed(0)
    image = torch.rand(1, 3, 33, 47)
    with torch.no_grad():
        torch.testing.assert_close(evened(image), network(image), rtol=1e-4, atol=1e-5)


def test_a_channel_that_is_its_bias_alone_keeps_it(fp32_graphs: list[Graph]) -> None:
    """Its steps were those of weights that are 0, of which no 32 bits reach a bias."""
    network = copy.deepcopy(tiny_network(seed=1))
    with torch.no_grad():
        network.condx.weight[3] = 0
        assert network.condx.bias is not None
        network.condx.bias[3] = 0.5
    facts, graphs = network_facts(network), with_weights_of(network, fp32_graphs)
    expected = lights(_in_memory(facts, graphs), PICTURES)
    in_eight_bits = int8_graphs(graphs, facts, PICTURES, enough_db=0)
    assert worst_db(_in_memory(facts, in_eight_bits), PICTURES, expected) > 40


def test_channels_without_values_keep_finite_weights() -> None:
    network = copy.deepcopy(tiny_network(seed=1))
    with torch.no_grad():
        network.ResidualBlock1.conv1.weight[0] = 0
        network.ResidualBlock1.conv2.weight[:, 1] = 0
    evened = equalize(network, PICTURES)
    assert all(torch.isfinite(parameter).all() for parameter in evened.parameters())


def _in_memory(facts: NetworkFacts, graphs: list[Graph]) -> NetworkInMemory:
    context, enhance = (
        next(graph.model for graph in graphs if graph.part == part and graph.image != "float32")
        for part in ("context", "enhance")
    )
    return NetworkInMemory(facts, Session(context), Session(enhance))
