"""Arithmetic on small tensors, by which graphs of whole pictures compute sizes from the picture's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.backends.onnx_graph.node import MAX_KNOWN_VALUES, Inputs, Node, Shape, Tensor

_INTEGER_TYPES: Final = {2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_}
_FRACTION_TYPES: Final = {1: np.float32, 10: np.float16, 11: np.float64}
_CASTS: Final = {**_INTEGER_TYPES, **_FRACTION_TYPES}


def broadcast(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Returns the shape of an operation between tensors, element by element."""
    rank = max(map(len, shapes))
    sides = []
    for axis in range(-rank, 0):
        found = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(found) > 1:
            raise ValueError(f"a {node.operator} node gets tensors whose sizes do not fit")
        sides.append(found.pop() if found else 1)
    return tuple(sides)


def cast(node: Node, inputs: Inputs) -> list[Tensor]:
    """Returns the tensor in another type, with its values where they are known."""
    data = inputs[0] if inputs else None
    if data is None:
        raise ValueError("a Cast node lacks an input")
    dtype = _CASTS.get(node.integer("to", 0))
    if data.values is None or dtype is None:
        return [Tensor(data.shape)]
    return [Tensor(data.shape, data.values.astype(dtype))]


def _divide(first: NDArray[np.generic], second: NDArray[np.generic]) -> NDArray[np.generic] | None:
    if first.dtype.kind == "f" or second.dtype.kind == "f" or not np.asarray(second).all():
        return None
    return np.asarray(np.trunc(first / second)).astype(np.int64)  # type: ignore[operator]


def _where(condition: NDArray[np.generic], *others: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.where(condition, *others)


CALCULATIONS: Final[dict[str, Callable[..., NDArray[np.generic] | None]]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Max": lambda *values: np.maximum.reduce(np.broadcast_arrays(*values)),
    "Min": lambda *values: np.minimum.reduce(np.broadcast_arrays(*values)),
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Not": np.logical_not,
    "Where": _where,
}
"""Operations by which a graph of a whole picture computes sizes from its size."""


def calculate(node: Node, inputs: Inputs) -> list[Tensor]:
    """Computes between tensors element by element, with values where all are known."""
    tensor = Tensor(broadcast(node, [each.shape for each in inputs if each is not None]))
    values = [each.values for each in inputs if each is not None]
    if tensor.size > MAX_KNOWN_VALUES or any(value is None for value in values):
        return [tensor]
    with np.errstate(all="ignore"):
        result = CALCULATIONS[node.operator](*values)
    return [Tensor(tensor.shape, None if result is None else np.asarray(result).reshape(tensor.shape))]
