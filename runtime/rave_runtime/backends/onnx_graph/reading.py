"""Reads the tensors and attributes of an ONNX file strictly, field by field.

Source of the field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import math
import struct
from typing import Final, NamedTuple, NoReturn

import numpy as np

from rave_runtime.backends.onnx_graph.node import MAX_KNOWN_VALUES, Attribute, Tensor
from rave_runtime.backends.onnx_wire import Field, WireReader


class _Type(NamedTuple):
    name: str
    bytes: int


DTYPES: Final = {
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

_TENSOR_DIMS, _TENSOR_DTYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_TENSOR_EXTERNAL, _TENSOR_LOCATION, _TENSOR_DESCRIBES = 13, 14, {12, 16}
_TENSOR_FLOATS, _TENSOR_INT32S, _TENSOR_INT64S = 4, 5, 7

_ATTRIBUTE_NAME, _ATTRIBUTE_TYPE, _ATTRIBUTE_DESCRIBES = 1, 20, {13}
_FRACTION, _INTEGER, _TEXT, _TENSOR, _FRACTIONS_LIST, _INTEGERS = 2, 3, 4, 5, 7, 8
_ATTRIBUTE_TYPES: Final = {_FRACTION: 1, _INTEGER: 2, _TEXT: 3, _TENSOR: 4, _FRACTIONS_LIST: 6, _INTEGERS: 7}
"""For each field that holds an attribute's value, the number by which the attribute states its type."""


class Weights(NamedTuple):
    """A tensor of the file.

    Attributes:
        name: its name; "" in an attribute.
        tensor: its shape, and its values if they are int64 and few.
        minimum: the least of its values if they are fractions, otherwise 1.
    """

    name: str
    tensor: Tensor
    minimum: float


def read_attribute(wire: WireReader, content: memoryview) -> tuple[str, Attribute | Weights]:
    """Returns the name and the value of a node's attribute.

    Raises:
        ValueError: it holds a subgraph or several values, or its value is not of the type that it states.
    """
    name, stated, fields = "", 0, {0}
    value: Attribute | Weights = None
    integers: list[int] = []
    for item in wire.fields(content):
        if item.number == _ATTRIBUTE_NAME:
            name = text_of(item)
        elif item.number == _ATTRIBUTE_TYPE:
            stated = item.integer or 0
        elif item.number == _TENSOR and _TENSOR not in fields:
            value = read_tensor(wire, item.content)
        elif item.number == _INTEGERS:
            integers += wire.integers(item)
        elif item.number == _INTEGER:
            (value,) = wire.integers(item)
        elif item.number == _TEXT:
            value = bytes(item.content)
        elif item.number in (_FRACTION, _FRACTIONS_LIST):
            value = None  # no size depends on it
        elif item.number not in _ATTRIBUTE_DESCRIBES:
            refuse("a node's attribute (a subgraph, for one)", item)
        if item.number in _ATTRIBUTE_TYPES:
            fields.add(item.number)
    held = {_ATTRIBUTE_TYPES[number] for number in fields - {0}}
    if held - {stated}:
        raise ValueError(f"a node's attribute {name!r:.80} is not of the type that it states")
    return name, tuple(integers) if stated == _ATTRIBUTE_TYPES[_INTEGERS] else value


def read_tensor(wire: WireReader, content: memoryview) -> Weights:
    """Returns a tensor of the file.

    Raises:
        ValueError: its values are not in the file, not finite, or not as many as its shape says.
    """
    name, dtype, raw, floats = "", 0, None, b""
    shape: list[int] = []
    values: list[int] = []
    for item in wire.fields(content):
        if item.number in (_TENSOR_EXTERNAL, _TENSOR_LOCATION):
            if item.number == _TENSOR_EXTERNAL or item.integer != 0:
                raise ValueError("it keeps weights outside the graph's file (external data)")
        elif item.number == _TENSOR_DIMS:
            shape += wire.integers(item)
        elif item.number == _TENSOR_DTYPE:
            dtype = item.integer or 0
        elif item.number == _TENSOR_NAME:
            name = text_of(item)
        elif item.number == _TENSOR_RAW:
            raw = item.content
        elif item.number == _TENSOR_FLOATS:
            floats += bytes(item.content)
        elif item.number in (_TENSOR_INT32S, _TENSOR_INT64S):
            values += wire.integers(item)
        elif item.number not in _TENSOR_DESCRIBES:
            refuse("a tensor of weights", item)
    if dtype not in DTYPES:
        raise ValueError(f"its weights are of the unknown type {dtype}")
    if len(shape) > 8 or not all(0 <= side < 1 << 31 for side in shape):
        raise ValueError(f"its weights {name!r:.80} have an impossible shape")
    size, remainder = len(floats) // 4 + len(values), len(floats) % 4
    if raw is not None:
        has_both = size > 0  # values in two fields, which contradict each other
        size, remainder = divmod(len(raw), DTYPES[dtype].bytes)
        remainder += has_both
    if remainder or size != math.prod(shape):
        raise ValueError(f"its weights {name!r:.80} are not as many as their shape says")
    minimum = _least_number(dtype, raw if raw is not None else floats if dtype == _FLOAT32 else values)
    if not math.isfinite(minimum):
        raise ValueError(f"its weights {name!r:.80} hold what is infinite or not a number")
    if dtype != _INT64 or size > MAX_KNOWN_VALUES:
        return Weights(name, Tensor(tuple(shape)), minimum)
    if raw is not None:
        values = list(struct.unpack(f"<{size}q", raw))
    return Weights(name, Tensor(tuple(shape), np.array(values, np.int64).reshape(shape)), minimum)


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


def text_of(item: Field) -> str:
    """Returns a field's text.

    Raises:
        ValueError: it is not text.
    """
    try:
        return str(item.content, "utf-8")
    except UnicodeDecodeError:
        raise ValueError("it holds a name that is not text") from None


def refuse(place: str, item: Field) -> NoReturn:
    """Refuses a field that no graph of a bundle has.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{place} holds something that bundles do not need (field {item.number})")
