"""The shapes that the operators of a bundle's graphs give, computed from the shapes that they get.

Where an operator gives sizes, places or axes to another one, its values are computed too. Operators and
attributes that no graph of a bundle uses are refused.

Source: https://onnx.ai/onnx/operators/, opsets 18 to 25.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from rave_runtime.backends.onnx_graph.node import MAX_KNOWN_VALUES, Inputs, Node, Shape, Tensor
from rave_runtime.backends.onnx_graph.values import CALCULATIONS, broadcast, calculate, cast

Rule = Callable[[Node, Inputs], list[Tensor]]


def _known(node: Node, tensor: Tensor | None) -> list[int]:
    """Returns the values of a tensor that a node takes as sizes, places or axes."""
    if tensor is None or tensor.values is None or tensor.values.dtype.kind not in "iub":
        raise ValueError(f"the size of what a {node.operator} node gives is not known before the graph runs")
    return [int(value) for value in tensor.values.ravel()]


def _get(inputs: Inputs, index: int) -> Tensor | None:
    return inputs[index] if index < len(inputs) else None


def _need(node: Node, inputs: Inputs, index: int = 0) -> Tensor:
    tensor = _get(inputs, index)
    if tensor is None:
        raise ValueError(f"a {node.operator} node lacks an input")
    return tensor


def _axis(node: Node, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"a {node.operator} node names an axis that its input does not have")
    return axis % rank


def _elementwise(node: Node, inputs: Inputs) -> list[Tensor]:
    return [Tensor(broadcast(node, [each.shape for each in inputs if each is not None]))]


def _first(node: Node, inputs: Inputs) -> list[Tensor]:
    return [Tensor(_need(node, inputs).shape)]


def _same(node: Node, inputs: Inputs) -> list[Tensor]:
    return [_need(node, inputs)]


def _constant(node: Node, inputs: Inputs) -> list[Tensor]:
    del inputs
    if node.constant is not None:
        return [node.constant]
    for name in ("value_int", "value_float", "value_ints", "value_floats"):
        if name in node.attributes:
            values = np.array(node.attributes[name])
            return [Tensor(values.shape, values if values.size <= MAX_KNOWN_VALUES else None)]
    raise ValueError("a Constant node holds no number")


def _shape(node: Node, inputs: Inputs) -> list[Tensor]:
    shape = _need(node, inputs).shape
    part = shape[slice(node.integer("start", 0), node.integer("end", len(shape)))]
    return [Tensor((len(part),), np.array(part, np.int64))]


def _conv(node: Node, inputs: Inputs) -> list[Tensor]:
    data, weight = _need(node, inputs).shape, _need(node, inputs, 1).shape
    group = node.integer("group", 1)
    if len(data) != len(weight) or len(data) < 3 or group < 1 or weight[1] * group != data[1]:
        raise ValueError("the weights of a Conv node do not fit its input")
    kernel = node.integers("kernel_shape", weight[2:])
    if kernel != weight[2:]:
        raise ValueError("the weights of a Conv node do not fit its input")
    return [Tensor((data[0], weight[0], *_windows(node, data[2:], kernel)))]


def _pool(node: Node, inputs: Inputs) -> list[Tensor]:
    data = _need(node, inputs).shape
    return [Tensor((*data[:2], *_windows(node, data[2:], node.integers("kernel_shape", ()))))]


def _windows(node: Node, sides: Shape, kernel: Shape) -> list[int]:
    """Returns along each axis how many windows of a kernel fit."""
    if node.attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ValueError(f"a {node.operator} node leaves its borders to be chosen (auto_pad)")
    rank = len(sides)
    pads = node.integers("pads", (0,) * (2 * rank))
    strides, dilations = node.integers("strides", (1,) * rank), node.integers("dilations", (1,) * rank)
    if not len(kernel) == len(strides) == len(dilations) == rank == len(pads) // 2:
        raise ValueError(f"a {node.operator} node has attributes of the wrong length")
    if min((*strides, *dilations, *kernel)) < 1:
        raise ValueError(f"a {node.operator} node has attributes below 1")
    is_up = node.integer("ceil_mode", 0) != 0
    counts = []
    for axis, side in enumerate(sides):
        span = side + pads[axis] + pads[axis + rank] - dilations[axis] * (kernel[axis] - 1) - 1
        counts.append((span + (strides[axis] - 1 if is_up else 0)) // strides[axis] + 1)
    return counts


def _matmul(node: Node, inputs: Inputs) -> list[Tensor]:
    first, second = _need(node, inputs).shape, _need(node, inputs, 1).shape
    if not first or not second:
        raise ValueError("a MatMul node gets a single number")
    left = first if len(first) > 1 else (1, *first)
    right = second if len(second) > 1 else (*second, 1)
    if left[-1] != right[-2]:
        raise ValueError("a MatMul node gets matrices whose sizes do not fit")
    rows = left[-2:-1] if len(first) > 1 else ()
    cols = right[-1:] if len(second) > 1 else ()
    return [Tensor((*broadcast(node, [left[:-2], right[:-2], ()]), *rows, *cols))]


def _concat(node: Node, inputs: Inputs) -> list[Tensor]:
    parts = [_need(node, inputs, index) for index in range(max(1, len(inputs)))]
    first = parts[0].shape
    axis = _axis(node, node.integer("axis", 0), len(first))
    rest = (*first[:axis], *first[axis + 1 :])
    if any((*part.shape[:axis], *part.shape[axis + 1 :]) != rest for part in parts):
        raise ValueError("a Concat node gets tensors whose sizes do not fit")
    shape = (*first[:axis], sum(part.shape[axis] for part in parts), *first[axis + 1 :])
    if all(part.values is not None for part in parts) and math.prod(shape) <= MAX_KNOWN_VALUES:
        return [Tensor(shape, np.concatenate([np.asarray(part.values) for part in parts], axis))]
    return [Tensor(shape)]


def _gather(node: Node, inputs: Inputs) -> list[Tensor]:
    data, places = _need(node, inputs), _need(node, inputs, 1)
    axis = _axis(node, node.integer("axis", 0), len(data.shape))
    shape = (*data.shape[:axis], *places.shape, *data.shape[axis + 1 :])
    if data.values is not None and places.values is not None and math.prod(shape) <= MAX_KNOWN_VALUES:
        return [Tensor(shape, np.take(data.values, places.values.astype(np.int64), axis))]
    return [Tensor(shape)]


def _pad(node: Node, inputs: Inputs) -> list[Tensor]:
    shape = list(_need(node, inputs).shape)
    pads = _known(node, _get(inputs, 1))
    chosen = _get(inputs, 3)
    axes = list(range(len(shape))) if chosen is None else _known(node, chosen)
    if len(pads) != 2 * len(axes):
        raise ValueError("a Pad node has too few or too many borders")
    for index, axis in enumerate(axes):
        shape[_axis(node, axis, len(shape))] += pads[index] + pads[index + len(axes)]
    return [Tensor(tuple(shape))]


def _reshape(node: Node, inputs: Inputs) -> list[Tensor]:
    data = _need(node, inputs)
    sides = _known(node, _get(inputs, 1))
    if not node.integer("allowzero", 0):
        sides = [data.shape[i] if side == 0 and i < len(data.shape) else side for i, side in enumerate(sides)]
    rest = math.prod(side for side in sides if side != -1)
    if sides.count(-1) == 1 and rest > 0 and data.size % rest == 0:
        sides[sides.index(-1)] = data.size // rest
    if min(sides, default=1) < 0 or math.prod(sides) != data.size:
        raise ValueError("a Reshape node gives another number of values than it gets")
    values = None if data.values is None else data.values.reshape(sides)
    return [Tensor(tuple(sides), values)]


def _slice(node: Node, inputs: Inputs) -> list[Tensor]:
    data = _need(node, inputs)
    starts, ends = _known(node, _get(inputs, 1)), _known(node, _get(inputs, 2))
    chosen, stepped = _get(inputs, 3), _get(inputs, 4)
    axes = list(range(len(starts))) if chosen is None else _known(node, chosen)
    steps = [1] * len(starts) if stepped is None else _known(node, stepped)
    if not len(starts) == len(ends) == len(axes) == len(steps) or set(steps) - {1}:
        raise ValueError("a Slice node takes more than one piece of each axis")
    shape, places = list(data.shape), [slice(None)] * len(data.shape)
    for start, end, named in zip(starts, ends, axes, strict=True):
        axis = _axis(node, named, len(shape))
        places[axis] = slice(start, end)
        first, last, _ = places[axis].indices(data.shape[axis])
        shape[axis] = max(0, last - first)
    values = None if data.values is None else data.values[tuple(places)]
    return [Tensor(tuple(shape), values)]


def _axes(node: Node, inputs: Inputs, default: list[int]) -> list[int]:
    """Returns the axes that a node gets as its second input, or as an attribute in older operators."""
    given = _get(inputs, 1)
    return list(node.integers("axes", tuple(default))) if given is None else _known(node, given)


def _squeeze(node: Node, inputs: Inputs) -> list[Tensor]:
    data = _need(node, inputs)
    ones = [axis for axis, side in enumerate(data.shape) if side == 1]
    axes = {_axis(node, axis, len(data.shape)) for axis in _axes(node, inputs, ones)}
    if not axes <= set(ones):
        raise ValueError("a Squeeze node removes an axis whose size is not 1")
    shape = tuple(side for axis, side in enumerate(data.shape) if axis not in axes)
    return [Tensor(shape, None if data.values is None else data.values.reshape(shape))]


def _unsqueeze(node: Node, inputs: Inputs) -> list[Tensor]:
    data = _need(node, inputs)
    axes = _axes(node, inputs, [])
    rank = len(data.shape) + len(axes)
    places = {_axis(node, axis, rank) for axis in axes}
    if len(places) != len(axes):
        raise ValueError("an Unsqueeze node names an axis twice")
    sides = iter(data.shape)
    shape = tuple(1 if axis in places else next(sides) for axis in range(rank))
    return [Tensor(shape, None if data.values is None else data.values.reshape(shape))]


def _transpose(node: Node, inputs: Inputs) -> list[Tensor]:
    shape = _need(node, inputs).shape
    order = node.integers("perm", tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise ValueError("a Transpose node names axes that its input does not have")
    return [Tensor(tuple(shape[axis] for axis in order))]


def _reduce(node: Node, inputs: Inputs) -> list[Tensor]:
    shape = _need(node, inputs).shape
    everything = [] if node.integer("noop_with_empty_axes", 0) else list(range(len(shape)))
    axes = {_axis(node, axis, len(shape)) for axis in _axes(node, inputs, []) or everything}
    keeps = node.integer("keepdims", 1)
    sides = (1 if axis in axes else side for axis, side in enumerate(shape) if keeps or axis not in axes)
    return [Tensor(tuple(sides))]


def _split(node: Node, inputs: Inputs) -> list[Tensor]:
    shape = _need(node, inputs).shape
    axis = _axis(node, node.integer("axis", 0), len(shape))
    sizes = _known(node, _get(inputs, 1))
    if len(sizes) != len(node.outputs) or sum(sizes) != shape[axis] or min(sizes) < 0:
        raise ValueError("a Split node gives other pieces than it has outputs")
    return [Tensor((*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]


def _resize(node: Node, inputs: Inputs) -> list[Tensor]:
    shape = _need(node, inputs).shape
    sizes = _known(node, _get(inputs, 3))
    if len(sizes) != len(shape) or min(sizes, default=0) < 0 or "axes" in node.attributes:
        raise ValueError("a Resize node names another number of sizes than its input has")
    return [Tensor(tuple(sizes))]


def _expand(node: Node, inputs: Inputs) -> list[Tensor]:
    sizes = tuple(_known(node, _get(inputs, 1)))
    if min(sizes, default=0) < 0:
        raise ValueError("an Expand node names a size below 0")
    return [Tensor(broadcast(node, [_need(node, inputs).shape, sizes]))]


def _range(node: Node, inputs: Inputs) -> list[Tensor]:
    start, stop, step = (_known(node, _get(inputs, index))[0] for index in range(3))
    if step == 0:
        raise ValueError("a Range node has steps of 0")
    return [Tensor((max(0, -((start - stop) // step)),))]


_ELEMENTWISE: Final = (
    "Abs",
    "Clip",
    "Floor",
    "LeakyRelu",
    "Log",
    "Relu",
    "Reciprocal",
    "Round",
    "Sin",
    "Sqrt",
)
_QUANTIZING: Final = ("QuantizeLinear", "DequantizeLinear")

RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys((*_ELEMENTWISE, *_QUANTIZING), _first),
    **dict.fromkeys(("PRelu", "Pow"), _elementwise),
    **dict.fromkeys(CALCULATIONS, calculate),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), _reduce),
    **dict.fromkeys(("MatMul", "MatMulInteger"), _matmul),
    **dict.fromkeys(("AveragePool", "MaxPool"), _pool),
    "Cast": cast,
    "Concat": _concat,
    "Constant": _constant,
    "Conv": _conv,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": _same,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""The shapes that each operator gives."""
