"""Builds one graph that does with a photograph of any size what `rave-run` does.

The light is estimated on an antialiased reduction, fitted to the picture's edges and brought back to full
size; then the picture is divided by it. The arithmetic is that of `rave_runtime.light`, with sizes and
matrices computed from the picture's shape. Only standard operators are used, none of which holds a subgraph.
Inside, pictures are planar, so that the long sides are the inner loops of every operator, and they stay bytes
while they are only moved.
"""

from __future__ import annotations

import onnx
from onnx import compose

from rave_export.graphs.development import chroma_graph, relight_graph
from rave_export.graphs.full_resolution import matrices_graph, without_cast
from rave_export.graphs.guided_light import fit_graph
from rave_export.graphs.joining import rename_tensors, versions_of
from rave_export.graphs.reduction import reduction_graph


def normal_way(context: onnx.ModelProto, enhance: onnx.ModelProto, working_size_px: int) -> onnx.ModelProto:
    """Builds the graph of the normal way from a context graph (for uint8 images) and an enhance graph.

    Args:
        context: the context graph, of any precision.
        enhance: the enhance graph, of the same precision.
        working_size_px: long side on which the light is estimated.

    Returns:
        A graph with the inputs `image` [n, h, w, 3] uint8 and `strength`, a float32 from 0 to 2, and the
        outputs `enhanced` [n, h, w, 3] uint8 and `light` [n, h, w] float32, at least 0. A runtime computes
        only the outputs that are asked for.
    """
    versions = versions_of(context)
    joined = compose.merge_models(
        reduction_graph(versions, working_size_px),
        matrices_graph(versions, "float"),
        io_map=[("reduce_small", "before_image")],
        outputs=[
            *("reduce_planes", "reduce_shape", "reduce_small", "reduce_factor_radius", "reduce_is_small"),
            "before_window",
            *("before_pool_rows", "before_pool_cols", "before_rows", "before_cols"),
        ],
    )
    joined = compose.merge_models(
        joined,
        compose.add_prefix(without_cast(context), "context_"),
        io_map=[
            ("before_window", "context_image"),
            ("before_pool_rows", "context_rows"),
            ("before_pool_cols", "context_cols"),
        ],
    )
    joined = compose.merge_models(
        joined,
        compose.add_prefix(enhance, "enhance_"),
        io_map=[
            ("context_features", "enhance_features"),
            ("context_pooled", "enhance_pooled"),
            ("before_rows", "enhance_rows"),
            ("before_cols", "enhance_cols"),
        ],
    )
    joined = compose.merge_models(
        joined,
        fit_graph(versions),
        io_map=[
            ("reduce_small", "fit_small"),
            ("enhance_light", "fit_network_light"),
            ("reduce_factor_radius", "fit_radius"),
            ("reduce_is_small", "fit_is_small"),
        ],
        outputs=[
            *("reduce_planes", "reduce_shape", "reduce_is_small"),
            *("fit_line", "fit_low", "fit_high", "fit_divisor", "fit_knee"),
        ],
    )
    joined = compose.merge_models(
        joined,
        chroma_graph(versions),
        io_map=[("reduce_planes", "chroma_planes"), ("fit_divisor", "chroma_divisor")],
        outputs=[
            *("reduce_shape", "reduce_is_small", "fit_line", "fit_low", "fit_high", "fit_knee"),
            *("chroma_padded", "chroma_colour", "chroma_brightest", "chroma_luma_raw"),
        ],
    )
    joined = compose.merge_models(
        joined,
        relight_graph(versions),
        io_map=[
            ("chroma_padded", "relight_padded"),
            ("chroma_colour", "relight_colour"),
            ("chroma_brightest", "relight_brightest"),
            ("chroma_luma_raw", "relight_luma_raw"),
            ("reduce_shape", "relight_shape"),
            ("fit_line", "relight_line"),
            ("fit_low", "relight_low"),
            ("fit_high", "relight_high"),
            ("fit_knee", "relight_knee"),
            ("reduce_is_small", "relight_is_small"),
        ],
    )
    names = {
        "reduce_image": "image",
        "fit_strength": "strength",
        "relight_enhanced": "enhanced",
        "relight_light": "light",
    }
    return rename_tensors(joined, names, shaped="relight_")
