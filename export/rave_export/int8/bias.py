"""Corrects what INT8 adds to the mean of a layer's results, by the layer's bias.

Rounded weights shift the mean of what a layer computes, and the next layers carry the shift on: the light as
a whole becomes a little too bright or too dark. A bias costs no time, so the shift that is seen on pictures
is taken from it, layer by layer from the first to the last.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, 4.2; the
shifts are measured on pictures, as in its appendix D.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from rave_export.int8.in_memory import NetworkInMemory, Session
from rave_export.int8.quantize import convolutions
from rave_export.int8.rounding import Models, Rounding
from rave_export.pictures import reduce_picture
from rave_runtime.arrays import Array, Picture
from rave_runtime.bundle import NetworkFacts
from rave_runtime.light.sizes import DEFAULT_TILE_PX
from rave_runtime.light.tiled import tiled_light

_PICTURES: Final = 64
"""How many of the pictures, at even distances, are run, once for each layer."""

_SIDE_PX: Final = 256
"""Longest side to which larger ones are reduced: the means of small ones are about the same."""


def correct_biases(
    facts: NetworkFacts, models: Models, rounding: Rounding, pictures: Sequence[Picture]
) -> Rounding:
    """Returns a rounding with which each 3x3 convolution has the mean that it has in float32.

    The shift of each is found with those before it in place. Convolutions that stay in float32 are among
    them, since what they read is not the same.

    Args:
        facts: the facts of the network, for tiling.
        models: the float32 graphs.
        rounding: its shifts are not looked at.
        pictures: the pictures to measure on, [h, w, 3] uint8.
    """
    chosen = pictures[:: -(-len(pictures) // _PICTURES)]
    reduced = ((picture, reduce_picture(picture, _SIDE_PX)) for picture in chosen)
    # The network takes no line of single pixels, which a long narrow picture becomes.
    pictures = [picture if 1 in small.shape[:2] else small for picture, small in reduced]
    names = [name for part in ("context", "enhance") for name in convolutions(models[part])]
    expected = _means(facts, models, models, names, pictures)
    shifts: dict[str, Array] = {}
    for name in names:
        so_far = replace(rounding, shifts=shifts)
        rounded: Models = {part: so_far.round_graph(model, part) for part, model in models.items()}
        (mean,) = _means(facts, models, rounded, [name], pictures).values()
        shifts[name] = (expected[name] - mean).astype(np.float32)
    return replace(rounding, shifts=shifts)


def _means(
    facts: NetworkFacts, models: Models, measured: Models, names: Collection[str], pictures: Sequence[Picture]
) -> dict[str, NDArray[np.float64]]:
    """Returns the mean of each channel that convolutions compute, [output channels], by names of weights.

    Args:
        facts: as for `correct_biases`.
        models: the float32 graphs.
        measured: these or their INT8 versions, whose convolutions stand in the same order.
        names: the weights of the convolutions, as the float32 graphs name them.
        pictures: the pictures to run.
    """
    context, enhance = (_Means(models[part], measured[part], names) for part in ("context", "enhance"))
    network = NetworkInMemory(facts, context, enhance)
    for picture in pictures:
        for _ in tiled_light(network, picture, DEFAULT_TILE_PX):
            pass
    return {name: np.mean(values, 0) for name, values in (context.means | enhance.means).items()}


class _Means:
    """A graph that also gives the mean of each channel of some convolutions: see `_means`."""

    def __init__(self, model: onnx.ModelProto, measured: onnx.ModelProto, names: Collection[str]) -> None:
        self.means: dict[str, list[NDArray[np.float64]]] = {}
        self._outputs = len(measured.graph.output)
        observed_model = onnx.ModelProto()
        observed_model.CopyFrom(measured)
        for known, node in zip(_convolution_nodes(model), _convolution_nodes(measured), strict=True):
            name = known.input[1]
            if name in names:
                self.means[name] = []
                mean = f"{name}_mean"
                observed_model.graph.node.append(
                    helper.make_node("GlobalAveragePool", [node.output[0]], [mean])
                )
                observed_model.graph.output.append(
                    helper.make_tensor_value_info(mean, TensorProto.FLOAT, None)
                )
        self._graph = Session(observed_model)

    def run(self, inputs: dict[str, Any]) -> list[Any]:
        """See `Runnable.run`."""
        results = self._graph.run(inputs)
        for values, mean in zip(self.means.values(), results[self._outputs :], strict=True):
            values.extend(mean.astype(np.float64)[..., 0, 0])
        return results[: self._outputs]


def _convolution_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Conv"]
