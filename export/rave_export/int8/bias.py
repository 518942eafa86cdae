"""Corrects what INT8 adds to the mean of a layer's results, by the layer's bias.

Rounded weights shift the mean of what a layer computes, and the next layers carry the shift on: the light as
a whole becomes a little too bright or too dark. A bias costs no time, so the shift that is seen on pictures
is taken from it, layer by layer from the first to the last.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, 4.2; the
shifts are measured on pictures, as in its appendix D.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.utils import Extractor

from rave_export.int8.in_memory import NetworkInMemory, Session
from rave_export.int8.quantize import convolutions
from rave_export.int8.rounding import Models, Rounding
from rave_export.pictures import reduce_picture
from rave_runtime.arrays import Array, Picture
from rave_runtime.bundle import NetworkFacts, Part
from rave_runtime.light.sizes import DEFAULT_TILE_PX
from rave_runtime.light.tiled import tiled_light

_PICTURES: Final = 64
"""How many of the pictures, at even distances, are run, once for each layer."""

_SIDE_PX: Final = 256
"""Longest side to which larger ones are reduced: the means of small ones are about the same."""

_PARTS: Final[tuple[Part, ...]] = ("context", "enhance")
"""The graphs in the order in which they run."""


def float32_means(
    facts: NetworkFacts, models: Models, pictures: Sequence[Picture]
) -> dict[str, NDArray[np.float64]]:
    """Returns the mean of each channel that the 3x3 convolutions compute in float32, by names of weights.

    Args:
        facts: the facts of the network, for tiling.
        models: the float32 graphs.
        pictures: the pictures to measure on, [h, w, 3] uint8.
    """
    pictures = _chosen(pictures)
    means: dict[str, NDArray[np.float64]] = {}
    for part in _PARTS:
        model = models[part]
        inputs = _inputs(facts, pictures, None if part == "context" else models["context"])
        means |= _means(model, model, convolutions(model), inputs)
    return means


def correct_biases(
    facts: NetworkFacts,
    models: Models,
    rounding: Rounding,
    pictures: Sequence[Picture],
    expected: Mapping[str, NDArray[np.float64]],
) -> Rounding:
    """Returns a rounding with which each 3x3 convolution has the mean that it has in float32.

    The shift of each is found with those before it in place. Convolutions that stay in float32 are among
    them, since what they read is not the same.

    Args:
        facts: the facts of the network, for tiling.
        models: the float32 graphs.
        rounding: its shifts are not looked at.
        pictures: the pictures to measure on, [h, w, 3] uint8.
        expected: the `float32_means` of these pictures.
    """
    pictures = _chosen(pictures)
    shifts: dict[str, Array] = {}
    for part in _PARTS:
        model = models[part]
        so_far = replace(rounding, shifts=shifts)
        context = None if part == "context" else so_far.round_graph(models["context"], "context")
        inputs = _inputs(facts, pictures, context)
        for name in convolutions(model):
            rounded = replace(rounding, shifts=shifts).round_graph(model, part)
            mean = _means(model, rounded, [name], inputs)[name]
            shifts[name] = (expected[name] - mean).astype(np.float32)
    return replace(rounding, shifts=shifts)


def _chosen(pictures: Sequence[Picture]) -> list[Picture]:
    """The pictures that are run, and reduced to few pixels."""
    chosen = pictures[:: -(-len(pictures) // _PICTURES)]
    reduced = ((picture, reduce_picture(picture, _SIDE_PX)) for picture in chosen)
    # The network takes no line of single pixels, which a long narrow picture becomes.
    return [picture if 1 in small.shape[:2] else small for picture, small in reduced]


def _inputs(
    facts: NetworkFacts, pictures: Sequence[Picture], context: onnx.ModelProto | None
) -> list[dict[str, Any]]:
    """Returns the inputs of either graph at each of its calls, with which all layers can be measured.

    Args:
        facts: as for `correct_biases`.
        pictures: the pictures to run.
        context: the context graph, whose results the enhance graph takes; None returns the inputs of the
            context graph itself, for which no graph need be run.
    """

    def no_features(inputs: dict[str, Any]) -> list[Any]:
        count, height, width, _ = inputs["image"].shape
        bins = sum(facts.bins)
        pooled = np.zeros((count, facts.channels, bins, bins), np.float32)
        return [np.zeros((count, facts.channels, height, width), np.float32), pooled]

    contexts = _Recorder(no_features if context is None else Session(context).run)
    enhances = _Recorder(_no_light)
    for picture in pictures:
        for _ in tiled_light(NetworkInMemory(facts, contexts, enhances), picture, DEFAULT_TILE_PX):
            pass
    return contexts.inputs if context is None else enhances.inputs


def _no_light(inputs: dict[str, Any]) -> list[Any]:
    features = inputs["features"]
    return [np.zeros((len(features), *features.shape[2:]), np.float32)]


class _Recorder:
    """A graph that remembers what it was given."""

    def __init__(self, run: Callable[[dict[str, Any]], list[Any]]) -> None:
        self.inputs: list[dict[str, Any]] = []
        self._run = run

    def run(self, inputs: dict[str, Any]) -> list[Any]:
        """See `Runnable.run`."""
        self.inputs.append(inputs)
        return self._run(inputs)


def _means(
    model: onnx.ModelProto,
    measured: onnx.ModelProto,
    names: Sequence[str],
    inputs: Sequence[dict[str, Any]],
) -> dict[str, NDArray[np.float64]]:
    """Returns the mean of each channel that convolutions compute, [output channels], by names of weights.

    Only the nodes before them are run.

    Args:
        model: a float32 graph.
        measured: this or its INT8 version, whose convolutions stand in the same order.
        names: the weights of the convolutions, as the float32 graph names them.
        inputs: what the graph is given.
    """
    observed = onnx.ModelProto()
    observed.CopyFrom(measured)
    means = {name: f"{name}_mean" for name in names}
    for known, node in zip(_convolution_nodes(model), _convolution_nodes(measured), strict=True):
        if mean := means.get(known.input[1]):
            observed.graph.node.append(helper.make_node("GlobalAveragePool", [node.output[0]], [mean]))
            observed.graph.output.append(helper.make_tensor_value_info(mean, TensorProto.FLOAT, None))
    given = [value.name for value in observed.graph.input]
    graph = Session(Extractor(observed).extract_model(given, list(means.values())))
    results = zip(*(graph.run(each) for each in inputs), strict=True)
    return {
        name: np.concatenate([mean.astype(np.float64)[..., 0, 0] for mean in each]).mean(0)
        for name, each in zip(names, results, strict=True)
    }


def _convolution_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Conv"]
