"""Follows a graph's tensors through all nodes for one size of picture, and measures what they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from rave_runtime.backends.onnx_graph.node import Node, Tensor
from rave_runtime.backends.onnx_graph.shapes import RULES
from rave_runtime.backends.onnx_graph.values import CALCULATIONS

_MAX_CUT: Final = 64
"""How many values a Slice of a tile's graph may cut from an end of an axis; bundles cut 2 at most."""

_END: Final = (1 << 31) - 1
"""A Slice that ends here or later ends where the axis does."""


class Growth(NamedTuple):
    """What a graph needs for one size of picture.

    Attributes:
        values: how many values all tensors that its nodes compute have together.
        peak_values: the most that exist at once, if each node runs in its turn and no tensor is kept longer
            than it is read.
        products: how many products all convolutions and matrices take.
    """

    values: int
    peak_values: int
    products: int


def follow(
    nodes: Sequence[Node], tensors: Mapping[str, Tensor], outputs: Sequence[str], *, computes_sizes: bool
) -> Growth:
    """Follows the shapes of a graph's tensors from its inputs and weights to its outputs.

    Args:
        nodes: the graph's nodes, each after those that it reads from.
        tensors: its inputs and weights by name.
        outputs: the names of its outputs.
        computes_sizes: whether it may compute sizes by arithmetic, as graphs of whole pictures do. In other
            graphs every size is then a fixed number, or a fixed multiple of a side of the picture, with a
            border: what holds for a small and a large picture holds for every one.

    Raises:
        ValueError: the nodes do not fit together, or the size of a tensor cannot be known.
    """
    known = dict(tensors)
    last_reader = {name: index for index, node in enumerate(nodes) for name in node.inputs}
    last_reader |= dict.fromkeys(outputs, len(nodes))
    alive: dict[str, int] = {}
    values = peak = now = products = 0
    with np.errstate(all="ignore"):
        for index, node in enumerate(nodes):
            results = _results(node, known, computes_sizes)
            products += _products(node, known, results)
            for name, result in zip(node.outputs, results, strict=True):
                if not name or name in known:
                    raise ValueError(f"two of its tensors are called {name!r:.80}")
                known[name] = result
                alive[name] = result.size
                values += result.size
                now += result.size
            peak = max(peak, now)
            for name in {*node.inputs, *node.outputs}:
                if last_reader.get(name, -1) <= index:
                    now -= alive.pop(name, 0)
    return Growth(values, peak, products)


def _results(node: Node, known: Mapping[str, Tensor], computes_sizes: bool) -> list[Tensor]:
    """Returns the tensors that a node gives."""
    missing = [name for name in node.inputs if name and name not in known]
    if missing:
        raise ValueError(f"a {node.operator} node reads {missing[0]!r:.80}, which nothing before it gives")
    inputs = [known[name] if name else None for name in node.inputs]
    try:
        results = RULES[node.operator](node, inputs)
    except (IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        if type(error) is ValueError and error.args and "node" in str(error.args[0]):
            raise
        raise ValueError(f"a {node.operator} node has inputs that do not fit together") from error
    if len(results) != len(node.outputs):
        raise ValueError(f"a {node.operator} node has another number of outputs than its kind")
    if any(side < 0 for result in results for side in result.shape):
        raise ValueError(f"a {node.operator} node gives a tensor of an impossible size")
    if not computes_sizes:
        if node.operator in CALCULATIONS or node.operator == "Cast":
            return [Tensor(result.shape) for result in results]
        if node.operator == "Slice" and inputs[0] is not None and inputs[0].values is None:
            _require_small_cuts(node, inputs)
        if node.operator == "Conv" and set(node.integers("strides", (1,))) != {1}:
            raise ValueError("a Conv node leaves out pixels (strides)")
    return results


def _require_small_cuts(node: Node, inputs: Sequence[Tensor | None]) -> None:
    """Refuses a Slice that takes more or less than an axis without a narrow border."""
    _, starts, ends = (None if each is None else each.values for each in inputs[:3])
    assert starts is not None
    assert ends is not None
    for start, end in zip(starts.ravel().tolist(), ends.ravel().tolist(), strict=True):
        if not 0 <= start <= _MAX_CUT or not (-_MAX_CUT <= end < 0 or end >= _END):
            raise ValueError(f"a {node.operator} node cuts more than a narrow border")


def _products(node: Node, known: Mapping[str, Tensor], results: Sequence[Tensor]) -> int:
    """Returns how many products a node takes, 0 unless it is a convolution or a product of matrices."""
    if node.operator == "Conv":
        weight = known[node.inputs[1]]
        return results[0].size * (weight.size // max(1, weight.shape[0]))
    if node.operator in ("MatMul", "MatMulInteger"):
        return results[0].size * known[node.inputs[0]].shape[-1]
    return 0
