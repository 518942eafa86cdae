"""Rewrites a tiling graph without matrix products, for TensorRT for RTX on Turing (RTX 20, GTX 16, T4).

On Turing it cannot multiply float32 matrices: "Cannot compile operation 'node_matmul' for Turing (SM75): FP32
GEMM is not supported" (1.7.1). The product of a [.., m, k] and b [.., k, n] is therefore written out as the
sum over k of a [.., m, k, 1] times b [.., 1, k, n]. For other GPUs graphs stay as they are, since a runtime
that computes this literally needs the memory of all [.., m, k, n] products.

Source of the operators: https://onnx.ai/onnx/operators (Unsqueeze 13, ReduceSum 13).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from rave_runtime.backends.onnx_wire import WireReader, write_field

_MODEL_GRAPH, _MODEL_OPSET, _OPSET_DOMAIN, _OPSET_VERSION = 7, 8, 1, 2
_GRAPH_NODE, _GRAPH_WEIGHTS = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INTEGER, _ATTRIBUTE_KIND, _KIND_INTEGER = 1, 3, 20, 2
_TENSOR_DIMS, _TENSOR_DTYPE, _TENSOR_NAME, _TENSOR_RAW, _INT64 = 1, 2, 8, 9, 7

_OLDEST_OPSET: Final = 13
"""The first opset in which the axes of Unsqueeze and ReduceSum are inputs."""

_AXES: Final = {"last": -1, "third_last": -3, "second_last": -2}
_PREFIX: Final = "without_matmul_"


def without_matrix_products(content: bytes) -> bytes:
    """Replaces every MatMul of a graph by Unsqueeze, Unsqueeze, Mul and ReduceSum; the rest stays as it is.

    Args:
        content: the bytes of an ONNX file whose matrix products have factors of at least two axes.

    Returns:
        The bytes of the rewritten ONNX file.

    Raises:
        ValueError: the bytes are not an ONNX file, or it uses an opset before 13.
    """
    wire = WireReader()
    rewritten = bytearray()
    for item in wire.fields(memoryview(content)):
        if item.number == _MODEL_GRAPH:
            graph = b"".join(_rewrite_graph(wire, item.content))
            rewritten += write_field(_MODEL_GRAPH, graph)
            continue
        if item.number == _MODEL_OPSET:
            _check_opset(wire, item.content)
        rewritten += write_field(item.number, item.content if item.integer is None else item.integer)
    return bytes(rewritten)


def _check_opset(wire: WireReader, content: memoryview) -> None:
    fields = {item.number: item for item in wire.fields(content)}
    domain = bytes(fields[_OPSET_DOMAIN].content) if _OPSET_DOMAIN in fields else b""
    version = (fields[_OPSET_VERSION].integer or 0) if _OPSET_VERSION in fields else 0
    if domain in (b"", b"ai.onnx") and version < _OLDEST_OPSET:
        raise ValueError(f"it uses opset {version}, {_OLDEST_OPSET} or newer is needed: export it again")


def _rewrite_graph(wire: WireReader, graph: memoryview) -> Iterator[bytes]:
    """Yields the fields of the rewritten graph; its nodes stay in an order in which they can be computed."""
    products = 0
    for item in wire.fields(graph):
        if item.number == _GRAPH_NODE:
            product = _factors(wire, item.content)
            if product is not None:
                yield from _sum_of_products(products, *product)
                products += 1
                continue
        yield write_field(item.number, item.content if item.integer is None else item.integer)
    if products:
        for name, axis in _AXES.items():
            yield write_field(_GRAPH_WEIGHTS, _axis(name, axis))


def _factors(wire: WireReader, node: memoryview) -> tuple[bytes, bytes, bytes] | None:
    """Returns the names of both inputs and of the output of a matrix product; None for other nodes."""
    inputs, outputs, operator = [], [], b""
    for item in wire.fields(node):
        if item.number == _NODE_INPUT:
            inputs.append(bytes(item.content))
        elif item.number == _NODE_OUTPUT:
            outputs.append(bytes(item.content))
        elif item.number == _NODE_OPERATOR:
            operator = bytes(item.content)
    return (inputs[0], inputs[1], outputs[0]) if operator == b"MatMul" else None


def _sum_of_products(index: int, a: bytes, b: bytes, result: bytes) -> Iterator[bytes]:
    """Yields the nodes that take the place of one matrix product."""
    prefix = f"{_PREFIX}{index}_"
    columns, rows, products = (f"{prefix}{name}".encode() for name in ("columns", "rows", "products"))
    yield _node("Unsqueeze", (a, f"{_PREFIX}last".encode()), columns)
    yield _node("Unsqueeze", (b, f"{_PREFIX}third_last".encode()), rows)
    yield _node("Mul", (columns, rows), products)
    yield _node("ReduceSum", (products, f"{_PREFIX}second_last".encode()), result, keepdims=0)


def _node(operator: str, inputs: tuple[bytes, ...], output: bytes, **integers: int) -> bytes:
    """Returns a node as a field of its graph."""
    content = b"".join(write_field(_NODE_INPUT, name) for name in inputs)
    content += write_field(_NODE_OUTPUT, output) + write_field(_NODE_NAME, b"node_" + output + b"_sum")
    content += write_field(_NODE_OPERATOR, operator.encode())
    for name, value in integers.items():
        attribute = write_field(_ATTRIBUTE_NAME, name.encode()) + write_field(_ATTRIBUTE_INTEGER, value)
        content += write_field(_NODE_ATTRIBUTE, attribute + write_field(_ATTRIBUTE_KIND, _KIND_INTEGER))
    return write_field(_GRAPH_NODE, content)


def _axis(name: str, axis: int) -> bytes:
    """Returns an axis as the message of a tensor of weights, [1] int64."""
    content = write_field(_TENSOR_DIMS, 1) + write_field(_TENSOR_DTYPE, _INT64)
    content += write_field(_TENSOR_NAME, f"{_PREFIX}{name}".encode())
    return content + write_field(_TENSOR_RAW, struct.pack("<q", axis))
