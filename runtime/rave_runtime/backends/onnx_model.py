"""Reads an ONNX file strictly: anything that the graphs of a bundle do not need is refused.

Source of the field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from rave_runtime.backends.onnx_graph.node import Attribute, Node, Tensor
from rave_runtime.backends.onnx_graph.reading import (
    DTYPES,
    Weights,
    read_attribute,
    read_tensor,
    refuse,
    text_of,
)
from rave_runtime.backends.onnx_graph.walk import Growth, follow
from rave_runtime.backends.onnx_wire import Field, WireReader
from rave_runtime.bundle import TensorSpec

OPERATORS: Final = {
    *("Add", "Cast", "Clip", "Concat", "Constant", "Conv", "DequantizeLinear", "Div", "Gather", "Identity"),
    *("LeakyRelu", "MatMul", "Mul", "PRelu", "Pad", "QuantizeLinear", "Relu", "Reshape", "Shape", "Slice"),
    *("Squeeze", "Sub", "Transpose", "Unsqueeze"),
}
"""Operators of ONNX that the tiling graphs of a bundle are made of, in any precision."""

PICTURE_OPERATORS: Final = OPERATORS | {
    *("Abs", "And", "AveragePool", "Equal", "Expand", "Floor", "GreaterOrEqual", "Less", "LessOrEqual"),
    *("Log", "MatMulInteger", "Max", "MaxPool", "Min", "Not", "Pow", "Range", "Reciprocal", "ReduceMax"),
    *("ReduceMean", "ReduceMin", "ReduceSum", "Resize", "Round", "Sin", "Split", "Sqrt", "Where"),
}
"""Operators of the graphs that take a whole picture: these also reduce it and enlarge its light."""

MAX_PADDING_PX: Final = 64
"""The widest border that a node may add; the networks of bundles add one pixel."""

MAX_NODES: Final = 10_000

# The field numbers of each message: those that are read, and those that only describe and are skipped.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_DESCRIBES = 7, 8, {1, 2, 3, 4, 5, 6, 14}
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_GRAPH_DESCRIBES: Final = {2, 10, 13, 14, 16}
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN, _NODE_OVERLOAD = 1, 2, 4, 5, 7, 8
_NODE_DESCRIBES: Final = {3, 6, 9}
_VALUE_NAME, _VALUE_TYPE, _VALUE_DESCRIBES = 1, 2, {3, 4}
_TYPE_TENSOR, _TYPE_DENOTATION = 1, 6
_TENSOR_TYPE_DTYPE, _TENSOR_TYPE_SHAPE = 1, 2
_AXIS_SIZE, _AXIS_NAME, _AXIS_DENOTATION = 1, 2, 3
_DOMAINS: Final = ("", "ai.onnx")


@dataclass
class OnnxModel:
    """The inputs, outputs and weights of one ONNX file, filled in by `read`.

    Attributes:
        whole_picture: whether the graph takes a whole picture, and therefore may compute sizes and borders.
        wire: reads the file's fields.
        inputs: the graph's inputs, in the file's order.
        outputs: the graph's outputs, in the file's order.
    """

    whole_picture: bool = False
    wire: WireReader = field(default_factory=WireReader)
    inputs: list[TensorSpec] = field(default_factory=list)
    outputs: list[TensorSpec] = field(default_factory=list)
    _nodes: list[Node] = field(default_factory=list)
    _weights: dict[str, Weights] = field(default_factory=dict)
    _paddings: list[str] = field(default_factory=list)
    _scales: list[str] = field(default_factory=list)

    def read(self, content: memoryview) -> None:
        """Reads a file. It must hold one graph with distinct names, and nothing that bundles do not need.

        Raises:
            ValueError: the message says what the file holds that it must not.
        """
        graphs = 0
        for item in self.wire.fields(content):
            if item.number == _MODEL_GRAPH:
                graphs += 1
                self._read_graph(item.content)
            elif item.number == _MODEL_OPSET:
                self._read_opset(item.content)
            elif item.number not in _MODEL_DESCRIBES:
                refuse("the file", item)
        if graphs != 1:
            raise ValueError(f"it holds {graphs} graphs, one is needed")
        names = [spec.name for spec in (*self.inputs, *self.outputs)]
        if len(set(names)) != len(names) or set(names) & self._weights.keys():
            raise ValueError("two of its inputs, outputs and weights have the same name")
        for name in self._scales:
            if name in self._weights and self._weights[name].minimum <= 0:
                raise ValueError(f"its scale {name!r:.80} of 8-bit values is not above 0")
        for name in self._paddings:
            values = self._weights[name].tensor.values if name in self._weights else None
            if values is None:
                raise ValueError(f"a Pad node adds borders that are not known to be 0 to {MAX_PADDING_PX} px")
            _require_narrow(tuple(values.ravel().tolist()))

    def growth(self, inputs: Mapping[str, tuple[int, ...]]) -> Growth:
        """Returns what the graph needs if its inputs have these shapes.

        Raises:
            ValueError: its nodes do not fit together, or the size of a tensor cannot be known.
        """
        tensors = {name: weights.tensor for name, weights in self._weights.items()}
        tensors |= {name: Tensor(shape) for name, shape in inputs.items()}
        outputs = [spec.name for spec in self.outputs]
        return follow(self._nodes, tensors, outputs, computes_sizes=self.whole_picture)

    def _read_opset(self, content: memoryview) -> None:
        for item in self.wire.fields(content):
            if item.number == _OPSET_DOMAIN:
                if text_of(item) not in _DOMAINS:
                    raise ValueError(f"it uses operators of {text_of(item)!r}, which bundles do not need")
            elif item.number != _OPSET_VERSION:
                refuse("an operator set", item)

    def _read_graph(self, content: memoryview) -> None:
        readers: dict[int, Callable[[memoryview], None]] = {
            _GRAPH_NODE: self._read_node,
            _GRAPH_INITIALIZER: self._read_weights,
            _GRAPH_INPUT: lambda value: self.inputs.append(self._read_value(value)),
            _GRAPH_OUTPUT: lambda value: self.outputs.append(self._read_value(value)),
        }
        for item in self.wire.fields(content):
            if item.number in readers:
                readers[item.number](item.content)
            elif item.number not in _GRAPH_DESCRIBES:
                refuse("the graph", item)

    def _read_node(self, content: memoryview) -> None:
        """Reads a node's inputs and operator; refuses what bundles do not need, such as other domains."""
        if len(self._nodes) == MAX_NODES:
            raise ValueError(f"it holds more than {MAX_NODES} nodes")
        inputs: list[str] = []
        outputs: list[str] = []
        operators: list[str] = []
        attributes: dict[str, Attribute] = {}
        constant: Tensor | None = None
        for item in self.wire.fields(content):
            if item.number == _NODE_INPUT:
                inputs.append(text_of(item))
            elif item.number == _NODE_OUTPUT:
                outputs.append(text_of(item))
            elif item.number == _NODE_OPERATOR:
                operators.append(text_of(item))
            elif item.number == _NODE_ATTRIBUTE:
                name, value = read_attribute(self.wire, item.content)
                if name in attributes:
                    raise ValueError(f"a node has the attribute {name!r:.80} twice")
                if name == "pads":
                    _require_narrow(value)
                attributes[name] = None if isinstance(value, Weights) else value
                constant = value.tensor if isinstance(value, Weights) else constant
            elif item.number in (_NODE_DOMAIN, _NODE_OVERLOAD):
                if text_of(item) not in _DOMAINS:
                    raise ValueError(f"it uses operators of {text_of(item)!r}, which bundles do not need")
            elif item.number not in _NODE_DESCRIBES:
                refuse("a node", item)
        allowed_operators = PICTURE_OPERATORS if self.whole_picture else OPERATORS
        if len(operators) != 1 or operators[0] not in allowed_operators:
            raise ValueError(f"it uses the operator {' '.join(operators)!r:.80}, which bundles do not need")
        if operators[0] == "Pad" and not self.whole_picture:
            self._paddings.append(inputs[1] if len(inputs) > 1 else "")
        elif operators[0] in ("QuantizeLinear", "DequantizeLinear"):
            self._scales += inputs[1:2]
        self._nodes.append(Node(operators[0], tuple(inputs), tuple(outputs), attributes, constant))

    def _read_weights(self, content: memoryview) -> None:
        weights = read_tensor(self.wire, content)
        if weights.name in self._weights:
            raise ValueError(f"two of its weights are called {weights.name!r:.80}")
        self._weights[weights.name] = weights

    def _read_value(self, content: memoryview) -> TensorSpec:
        """Returns the name, type and shape of an input or output of the graph."""
        name, types = "", []
        for item in self.wire.fields(content):
            if item.number == _VALUE_NAME:
                name = text_of(item)
            elif item.number == _VALUE_TYPE:
                types += [kind for kind in self.wire.fields(item.content) if kind.number != _TYPE_DENOTATION]
            elif item.number not in _VALUE_DESCRIBES:
                refuse("an input or output", item)
        if len(types) != 1 or types[0].number != _TYPE_TENSOR:
            raise ValueError(f"its input or output {name!r:.80} is not a tensor")
        dtype, shapes = 0, []
        for item in self.wire.fields(types[0].content):
            if item.number == _TENSOR_TYPE_DTYPE:
                dtype = item.integer or 0
            elif item.number == _TENSOR_TYPE_SHAPE:
                shapes.append(tuple(self._read_axis(axis) for axis in self.wire.fields(item.content)))
            else:
                refuse("a tensor's type", item)
        if len(shapes) != 1:
            raise ValueError(f"its input or output {name!r:.80} states no shape")
        return TensorSpec(name, DTYPES[dtype].name if dtype in DTYPES else str(dtype), shapes[0])

    def _read_axis(self, axis: Field) -> int | str:
        """Returns an axis's size, or its name where the size is free."""
        size: int | str = ""
        for item in self.wire.fields(axis.content):
            if item.number == _AXIS_SIZE:
                size = item.integer or 0
            elif item.number == _AXIS_NAME:
                size = text_of(item)
            elif item.number != _AXIS_DENOTATION:
                refuse("an axis", item)
        return size


def _require_narrow(borders: object) -> None:
    """Refuses borders that a node adds, unless each is a number from 0 to `MAX_PADDING_PX`."""
    if not isinstance(borders, tuple) or not all(0 <= border <= MAX_PADDING_PX for border in borders):
        raise ValueError(f"a node adds borders that are not 0 to {MAX_PADDING_PX} px")
