"""Checks the bytes of a bundle's graph before any library that would run the graph sees them.

Libraries that run ONNX do more than arithmetic: they open files beside the graph, read memory at an address
that the graph names, and run subgraphs and non-standard operators. A bundle needs none of that. The check
allows what rave-export writes and refuses everything else, unknown fields included. It also follows the sizes
of all tensors for a small and a very large picture, since a graph of a hundred bytes can ask for any amount
of memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from rave_runtime.backends.onnx_model import OnnxModel
from rave_runtime.bundle import Bundle, GraphFile, NetworkFacts, TensorSpec, embedded_bundle
from rave_runtime.errors import BundleError

_PICTURES: Final = ((2, 127, 131), (61, 131, 1_000_003), (61, 1_000_003, 131))
"""Count, height and width of the pictures for which a graph's tensors are followed, all of them primes. Fixed
sizes show in the small ones; in the wide and in the tall ones, whatever grows faster than a picture does."""

_MAX_PEAK_VALUES: Final = (12, 64)
"""Most values that exist at once, per pixel, for each channel of the network and besides. Exported graphs
have 6 for each channel, or 8 in very small networks."""

_MAX_VALUES: Final = (200, 400)
"""The same for all tensors together, which no runtime keeps all. Exported graphs have 20 to 135 for each
channel."""

_MAX_VALUES_OF_PICTURE: Final = (300, 800)
"""The same for graphs of a whole picture. Exported graphs have 70 to 255 for each channel."""

_MAX_PRODUCTS: Final = (600, 1000)
"""Most products of convolutions and matrices per pixel, for each pair of channels and besides for each one.
Exported graphs have 37 to 285 for each pair. It does not bind graphs of a whole picture, whose means over
windows are products with matrices as large as the working size."""


def read_graph(bundle: Bundle, graph: GraphFile) -> bytes:
    """Returns a graph's bytes, which are as they were exported and safe to give to a library that runs them.

    The embedded model is not checked at every start, since whoever could change it could change this program
    as well.

    Raises:
        BundleError: the file is missing, is not the one that was exported, or holds something that no graph
            of a bundle needs.
    """
    content = bundle.read_file(graph)
    if bundle.folder == embedded_bundle():
        return content
    try:
        check_graph(content, graph, bundle.manifest.network)
    except ValueError as error:
        raise BundleError(
            f"{bundle.folder / graph.file} cannot be loaded: {error}; "
            "use a bundle that rave-export made, or export it again"
        ) from error
    return content


def check_graph(content: bytes, graph: GraphFile, network: NetworkFacts) -> None:
    """Refuses a graph that holds more than arithmetic of the known kind, or other tensors than declared.

    Args:
        content: bytes of the ONNX file.
        graph: what the manifest says of it.
        network: what the manifest says of the network.

    Raises:
        ValueError: the message says what the graph holds that it must not.
    """
    _check_declaration(graph, network)
    model = OnnxModel(whole_picture=graph.part in ("normal", "whole"))
    model.read(memoryview(content))
    for kind, actual, declared in (
        ("inputs", set(model.inputs), set(graph.inputs)),
        ("outputs", set(model.outputs), set(graph.outputs)),
    ):
        if actual != declared:
            raise ValueError(
                f"its {kind} are not what the manifest declares: "
                f"it has {_list(actual - declared)} where the manifest has {_list(declared - actual)}"
            )
    _check_growth(model, graph, network)


def _check_growth(model: OnnxModel, graph: GraphFile, network: NetworkFacts) -> None:
    """Refuses a graph whose tensors are larger, or take more work, than those of any network of its width."""
    channels = network.channels
    values = _MAX_VALUES_OF_PICTURE if model.whole_picture else _MAX_VALUES
    for count, height, width in _PICTURES:
        growth = model.growth(_input_shapes(graph, network, count, height, width))
        pixels = count * height * width
        for needed, limit, what in (
            (growth.peak_values, _limit(_MAX_PEAK_VALUES, channels), "values at once"),
            (growth.values, _limit(values, channels), "values"),
            (growth.products, _limit(_MAX_PRODUCTS, channels) * channels, "products"),
        ):
            if needed > limit * pixels and not (what == "products" and model.whole_picture):
                raise ValueError(
                    f"it computes {needed // pixels} {what} for each pixel of {count} x {height} x {width}, "
                    f"the graphs of a network of {channels} channels need fewer than {limit}"
                )


def _limit(per_channel_and_besides: tuple[int, int], channels: int) -> int:
    per_channel, besides = per_channel_and_besides
    return per_channel * channels + besides


def _input_shapes(
    graph: GraphFile, network: NetworkFacts, count: int, height: int, width: int
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a graph's inputs for pictures of a size."""
    bins = sum(network.bins)
    if graph.part == "enhance":
        return {
            "features": (count, network.channels, height, width),
            "pooled": (count, network.channels, bins, bins),
            "rows": (count, height, bins),
            "cols": (count, width, bins),
        }
    image = {"image": (count, height, width, 3)}
    if graph.part == "context":
        return image | {"rows": (count, bins, height), "cols": (count, bins, width)}
    return image | {"strength": ()}


def expected_tensors(graph: GraphFile, network: NetworkFacts) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Returns the inputs and outputs that a graph of its part has; "*" stands for any dtype or any axis."""
    if graph.part in ("normal", "whole"):
        picture = TensorSpec("image", graph.image or "*", ("*", "*", "*", 3))
        strength = [TensorSpec("strength", "float32", ())] if graph.part == "normal" else []
        results = [replace(picture, name="enhanced"), TensorSpec("light", "float32", ("*", "*", "*"))]
        return [picture, *strength], results
    channels, bins = network.channels, sum(network.bins)
    features = TensorSpec("features", "*", ("*", channels, "*", "*"))
    pooled = TensorSpec("pooled", "float32", ("*", channels, bins, bins))
    if graph.part == "context":
        image = TensorSpec("image", graph.image or "*", ("*", "*", "*", 3))
        matrices = [TensorSpec(name, "float32", ("*", bins, "*")) for name in ("rows", "cols")]
        return [image, *matrices], [features, pooled]
    matrices = [TensorSpec(name, "float32", ("*", "*", bins)) for name in ("rows", "cols")]
    return [features, pooled, *matrices], [TensorSpec("light", "float32", ("*", "*", "*"))]


def _check_declaration(graph: GraphFile, network: NetworkFacts) -> None:
    """Compares what the manifest declares of a graph with what its part must take and give."""
    for kind, expected, declared in zip(
        ("inputs", "outputs"), expected_tensors(graph, network), (graph.inputs, graph.outputs), strict=True
    ):
        by_name = {spec.name: spec for spec in declared}
        fits = len(by_name) == len(declared) == len(expected) and all(
            spec.name in by_name and _fits(by_name[spec.name], spec) for spec in expected
        )
        if not fits:
            raise ValueError(
                f"the manifest declares {kind} {_list(declared)}, "
                f"the {graph.part} graph of this network has {_list(expected)}"
            )


def _fits(declared: TensorSpec, expected: TensorSpec) -> bool:
    return (
        expected.dtype in ("*", declared.dtype)
        and len(declared.shape) == len(expected.shape)
        and all(
            isinstance(axis, str) if size == "*" else axis == size
            for axis, size in zip(declared.shape, expected.shape, strict=True)
        )
    )


def _list(specs: Iterable[TensorSpec]) -> str:
    texts = sorted(f"{spec.name} {spec.dtype} [{', '.join(map(str, spec.shape))}]" for spec in specs)
    return "; ".join(texts)[:300] or "nothing"
