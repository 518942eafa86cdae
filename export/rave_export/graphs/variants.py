"""The graphs of a network in each precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx

from rave_export.graphs.full_resolution import join_graphs
from rave_export.graphs.normal_way import normal_way
from rave_export.graphs.split import OPSET, export_context, export_enhance, with_float_image
from rave_export.int8.bias import correct_biases, float32_means
from rave_export.int8.float_layers import find_float_layers, lights, worst_db
from rave_export.int8.in_memory import NetworkInMemory, Session
from rave_export.int8.quantize import FIRST_AND_LAST, convolutions
from rave_export.int8.ranges import observe_ranges
from rave_export.int8.rounding import Models, Rounding
from rave_export.options import ENOUGH_DB
from rave_export.proof.parity import TOLERANCES
from rave_runtime.arrays import Picture
from rave_runtime.bundle import ImageType, NetworkFacts, Part, Precision
from rave_train.network import BINS, CONTEXT_HALO_PX, HALO_PX, EnhancementNetwork


@dataclass(frozen=True)
class Graph:
    """A graph before it is a file; the fields are those of `rave_runtime.bundle.GraphFile`."""

    model: onnx.ModelProto
    part: Part
    precision: Precision
    image: ImageType | None = None


def network_facts(network: EnhancementNetwork) -> NetworkFacts:
    """The facts about a network that a runtime needs to tile it."""
    return NetworkFacts(
        channels=network.channels,
        bins=BINS,
        context_halo_px=CONTEXT_HALO_PX,
        halo_px=HALO_PX,
        padding=network.padding,
    )


def float_graphs(
    network: EnhancementNetwork, precision: Literal["fp32", "fp16"], opset: int = OPSET
) -> list[Graph]:
    """Exports the context graphs, for images in bytes and in float32, and the enhance graph.

    For fp16 the network itself is converted before the export, so the graphs are what torch would run. Pooled
    sums, matrices, the division by 255 before the first convolution and the light map stay float32.

    Raises:
        InputError: the opset is too low.
    """
    converted = copy.deepcopy(network).half() if precision == "fp16" else network
    context = export_context(converted, opset)
    return [
        Graph(context, "context", precision, "uint8"),
        Graph(with_float_image(context), "context", precision, "float32"),
        Graph(export_enhance(converted, opset), "enhance", precision),
    ]


def int8_graphs(
    graphs: Sequence[Graph],
    facts: NetworkFacts,
    pictures: Sequence[Picture],
    *,
    every_layer: bool = False,
    enough_db: float = ENOUGH_DB,
    say: Callable[[str], None] = lambda _: None,
) -> list[Graph]:
    """Makes INT8 versions of the float32 graphs.

    Of the two kinds of ranges that `observe_ranges` gives, the one that serves these pictures better is
    taken, and the biases are corrected. The first and the last convolution stay float32, and so do those that
    `find_float_layers` finds too harmful.

    Args:
        graphs: the fp32 graphs that `float_graphs` returns.
        facts: the facts of the network.
        pictures: the pictures to calibrate on, [h, w, 3] uint8.
        every_layer: quantise every 3x3 convolution, whatever it costs.
        enough_db: PSNR of the worst picture against float32 at which no further layer is left in float32.
        say: called with what is tried, and with a line for each layer that is left in float32.

    Raises:
        ExportError: there are no pictures, or a range is not finite.
    """
    models: Models = {
        "context": next(graph.model for graph in graphs if graph.image == "uint8"),
        "enhance": next(graph.model for graph in graphs if graph.part == "enhance"),
    }
    in_float32 = () if every_layer else FIRST_AND_LAST
    kinds = observe_ranges(facts, models, pictures)
    expected = lights(NetworkInMemory(facts, *map(Session, models.values())), pictures)

    def reached_db(rounding: Rounding) -> float:
        return worst_db(rounding.network(facts, models), pictures, expected)

    rounding = max((Rounding(ranges, in_float32) for ranges in kinds), key=reached_db)
    means = float32_means(facts, models, pictures)
    rounding = correct_biases(facts, models, rounding, pictures, means)
    reached = reached_db(rounding)
    if not every_layer and reached < enough_db:
        layers = [
            name
            for model in models.values()
            for name in convolutions(model)
            if not name.endswith(FIRST_AND_LAST)
        ]
        say(
            f"int8 reaches {reached:.1f} dB on the worst picture and {enough_db:g} are aimed at: "
            f"finding out which of {len(layers)} layers to leave in float32, which may take minutes"
        )
        float32_layers = find_float_layers(
            lambda names: rounding.also_in_float32(names).network(facts, models),
            layers,
            pictures,
            expected,
            enough_db,
        )
        for name, with_it in float32_layers:
            say(f"int8 leaves {name.removesuffix('.weight')} in float32, which gives {with_it:.1f} dB")
        if float32_layers:
            with_layers = rounding.also_in_float32(tuple(name for name, _ in float32_layers))
            rounding = correct_biases(facts, models, with_layers, pictures, means)
            reached = reached_db(rounding)
        if reached < enough_db:
            say(
                f"int8 stays short of the {enough_db:g} dB that are aimed at on the worst calibration "
                f"picture; {TOLERANCES['int8'].min_psnr_db:g} are needed in the proof"
            )
    return [
        Graph(rounding.round_graph(graph.model, graph.part), graph.part, "int8", graph.image)
        for graph in graphs
    ]


def single_graphs(graphs: Sequence[Graph], working_size_px: int | None) -> list[Graph]:
    """Joins the split graphs of each precision to a single graph of the whole picture.

    Args:
        graphs: context and enhance graphs.
        working_size_px: long side on which the light is estimated, as `rave-run` does; None makes graphs that
            run the network on every pixel.
    """
    enhance = {graph.precision: graph.model for graph in graphs if graph.part == "enhance"}
    pairs = [(graph, enhance[graph.precision]) for graph in graphs if graph.image == "uint8"]
    if working_size_px is None:
        return [
            Graph(join_graphs(one.model, other), "whole", one.precision, one.image) for one, other in pairs
        ]
    return [
        Graph(normal_way(one.model, other, working_size_px), "normal", one.precision, one.image)
        for one, other in pairs
    ]
