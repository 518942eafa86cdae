"""Writes graphs as expressions of tensors, and puts other graphs into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Union

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

BOOL: Final = TensorProto.BOOL
FLOAT: Final = TensorProto.FLOAT
INT64: Final = TensorProto.INT64
UINT8: Final = TensorProto.UINT8

Shape = Sequence[str | int]
Operand = Union["Tensor", float, Sequence[int], NDArray[Any], np.generic, None]
"""What a node takes: a tensor or a constant. An int stands for int64[1], ints for int64[n], a float for a
float32 scalar, None for an input that is left out."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of a graph that is being written. Its operators add the nodes of their names to the graph."""

    graph: GraphWriter
    name: str
    shape: Shape | None = None
    """What is known of its shape: see `GraphWriter.stated`."""

    def __add__(self, other: Operand) -> Tensor:
        return self.graph.Add(self, other)

    def __sub__(self, other: Operand) -> Tensor:
        return self.graph.Sub(self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return self.graph.Sub(other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return self.graph.Mul(self, other)

    def __truediv__(self, other: Operand) -> Tensor:
        return self.graph.Div(self, other)

    def cast(self, dtype: int) -> Tensor:
        """Its values as another data type."""
        return self.graph.Cast(self, to=dtype)

    def entry(self, index: int) -> Tensor:
        """One entry of a list of numbers, as a list."""
        return self.graph.Slice(self, index, index + 1)


class GraphWriter:
    """Writes a graph: `graph.Max(x, 1)` adds a node `Max` and returns its result.

    Args:
        like: a model that has the versions of the format and of the operators to write.
    """

    def __init__(self, like: onnx.ModelProto) -> None:
        self._ir_version = like.ir_version
        self._opsets = [item for item in like.opset_import if not item.domain]
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[bytes, onnx.TensorProto] = {}
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._shapes: list[onnx.ValueInfoProto] = []

    def __getattr__(self, operator: str) -> Callable[..., Tensor]:
        def add(*inputs: Operand, **attributes: Any) -> Tensor:
            (output,) = self._add(operator, inputs, 1, attributes)
            return output

        return add

    def Split(self, values: Tensor, sizes: Sequence[int], axis: int) -> list[Tensor]:  # noqa: N802
        """Parts of a tensor along an axis."""
        return self._add("Split", (values, sizes), len(sizes), {"axis": axis})

    def count_to(self, stop: Tensor) -> Tensor:
        """The numbers from 0 up to one that is given as a list of one."""
        return self.Range(np.int64(0), self.Squeeze(stop), np.int64(1))

    def stated(self, values: Tensor, shape: Shape) -> Tensor:
        """States the shape of a float32 tensor, and so of what is computed from it element by element.

        Runtimes reuse a tensor's memory for another only if they know that the two have one shape.
        """
        self._shapes.append(helper.make_tensor_value_info(values.name, FLOAT, shape))
        return Tensor(self, values.name, shape)

    def input(self, name: str, dtype: int, shape: Shape) -> Tensor:
        """Adds an input to the graph."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return Tensor(self, name)

    def inline(self, model: onnx.ModelProto, name: str, given: dict[str, Tensor]) -> list[Tensor]:
        """Adds another graph, with its name and "_" before the names in it, and returns its outputs.

        Args:
            model: the model of the other graph.
            name: a name that no other graph in this one has.
            given: what stands for inputs of the graph, or for results of nodes, which are then left out.
        """
        graph = compose.add_prefix(model, f"{name}_").graph
        known = {f"{name}_{key}": value.name for key, value in given.items()}
        for node in graph.node:
            if not known.keys() >= set(node.output):
                node.input[:] = [known.get(key, key) for key in node.input]
                self._nodes.append(node)
        self._weights += graph.initializer
        return [Tensor(self, item.name) for item in graph.output]

    def model(self, **outputs: tuple[Tensor, int, Shape]) -> onnx.ModelProto:
        """The model with outputs of these names, data types and shapes, checked."""
        names = {values.name: name for name, (values, _, _) in outputs.items()}
        for node in self._nodes:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        model = helper.make_model(
            helper.make_graph(
                self._nodes,
                "rave_backlit",
                self._inputs,
                [helper.make_tensor_value_info(name, *kind[1:]) for name, kind in outputs.items()],
                [*self._constants.values(), *self._weights],
                value_info=[item for item in self._shapes if item.name not in names],
            ),
            ir_version=self._ir_version,
            opset_imports=self._opsets,
            producer_name="rave-export",
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _add(
        self, operator: str, inputs: Sequence[Operand], count: int, attributes: dict[str, Any]
    ) -> list[Tensor]:
        names = [self._name(operand) for operand in inputs]
        outputs = [f"{operator.lower()}_{len(self._nodes)}_{i}" for i in range(count)]
        self._nodes.append(helper.make_node(operator, names, outputs, **attributes))
        shapes = [item.shape for item in inputs if isinstance(item, Tensor) and item.shape]
        if shapes and operator in _ELEMENTWISE:
            return [self.stated(Tensor(self, name), shapes[0]) for name in outputs]
        return [Tensor(self, name) for name in outputs]

    def _name(self, operand: Operand) -> str:
        """The name of a tensor, or of the constant for numbers."""
        if operand is None or isinstance(operand, Tensor):
            return operand.name if operand else ""
        values = np.array([operand] if isinstance(operand, int) else operand)
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        constant = numpy_helper.from_array(values)
        name = f"constant_{len(self._constants)}"
        known = self._constants.setdefault(constant.SerializeToString(), constant)
        known.name = known.name or name
        return known.name


_ELEMENTWISE: Final = ("Add", "Sub", "Mul", "Div", "Min", "Max", "Round")


def round_half(graph: GraphWriter, doubled: Tensor, divisor: Tensor | int) -> Tensor:
    """Half of a whole number over a divisor, rounded to the nearest, ties to even."""
    numerator, denominator = doubled + divisor, divisor * 2
    up = numerator / denominator
    is_tie = graph.Equal(numerator, up * denominator).cast(INT64)
    return up - is_tie * (up - up / 2 * 2)
