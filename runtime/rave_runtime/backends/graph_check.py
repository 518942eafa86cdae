"""Checks the bytes of a bundle's graph before any library that would run the graph sees them.

Libraries that run ONNX do more than arithmetic: they open files beside the graph, read memory at an address
that the graph names, and run subgraphs and non-standard operators. A bundle needs none of that. The check
allows what rave-export writes and refuses everything else, unknown fields included.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rave_runtime.backends.onnx_model import OnnxModel
from rave_runtime.bundle import Bundle, GraphFile, NetworkFacts, TensorSpec
from rave_runtime.errors import BundleError


def read_graph(bundle: Bundle, graph: GraphFile) -> bytes:
    """Returns a graph's bytes, which are as they were exported and safe to give to a library that runs them.

    Raises:
        BundleError: the file is missing, is not the one that was exported, or holds something that no graph
            of a bundle needs.
    """
    content = bundle.read_file(graph)
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
