"""What turns the float32 graphs of a network into its INT8 graphs, as one value that can be varied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import onnx
from onnx import numpy_helper

from rave_export.int8.in_memory import NetworkInMemory, Session
from rave_export.int8.quantize import Ranges, quantize
from rave_runtime.arrays import Array
from rave_runtime.bundle import NetworkFacts, Part

Models = Mapping[Part, onnx.ModelProto]
"""The context graph, for uint8 images, and the enhance graph."""


@dataclass(frozen=True)
class Rounding:
    """How a network is rounded to eight bits.

    Attributes:
        ranges: those of the tensors of either graph.
        in_float32: endings of the weights whose convolutions stay in float32.
        shifts: what is added to a convolution's bias, [output channels] float32, by the name of its weights.
    """

    ranges: Mapping[Part, Ranges]
    in_float32: tuple[str, ...] = ()
    shifts: Mapping[str, Array] = field(default_factory=dict)

    def also_in_float32(self, weights: tuple[str, ...]) -> Rounding:
        """Returns a rounding that leaves further convolutions in float32, whose biases then stay as well."""
        shifts = {name: shift for name, shift in self.shifts.items() if name not in weights}
        return replace(self, in_float32=(*self.in_float32, *weights), shifts=shifts)

    def round_graph(self, model: onnx.ModelProto, part: Part) -> onnx.ModelProto:
        """Returns the INT8 version of a float32 graph, a context graph for either type of image included."""
        return quantize(shift_biases(model, self.shifts), self.ranges[part], in_float32=self.in_float32)

    def network(self, facts: NetworkFacts, models: Models) -> NetworkInMemory:
        """Returns the INT8 network, ready to run."""
        context, enhance = (Session(self.round_graph(models[part], part)) for part in ("context", "enhance"))
        return NetworkInMemory(facts, context, enhance)


def shift_biases(model: onnx.ModelProto, shifts: Mapping[str, Array]) -> onnx.ModelProto:
    """Returns a copy of a float32 graph with shifted biases; a convolution without a bias is given one."""
    shifted = onnx.ModelProto()
    shifted.CopyFrom(model)
    values = {item.name: item for item in shifted.graph.initializer}
    for node in shifted.graph.node:
        if node.op_type != "Conv" or node.input[1] not in shifts:
            continue
        shift = shifts[node.input[1]]
        if len(node.input) == 3:
            item = values[node.input[2]]
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) + shift, item.name))
        else:
            node.input.append(f"{node.input[1]}_shift")
            shifted.graph.initializer.append(numpy_helper.from_array(shift, node.input[2]))
    return shifted
