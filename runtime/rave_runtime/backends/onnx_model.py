"""Reads an ONNX file strictly: anything that the graphs of a bundle do not need is refused.

Source of the field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, NoReturn

import numpy as np

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
    *("MatMulInteger", "Max", "Min", "Not", "Pow", "Range", "Reciprocal", "ReduceMax", "ReduceMin"),
    *("ReduceSum", "Resize", "Round", "Sin", "Split", "Sqrt", "Where"),
}
"""Operators of the graphs that take a whole picture: these also reduce it and enlarge its light."""

MAX_PADDING_PX: Final = 64
"""The widest border that a node may add; the networks of bundles add one pixel."""

MAX_NODES: Final = 10_000


class _Type(NamedTuple):
    name: str
    bytes: int


_DTYPES: Final = {
    1: _Type("float32", 4),
    2: _Type("uint8", 1),
    3: _Type("int8", 1),
    6: _Type("int32", 4),
    7: _Type("int64", 8),
    9: _Type("bool", 1),
    10: _Type("float16", 2),
    11: _Type("float64", 8),
    16: _Type("bfloat16", 2),
}
_FLOAT32, _INT64, _BFLOAT16 = 1, 7, 16
_FRACTIONS: Final = {_FLOAT32: "<f4", 10: "<f2", 11: "<f8", _BFLOAT16: "<u2"}
"""Types whose values may be infinite or NaN, and the dtypes by which numpy reads their bytes."""
_MAX_WHOLE_NUMBERS: Final = 16
"""Values of int64 tensors up to this size are kept: they may be the borders of a Pad node."""

# The field numbers of each message: those that are read, and those that only describe and are skipped.
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_DESCRIBES = 7, 8, {1, 2, 3, 4, 5, 6, 14}
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_GRAPH_DESCRIBES: Final = {2, 10, 13, 14, 16}
_NODE_INPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN, _NODE_OVERLOAD = 1, 4, 5, 7, 8
_NODE_DESCRIBES: Final = {2, 3, 6, 9}
_ATTRIBUTE_NAME, _ATTRIBUTE_TENSOR, _ATTRIBUTE_INTEGERS, _ATTRIBUTE_PLAIN = 1, 5, 8, {2, 3, 4, 7, 9, 13, 20}
_TENSOR_DIMS, _TENSOR_DTYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_TENSOR_EXTERNAL, _TENSOR_LOCATION, _TENSOR_DESCRIBES = 13, 14, {12, 16}
_TENSOR_FLOATS, _TENSOR_INT32S, _TENSOR_INT64S = 4, 5, 7
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
    _nodes: int = 0
    _weights: dict[str, list[int]] = field(default_factory=dict)
    _paddings: list[str] = field(default_factory=list)
    _scales: list[str] = field(default_factory=list)
    _minima: dict[str, float] = field(default_factory=dict)

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
                _refuse("the file", item)
        if graphs != 1:
            raise ValueError(f"it holds {graphs} graphs, one is needed")
        names = [spec.name for spec in (*self.inputs, *self.outputs)]
        if len(set(names)) != len(names) or set(names) & self._weights.keys():
            raise ValueError("two of its inputs, outputs and weights have the same name")
        for name in self._scales:
            if self._minima.get(name, 1.0) <= 0:
                raise ValueError(f"its scale {name!r:.80} of 8-bit values is not above 0")
        for name in self._paddings:
            values = self._weights.get(name, [])
            if not values or not all(0 <= value <= MAX_PADDING_PX for value in values):
                raise ValueError(f"a Pad node adds borders that are not known to be 0 to {MAX_PADDING_PX} px")

    def _read_opset(self, content: memoryview) -> None:
        for item in self.wire.fields(content):
            if item.number == _OPSET_DOMAIN:
                if _text(item) not in _DOMAINS:
                    raise ValueError(f"it uses operators of {_text(item)!r}, which bundles do not need")
            elif item.number != _OPSET_VERSION:
                _refuse("an operator set", item)

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
                _refuse("the graph", item)

    def _read_node(self, content: memoryview) -> None:
        """Reads a node's inputs and operator; refuses what bundles do not need, such as other domains."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ValueError(f"it holds more than {MAX_NODES} nodes")
        inputs: list[str] = []
        operators: list[str] = []
        for item in self.wire.fields(content):
            if item.number == _NODE_INPUT:
                inputs.append(_text(item))
            elif item.number == _NODE_OPERATOR:
                operators.append(_text(item))
            elif item.number == _NODE_ATTRIBUTE:
                self._read_attribute(item.content)
            elif item.number in (_NODE_DOMAIN, _NODE_OVERLOAD):
                if _text(item) not in _DOMAINS:
                    raise ValueError(f"it uses operators of {_text(item)!r}, which bundles do not need")
            elif item.number not in _NODE_DESCRIBES:
                _refuse("a node", item)
        allowed_operators = PICTURE_OPERATORS if self.whole_picture else OPERATORS
        if len(operators) != 1 or operators[0] not in allowed_operators:
            raise ValueError(f"it uses the operator {' '.join(operators)!r:.80}, which bundles do not need")
        if operators[0] == "Pad" and not self.whole_picture:
            self._paddings.append(inputs[1] if len(inputs) > 1 else "")
        elif operators[0] in ("QuantizeLinear", "DequantizeLinear"):
            self._scales += inputs[1:2]

    def _read_attribute(self, content: memoryview) -> None:
        """Reads an attribute of a node; refuses subgraphs and borders that are too wide."""
        name, integers, tensors = "", [], 0
        for item in self.wire.fields(content):
            if item.number == _ATTRIBUTE_NAME:
                name = _text(item)
            elif item.number == _ATTRIBUTE_TENSOR and not tensors:
                tensors += 1
                self._read_tensor(item.content)
            elif item.number == _ATTRIBUTE_INTEGERS:
                integers += self.wire.integers(item)
            elif item.number not in _ATTRIBUTE_PLAIN:
                _refuse("a node's attribute (a subgraph, for one)", item)
        if name == "pads" and not all(0 <= value <= MAX_PADDING_PX for value in integers):
            raise ValueError(f"a node adds borders that are not 0 to {MAX_PADDING_PX} px")

    def _read_weights(self, content: memoryview) -> None:
        name, values = self._read_tensor(content)
        if name in self._weights:
            raise ValueError(f"two of its weights are called {name!r:.80}")
        self._weights[name] = values

    def _read_tensor(self, content: memoryview) -> tuple[str, list[int]]:
        """Returns a tensor's name, and its values if it is int64 and small, otherwise an empty list.

        Raises:
            ValueError: its values are not in the file, not finite, or not as many as its shape says.
        """
        name, dtype, raw, floats = "", 0, None, b""
        shape: list[int] = []
        values: list[int] = []
        for item in self.wire.fields(content):
            if item.number in (_TENSOR_EXTERNAL, _TENSOR_LOCATION):
                if item.number == _TENSOR_EXTERNAL or item.integer != 0:
                    raise ValueError("it keeps weights outside the graph's file (external data)")
            elif item.number == _TENSOR_DIMS:
                shape += self.wire.integers(item)
            elif item.number == _TENSOR_DTYPE:
                dtype = item.integer or 0
            elif item.number == _TENSOR_NAME:
                name = _text(item)
            elif item.number == _TENSOR_RAW:
                raw = item.content
            elif item.number == _TENSOR_FLOATS:
                floats += bytes(item.content)
            elif item.number in (_TENSOR_INT32S, _TENSOR_INT64S):
                values += self.wire.integers(item)
            elif item.number not in _TENSOR_DESCRIBES:
                _refuse("a tensor of weights", item)
        if dtype not in _DTYPES:
            raise ValueError(f"its weights are of the unknown type {dtype}")
        if len(shape) > 8 or not all(0 <= side < 1 << 31 for side in shape):
            raise ValueError(f"its weights {name!r:.80} have an impossible shape")
        size, remainder = len(floats) // 4 + len(values), len(floats) % 4
        if raw is not None:
            has_both = size > 0  # values in two fields, which contradict each other
            size, remainder = divmod(len(raw), _DTYPES[dtype].bytes)
            remainder += has_both
        if remainder or size != math.prod(shape):
            raise ValueError(f"its weights {name!r:.80} are not as many as their shape says")
        minimum = _least_number(dtype, raw if raw is not None else floats if dtype == _FLOAT32 else values)
        if not math.isfinite(minimum):
            raise ValueError(f"its weights {name!r:.80} hold what is infinite or not a number")
        self._minima[name] = minimum
        if dtype != _INT64 or size > _MAX_WHOLE_NUMBERS:
            return name, []
        if raw is not None:
            values = list(struct.unpack(f"<{size}q", raw))
        return name, values

    def _read_value(self, content: memoryview) -> TensorSpec:
        """Returns the name, type and shape of an input or output of the graph."""
        name, types = "", []
        for item in self.wire.fields(content):
            if item.number == _VALUE_NAME:
                name = _text(item)
            elif item.number == _VALUE_TYPE:
                types += [kind for kind in self.wire.fields(item.content) if kind.number != _TYPE_DENOTATION]
            elif item.number not in _VALUE_DESCRIBES:
                _refuse("an input or output", item)
        if len(types) != 1 or types[0].number != _TYPE_TENSOR:
            raise ValueError(f"its input or output {name!r:.80} is not a tensor")
        dtype, shapes = 0, []
        for item in self.wire.fields(types[0].content):
            if item.number == _TENSOR_TYPE_DTYPE:
                dtype = item.integer or 0
            elif item.number == _TENSOR_TYPE_SHAPE:
                shapes.append(tuple(self._read_axis(axis) for axis in self.wire.fields(item.content)))
            else:
                _refuse("a tensor's type", item)
        if len(shapes) != 1:
            raise ValueError(f"its input or output {name!r:.80} states no shape")
        return TensorSpec(name, _DTYPES[dtype].name if dtype in _DTYPES else str(dtype), shapes[0])

    def _read_axis(self, axis: Field) -> int | str:
        """Returns an axis's size, or its name where the size is free."""
        size: int | str = ""
        for item in self.wire.fields(axis.content):
            if item.number == _AXIS_SIZE:
                size = item.integer or 0
            elif item.number == _AXIS_NAME:
                size = _text(item)
            elif item.number != _AXIS_DENOTATION:
                _refuse("an axis", item)
        return size


def _least_number(dtype: int, values: memoryview | bytes | list[int]) -> float:
    """Returns the least of a tensor's numbers; NaN where any is not finite, 1 for types of whole numbers."""
    if dtype not in _FRACTIONS or not len(values):
        return 1.0
    if isinstance(values, list):  # ONNX stores the bits of 16-bit floats as whole numbers
        values = np.array([value & 0xFFFF for value in values], "<u2").tobytes()
    numbers = np.frombuffer(values, _FRACTIONS[dtype])
    if dtype == _BFLOAT16:  # the upper half of a float32
        numbers = (numbers.astype("<u4") << 16).view("<f4")
    return float(numbers.min()) if np.isfinite(numbers).all() else math.nan


def _text(item: Field) -> str:
    try:
        return str(item.content, "utf-8")
    except UnicodeDecodeError:
        raise ValueError("it holds a name that is not text") from None


def _refuse(place: str, item: Field) -> NoReturn:
    raise ValueError(f"{place} holds something that bundles do not need (field {item.number})")
