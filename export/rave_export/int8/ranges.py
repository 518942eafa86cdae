"""Finds the ranges in which INT8 rounds activations, by running pictures exactly as the runtime does.

There are two kinds of ranges, and neither is always better. A range from the smallest to the largest value
clips nothing. But one pixel in ten thousand may have thirty times the value of all others, which then share a
handful of the 256 steps. The range of least squared error clips such pixels, but also harms the one picture
in ten that is full of them.

Source: Nagel et al., A White Paper on Neural Network Quantization, arXiv 2106.08295, section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rave_export.errors import ExportError
from rave_export.int8.in_memory import NetworkInMemory, Session
from rave_export.int8.quantize import Ranges, observed_tensors, require_finite
from rave_export.int8.rounding import Models
from rave_runtime.arrays import Picture
from rave_runtime.bundle import NetworkFacts, Part
from rave_runtime.light.sizes import DEFAULT_TILE_PX
from rave_runtime.light.tiled import tiled_light

_BINS: Final = 4096
_STEPS: Final = 255
_STRIDE: Final = 3
"""Every third row and column is counted, since neighbouring pixels have nearly the same value."""

_FRACTIONS: Final = np.geomspace(1 / 50, 1, 60)
"""Factors on the smallest and on the largest value, which are tried as ends of the range."""


def observe_ranges(
    facts: NetworkFacts, models: Models, pictures: Sequence[Picture]
) -> tuple[Mapping[Part, Ranges], ...]:
    """Runs pictures through the float32 graphs as the runtime does, tiles and all, twice.

    Args:
        facts: the facts of the network, for tiling.
        models: the float32 graphs.
        pictures: [h, w, 3] uint8, at least 2 pixels each way.

    Returns:
        Both kinds of ranges, of the tensors of either graph: the widest, and those of least squared error.

    Raises:
        ExportError: there are no pictures, or an activation is not finite.
    """
    if not pictures:
        raise ExportError("there is no picture to calibrate on: give --calibration a folder of photographs")
    extremes = {part: _Extremes(model) for part, model in models.items()}
    _run(NetworkInMemory(facts, extremes["context"], extremes["enhance"]), pictures)
    counts = {part: _Counts(model, extremes[part].ranges) for part, model in models.items()}
    _run(NetworkInMemory(facts, counts["context"], counts["enhance"]), pictures)
    return (
        {part: each.ranges for part, each in extremes.items()},
        {part: each.ranges() for part, each in counts.items()},
    )


def least_error_range(counts: NDArray[np.int64], low: float, high: float) -> tuple[float, float]:
    """The range around 0 that gives the least squared error with 256 values at even distances.

    Args:
        counts: [bins], how many values lie in each of the equally wide bins from low to high.
        low: the smallest value.
        high: the largest value.

    Returns:
        Both ends of the range. The error is that of clipping values outside plus that of rounding those
        inside.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    edges = np.linspace(low, high, len(counts) + 1)
    values = (edges[1:] + edges[:-1]) / 2
    lows, highs = low * _FRACTIONS, high * _FRACTIONS
    below = np.square(np.minimum(values - lows[:, None], 0)) @ counts
    above = np.square(np.maximum(values - highs[:, None], 0)) @ counts
    step = (highs[None, :] - lows[:, None]) / _STEPS
    error = below[:, None] + above[None, :] + counts.sum() * step**2 / 12
    row, column = np.unravel_index(np.argmin(error), error.shape)
    return float(lows[row]), float(highs[column])


def _run(network: NetworkInMemory, pictures: Sequence[Picture]) -> None:
    """Runs pictures through a network, which observes its activations."""
    for picture in pictures:
        for _ in tiled_light(network, picture, DEFAULT_TILE_PX):
            pass


class _Extremes:
    """A graph that also observes the smallest and the largest value of its activations."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.ranges: dict[str, tuple[float, float]] = {}
        self._outputs = len(model.graph.output)
        self._tensors = observed_tensors(model)
        observed_model = onnx.ModelProto()
        observed_model.CopyFrom(model)
        for tensor in self._tensors:
            for kind in ("ReduceMin", "ReduceMax"):
                name = f"{tensor}_{kind}"
                observed_model.graph.node.append(helper.make_node(kind, [tensor], [name], keepdims=0))
                observed_model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
        self._graph = Session(observed_model)

    def run(self, inputs: dict[str, Any]) -> list[Any]:
        """See `Runnable.run`."""
        results = self._graph.run(inputs)
        lows, highs = results[self._outputs :: 2], results[self._outputs + 1 :: 2]
        for tensor, low, high in zip(self._tensors, lows, highs, strict=True):
            require_finite(tensor, float(low), float(high))
            known_low, known_high = self.ranges.get(tensor, (0.0, 0.0))
            self.ranges[tensor] = (min(known_low, float(low)), max(known_high, float(high)))
        return results[: self._outputs]


class _Counts:
    """A graph that also counts how often its activations have which value."""

    def __init__(self, model: onnx.ModelProto, extremes: Ranges) -> None:
        self._extremes = extremes
        self._counts = {tensor: np.zeros(_BINS, np.int64) for tensor in extremes}
        self._outputs = len(model.graph.output)
        inputs = {item.name for item in model.graph.input}
        self._tensors = [name for name in extremes if name not in inputs]
        observed_model = onnx.ModelProto()
        observed_model.CopyFrom(model)
        every = (0, 0), (np.iinfo(np.int64).max,) * 2, (2, 3), (_STRIDE, _STRIDE)
        names = [f"sampled_{what}" for what in ("starts", "ends", "axes", "steps")]
        for name, numbers in zip(names, every, strict=True):
            observed_model.graph.initializer.append(
                numpy_helper.from_array(np.array(numbers, np.int64), name)
            )
        for tensor in self._tensors:
            name = f"{tensor}_sampled"
            observed_model.graph.node.append(helper.make_node("Slice", [tensor, *names], [name]))
            observed_model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        self._graph = Session(observed_model)

    def run(self, inputs: dict[str, Any]) -> list[Any]:
        """See `Runnable.run`."""
        results = self._graph.run(inputs)
        for name, values in zip(self._tensors, results[self._outputs :], strict=True):
            self._count(name, values)
        for name, values in inputs.items():
            if name in self._counts:
                self._count(name, values[..., ::_STRIDE, ::_STRIDE])
        return results[: self._outputs]

    def _count(self, name: str, values: NDArray[np.float32]) -> None:
        low, high = self._extremes[name]
        if high > low:
            places = ((values - low) * (_BINS / (high - low))).astype(np.int32).ravel()
            self._counts[name] += np.bincount(places.clip(0, _BINS - 1), minlength=_BINS)

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The range of least squared error of each tensor."""
        return {name: least_error_range(self._counts[name], *self._extremes[name]) for name in self._extremes}
