"""Builds one graph that does with a photograph of any size what `rave-run` does.

The light is estimated on an antialiased reduction, fitted to the picture's edges and brought back to full
size; then the picture is divided by it. The arithmetic is that of `rave_runtime.light`, with sizes and
matrices computed from the picture's shape. Only standard operators are used, none of which holds a subgraph.
Inside, pictures are planar, so that the long sides are the inner loops of every operator, and they stay bytes
while they are only moved.
"""

from __future__ import annotations

import onnx

from rave_export.graphs.development import relight, smooth_colours
from rave_export.graphs.full_resolution import IMAGE, LIGHT, run_network
from rave_export.graphs.guided_light import fit_light, hide_frame, photograph_share
from rave_export.graphs.joining import FLOAT, UINT8, GraphWriter
from rave_export.graphs.reduction import reduce_image


def normal_way(context: onnx.ModelProto, enhance: onnx.ModelProto, working_size_px: int) -> onnx.ModelProto:
    """Builds the graph of the normal way from a context graph (for uint8 images) and an enhance graph.

    Args:
        context: the context graph, of any precision.
        enhance: the enhance graph, of the same precision.
        working_size_px: long side on which the light is estimated.

    Returns:
        A graph with the inputs `image` [n, h, w, 3] uint8 and `strength`, a float32 from 0 to 2, and the
        outputs `enhanced` [n, h, w, 3] uint8 and `light` [n, h, w] float32, at least 0.
    """
    graph = GraphWriter(context)
    image = graph.input("image", UINT8, IMAGE)
    strength = graph.input("strength", FLOAT, ())
    planes, small, radius, is_small = reduce_image(graph, image, working_size_px)
    shown, hidden, kept = hide_frame(graph, small)
    seen_light = run_network(graph, shown, context, enhance)
    nearer = (seen_light - 1.0) * kept + 1.0
    framed_light = graph.Where(hidden, nearer, graph.Min(seen_light, nearer))
    network_light = (framed_light - 1.0) * photograph_share(graph, small) + 1.0
    fitted = fit_light(graph, small, network_light, strength, radius, is_small)
    smoothed = smooth_colours(graph, planes, fitted.divisor)
    enhanced, light = relight(graph, planes, smoothed, fitted, is_small)
    return graph.model(enhanced=(enhanced, UINT8, IMAGE), light=(light, FLOAT, LIGHT))
