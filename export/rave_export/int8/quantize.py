"""Makes INT8 graphs, with Q and DQ nodes placed so that onnxruntime runs whole regions in eight bits.

Q and DQ are the operators QuantizeLinear and DequantizeLinear. Activations are uint8 (asymmetric), weights
int8 per output channel (symmetric). The steps of the weights are so wide that the products of no two
neighbouring channels overflow the 16 bits in which processors without VNNI add them; this costs a fraction of
a bit, and allows the faster sums. `Pad` only moves bytes, so it stands between Q and DQ and works on uint8;
with DQ before and Q after each `Pad`, as is usual, it would run in float32.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rave_export.errors import ExportError

Ranges = Mapping[str, tuple[float, float]]
"""Smallest and largest observed value of each tensor, by its name."""

FIRST_AND_LAST: Final = ("cond1.weight", "cond_add1.weight")
"""Endings of the weights of the first and last convolution, which do 1 % of the work and cost 5 dB in
INT8."""

_ELEMENTWISE: Final = ("Add", "LeakyRelu")

_LARGEST_SUM: Final = 128
"""The largest allowed sum of two weights, whose product with 255 still fits into 16 bits."""

_LARGEST_BIAS: Final = 2.0**30
"""Most steps of a bias, which has 32 bits and is added to the sum of the products."""


def observed_tensors(model: onnx.ModelProto) -> list[str]:
    """The activations whose ranges `quantize` may need, in the order of the graph."""
    names: list[str] = []
    for node in model.graph.node:
        if node.op_type in ("Conv", "Pad"):
            names.append(node.input[0])
        if node.op_type in ("Conv", "PRelu", *_ELEMENTWISE):
            names.append(node.output[0])
    return list(dict.fromkeys(names))


def require_finite(tensor: str, low: float, high: float) -> None:
    """Raises ExportError where an end of a tensor's range is not finite."""
    if not np.isfinite([low, high]).all():
        raise ExportError(
            f"calibration gave no finite range of {tensor}: "
            "the network overflows on these pictures, or it has diverged in training"
        )


def convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of weights of the 3x3 convolutions, which can run in eight bits, in the order of the graph."""
    weights = {item.name: item for item in model.graph.initializer}
    return [
        node.input[1]
        for node in model.graph.node
        if node.op_type == "Conv" and weights[node.input[1]].dims[2] == 3
    ]


def quantize(
    model: onnx.ModelProto, ranges: Ranges, *, in_float32: Collection[str] = FIRST_AND_LAST
) -> onnx.ModelProto:
    """Makes the INT8 version of one of a bundle's float32 graphs; its inputs and outputs stay as they are.

    Args:
        model: a float32 graph of `rave_export.graphs.split`.
        ranges: the ranges of `observed_tensors`, from `rave_export.int8.ranges`.
        in_float32: endings of the weights whose convolutions stay in float32.

    Returns:
        A new model. The 1x1 convolutions of the pooled grids stay float32, since they take hardly any time.

    Raises:
        ExportError: a range is missing or not finite.
    """
    return _Rewrite(model, ranges, tuple(in_float32)).run()


def fits_16_bits(model: onnx.ModelProto) -> bool:
    """Whether no sum of an INT8 graph saturates on processors without VNNI.

    Those add the products of two neighbouring channels in 16 bits, and further sums in 32 bits.
    """
    weights = [numpy_helper.to_array(item) for item in model.graph.initializer]
    convolved = [weight for weight in weights if weight.dtype == np.int8 and weight.ndim == 4]
    return all(_sums_of_two(weight.astype(np.int64)).max() <= _LARGEST_SUM for weight in convolved)


def _sums_of_two(weight: NDArray[Any]) -> NDArray[Any]:
    """The largest sum of two weights of one sign that are added in 16 bits, per output channel.

    These are the weights of two neighbouring channels at one place of the kernel. With an odd number of
    channels any two weights count, since the last channel of one place is added to the first of the next.

    [o, i, h, w] -> [o], at least 0.
    """
    signs = np.stack([weight.clip(0), -weight.clip(None, 0)])
    if weight.shape[1] % 2:
        return np.asarray(np.sort(signs.reshape(2, len(weight), -1))[..., -2:].sum(2).max(0))
    pairs = signs.reshape(2, len(weight), -1, 2, *weight.shape[2:])
    return np.asarray(pairs.sum(3).max((0, 2, 3, 4)))


class _Rewrite:
    """Rewrites a graph in one pass over its nodes, and keeps track of which tensors exist as bytes."""

    def __init__(self, model: onnx.ModelProto, ranges: Ranges, in_float32: tuple[str, ...]) -> None:
        self.result = onnx.ModelProto()
        self.result.CopyFrom(model)
        self.ranges = {**ranges, **_image_range(model)}
        self.in_float32 = in_float32
        self.weights = {item.name: item for item in model.graph.initializer}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}
        self.bytes_of: dict[str, str] = {}
        """Tensor -> the prefix of its scale and zero point, where it exists as bytes."""

    def run(self) -> onnx.ModelProto:
        """Rewrites all nodes in their order and returns the checked model."""
        for node in self.result.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            self._visit(copy)
        graph = self.result.graph
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        used_initializers = [item for item in graph.initializer if item.name in used]
        del graph.initializer[:]
        graph.initializer.extend(used_initializers)
        new_initializers = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph.initializer.extend(new_initializers)
        onnx.checker.check_model(self.result, full_check=True)
        return self.result

    def _visit(self, node: onnx.NodeProto) -> None:
        """Adds one node of the float graph to the result, as its 8-bit counterpart or unchanged."""
        name = node.output[0]
        if node.op_type == "Pad" and (node.input[0] in self.bytes_of or self._leads_to_bytes(node)):
            prefix = self._as_bytes(node.input[0])
            node.input[0] += _BYTES
            self._emit_bytes(node, prefix)
        elif self._runs_in_bytes(node):
            if node.op_type == "Conv":
                prefix = self._as_bytes(node.input[0])
                self._quantize_weights(node, prefix)
                node.input[0] = self._as_float(node.input[0], node)
            else:
                self._make_leaky(node)
                for index, part in enumerate(node.input):
                    self._as_bytes(part)
                    node.input[index] = self._as_float(part, node)
            node.output[0] = name + _FLOAT
            self.nodes.append(node)
            prefix = self._add_scale(name)
            self._quantize(node.output[0], prefix, name + _BYTES)
            self.bytes_of[name] = prefix
        else:
            for index, part in enumerate(node.input):
                if part in self.bytes_of:
                    node.input[index] = self._as_float(part, node)
            self.nodes.append(node)

    def _runs_in_bytes(self, node: onnx.NodeProto) -> bool:
        """Whether a node is to run in eight bits."""
        if node.op_type == "Conv":
            weight = self.weights[node.input[1]]
            return weight.dims[2] == 3 and not weight.name.endswith(self.in_float32)
        return (
            self._is_elementwise(node)
            and all(part in self.bytes_of for part in node.input if part not in self.weights)
            and self._leads_to_bytes(node)
        )

    def _leads_to_bytes(self, node: onnx.NodeProto) -> bool:
        """Whether a convolution in bytes reads the output, directly or through nodes that can be in bytes.

        Where none does, as before the float32 convolution at the end, rounding would cost a decibel and gain
        nothing.
        """
        return any(
            self._runs_in_bytes(reader)
            if reader.op_type == "Conv"
            else (reader.op_type == "Pad" or self._is_elementwise(reader)) and self._leads_to_bytes(reader)
            for reader in self.readers.get(node.output[0], [])
        )

    def _is_elementwise(self, node: onnx.NodeProto) -> bool:
        return node.op_type in _ELEMENTWISE or (node.op_type == "PRelu" and self._slope(node) is not None)

    def _slope(self, node: onnx.NodeProto) -> float | None:
        """The single slope of a PRelu; None where it has one per channel."""
        slope = self.weights.get(node.input[1])
        if slope is None or np.prod(slope.dims) != 1:
            return None
        return float(numpy_helper.to_array(slope).reshape(()))

    def _make_leaky(self, node: onnx.NodeProto) -> None:
        """Replaces PRelu with a single slope by LeakyRelu, which has an eight-bit kernel."""
        if node.op_type != "PRelu":
            return
        slope = self._slope(node)
        assert slope is not None
        node.op_type = "LeakyRelu"
        del node.input[1]
        node.attribute.append(helper.make_attribute("alpha", slope))

    def _quantize_weights(self, node: onnx.NodeProto, input_scale: str) -> None:
        """Rounds a convolution's weights to 8 bits per output channel, and its bias to 32 bits."""
        weight = numpy_helper.to_array(self.weights[node.input[1]])
        steps = np.maximum(
            np.abs(weight).reshape(len(weight), -1).max(1) / 127,
            _sums_of_two(weight)
            / (_LARGEST_SUM - 1),  # 1 is subtracted, since both weights may be rounded up
        )
        scale = np.maximum(steps, np.finfo(np.float32).tiny).astype(np.float32)
        input_step = float(np.asarray(self.constants[input_scale + _SCALE], np.float32))
        bias = numpy_helper.to_array(self.weights[node.input[2]]) if len(node.input) == 3 else None
        if bias is not None:  # of a channel without weights it is all there is, and needs steps that reach it
            scale = np.maximum(scale, np.abs(bias) / (input_step * _LARGEST_BIAS)).astype(np.float32)
        scale_per_channel = scale.reshape(-1, 1, 1, 1)
        integers = np.clip(np.rint(weight / scale_per_channel), -127, 127).astype(np.int8)
        node.input[1] = self._constant_in_integers(node.input[1], integers, scale)
        if bias is not None:
            bias_scale = (scale * input_step).astype(np.float32)
            counts = np.rint(bias / bias_scale.astype(np.float64))
            node.input[2] = self._constant_in_integers(node.input[2], counts.astype(np.int32), bias_scale)

    def _constant_in_integers(self, name: str, value: NDArray[np.generic], scale: NDArray[np.float32]) -> str:
        self.constants[name + _BYTES] = value
        self.constants[name + _SCALE] = scale
        self.constants[name + _ZERO] = np.zeros(len(scale), value.dtype)
        inputs = [name + _BYTES, name + _SCALE, name + _ZERO]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [name + _FLOAT], axis=0))
        return name + _FLOAT

    def _as_bytes(self, tensor: str) -> str:
        """Makes a tensor exist as bytes; returns the prefix of its scale's name."""
        if tensor not in self.bytes_of:
            prefix = self._add_scale(tensor)
            self._quantize(tensor, prefix, tensor + _BYTES)
            self.bytes_of[tensor] = prefix
        return self.bytes_of[tensor]

    def _as_float(self, tensor: str, reader: onnx.NodeProto) -> str:
        """Adds a DQ for one reader, since onnxruntime fuses a DQ only if it has one; returns its output."""
        name = f"{tensor}_for_{reader.output[0]}"
        self._dequantize(tensor, name)
        return name

    def _emit_bytes(self, node: onnx.NodeProto, prefix: str) -> None:
        tensor = node.output[0]
        node.output[0] = tensor + _BYTES
        self.nodes.append(node)
        self.bytes_of[tensor] = prefix

    def _quantize(self, source: str, prefix: str, target: str) -> None:
        inputs = [source, prefix + _SCALE, prefix + _ZERO]
        self.nodes.append(helper.make_node("QuantizeLinear", inputs, [target]))

    def _dequantize(self, tensor: str, target: str) -> None:
        prefix = self.bytes_of[tensor]
        inputs = [tensor + _BYTES, prefix + _SCALE, prefix + _ZERO]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [target]))

    def _add_scale(self, tensor: str) -> str:
        """Adds the scale and zero point of a tensor's range; returns the prefix of their names."""
        if tensor + _SCALE not in self.constants:
            low, high = self.ranges.get(tensor, (np.nan, np.nan))
            require_finite(tensor, low, high)
            low, high = min(low, 0.0), max(high, 0.0)
            scale = np.float32((high - low) / 255) if high > low else np.float32(1)
            self.constants[tensor + _SCALE] = np.asarray(scale)
            self.constants[tensor + _ZERO] = np.asarray(np.clip(np.rint(-low / scale), 0, 255), np.uint8)
        return tensor


def _image_range(model: onnx.ModelProto) -> Ranges:
    """The range of the image's planes, which is [0, 1], so that bytes of a photograph stay as they are."""
    makers = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1].endswith("cond1.weight"):
            maker = makers[node.input[0]]
            return {maker.input[0] if maker.op_type == "Pad" else node.input[0]: (0.0, 1.0)}
    return {}


_BYTES: Final = "_bytes"
_FLOAT: Final = "_float"
_SCALE: Final = "_scale"
_ZERO: Final = "_zero"
