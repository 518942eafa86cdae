"""Builds one graph that runs the network on every pixel of a whole image, for use in other programs.

It is put together from a bundle's context and enhance graph of any precision. Before them the pooling and
interpolation matrices are computed from the image's size, in integers and therefore exactly; after them comes
the division. Every size works, down to one pixel.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx

from rave_export.graphs.joining import FLOAT, UINT8, GraphWriter, Tensor
from rave_runtime.light.relight import LIGHT_FLOOR
from rave_train.network import BINS

IMAGE: Final = ("batch", "height", "width", 3)
LIGHT: Final = ("batch", "height", "width")


def join_graphs(context: onnx.ModelProto, enhance: onnx.ModelProto) -> onnx.ModelProto:
    """Joins a context graph (for uint8 images) and an enhance graph to a single graph of the whole image.

    Returns:
        A graph with the input `image` [n, h, w, 3] uint8, and the outputs `enhanced` [n, h, w, 3] uint8 and
        `light` [n, h, w] float32, at least 0.
    """
    graph = GraphWriter(context)
    image = graph.input("image", UINT8, IMAGE)
    doubled_light = run_network(graph, image.cast(FLOAT), context, enhance)
    light = graph.Slice(doubled_light, (0, 0), graph.Slice(graph.Shape(image), 1, 3), (1, 2))
    gains = graph.Unsqueeze(graph.Reciprocal(graph.Max(light, LIGHT_FLOOR)), 3)
    enhanced = graph.Min(image.cast(FLOAT) * gains + 0.5, 255.0).cast(UINT8)
    return graph.model(enhanced=(enhanced, UINT8, IMAGE), light=(light, FLOAT, LIGHT))


def run_network(
    graph: GraphWriter, values: Tensor, context: onnx.ModelProto, enhance: onnx.ModelProto
) -> Tensor:
    """Runs the network on a whole image.

    Args:
        graph: the graph that is written.
        values: the image, float32 [n, h, w, 3], 0 to 255.
        context: the context graph, for uint8 images.
        enhance: the enhance graph.

    Returns:
        Its light, float32 [n, h, w], axes of one pixel doubled.
    """
    shape = graph.Shape(values)
    tall, pool_rows, rows = _double_side(graph, values, shape, 1)
    window, pool_cols, cols = _double_side(graph, tall, shape, 2)
    # The joined graph casts bytes right at its input, the only place where TensorRT takes them.
    cast = next(node for node in context.graph.node if node.op_type == "Cast" and node.input[0] == "image")
    inputs = {cast.output[0]: window, "rows": pool_rows, "cols": pool_cols}
    features, pooled = graph.inline(context, "context", inputs)
    inputs = {"features": features, "pooled": pooled, "rows": rows, "cols": cols}
    (light,) = graph.inline(enhance, "enhance", inputs)
    return light


def _double_side(
    graph: GraphWriter, values: Tensor, shape: Tensor, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """An image with a side of one pixel doubled, and that side's matrices of `rave_runtime.light.tiling`.

    Returns:
        The image; the matrix that pools, [n, bins, length]; the one that interpolates, [n, length, bins].
    """
    bins = np.array([size for size in BINS for _ in range(size)])
    index = np.array([index for size in BINS for index in range(size)])
    length = shape.entry(axis)
    doubled = graph.Max(length, 2)
    pixel = graph.count_to(doubled)
    image = graph.Gather(values, graph.Min(pixel, length - 1), axis=axis)
    matrices = graph.Concat(shape.entry(0), 1, 1, axis=0)

    column = graph.Unsqueeze(pixel, 1)
    span = doubled - 1
    distance = graph.Abs(column * (bins - 1) - span * index)
    weights = graph.Max(span - distance, 0).cast(FLOAT) / span.cast(FLOAT)
    begin = doubled * index
    low, high = begin / bins, (begin + doubled + (bins - 1)) / bins
    is_inside = graph.And(graph.GreaterOrEqual(column, low), graph.Less(column, high)).cast(FLOAT)
    means = graph.Transpose(is_inside / (high - low).cast(FLOAT))
    return (
        image,
        graph.Expand(graph.Unsqueeze(means, 0), matrices),
        graph.Expand(graph.Unsqueeze(weights, 0), matrices),
    )
