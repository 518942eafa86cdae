"""Whether a graph file is what a bundle may hold: standard operators, and every weight inside."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from rave_export.errors import ExportError
from rave_runtime.bundle import GraphFile, TensorSpec


def require_sound(content: bytes, graph: GraphFile) -> None:
    """Refuses a graph that reaches outside its file, or that is not what the manifest describes.

    A weight kept outside its graph is read from wherever the graph says, unchecked by any hash, and some
    runtimes take such a place for an address in memory.

    Args:
        content: the ONNX file.
        graph: what the manifest says of it.

    Raises:
        ExportError: the file is not ONNX, keeps data outside itself, holds functions, subgraphs or operators
            that are not ONNX's own, or has other inputs or outputs than the manifest says.
    """
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors share no base
        raise ExportError(f"{graph.file} is not an ONNX graph: export the bundle again") from error
    outside = sorted({tensor.name for tensor in _tensors(model) if tensor.data_location == tensor.EXTERNAL})
    if outside:
        raise ExportError(
            f"{graph.file} keeps {outside[0]} outside its file, where no hash covers it: "
            "use a bundle that rave-export made"
        )
    foreign = sorted({node.domain for node in model.graph.node if node.domain not in ("", "ai.onnx")})
    nested = any(
        attribute.HasField("g") or attribute.graphs
        for node in model.graph.node
        for attribute in node.attribute
    )
    if foreign or nested or model.functions:
        what = f"operators of {foreign[0]}" if foreign else "graphs inside the graph"
        raise ExportError(f"{graph.file} holds {what}, which no bundle needs: export it again")
    declared = [(spec.name, spec.dtype, len(spec.shape)) for spec in (*graph.inputs, *graph.outputs)]
    found = [
        (spec.name, spec.dtype, len(spec.shape))
        for spec in map(describe_tensor, (*model.graph.input, *model.graph.output))
    ]
    if declared != found:
        raise ExportError(
            f"{graph.file} has other inputs or outputs than the manifest says: export the bundle again"
        )


def describe_tensor(value: onnx.ValueInfoProto) -> TensorSpec:
    """An input or output of a graph, as the manifest describes it."""
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorSpec(
        value.name, dtype, tuple(size.dim_param or int(size.dim_value) for size in tensor.shape.dim)
    )


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every constant of a graph: initializers, and those in the attributes of its nodes."""
    yield from model.graph.initializer
    for item in model.graph.sparse_initializer:
        yield from (item.values, item.indices)
    for node in model.graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
