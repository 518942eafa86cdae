"""Builds one graph that runs the network on every pixel of a whole image, for use in other programs.

It is put together from a bundle's context and enhance graph of any precision. Before them the pooling and
interpolation matrices are computed from the image's size, in integers and therefore exactly; after them comes
the division. Every size works, down to one pixel.
"""

from __future__ import annotations

from typing import Final

import onnx
from onnx import compose

from rave_export.graphs.joining import Versions, parse_part, rename_tensors, versions_of
from rave_runtime.light.relight import LIGHT_FLOOR
from rave_train.network import BINS

_BEFORE: Final = """
before ({dtype}[batch, height, width, 3] image) =>
    (float[batch, h2, w2, 3] window, float[batch, {bins}, h2] pool_rows, float[batch, {bins}, w2] pool_cols,
     float[batch, h2, {bins}] rows, float[batch, w2, {bins}] cols)
<int64[{bins}] size = {{{sizes}}}, int64[{bins}] index = {{{indices}}}, int64[1] zero = {{0}},
 int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] three = {{3}}, int64 start = {{0}}, int64 step = {{1}}>
{{
    shape = Shape (image)
    values = Cast <to = 1> (image)
    n = Slice (shape, zero, one)
    {axes}
}}
"""

_AXIS: Final = """
    {axis}_length = Slice (shape, {at}, {after})
    {axis}_most = Sub ({axis}_length, one)
    {axis}_doubled = Max ({axis}_length, two)
    {axis}_stop = Squeeze ({axis}_doubled)
    {axis}_pixel = Range (start, {axis}_stop, step)
    {axis}_source = Min ({axis}_pixel, {axis}_most)
    {target} = Gather <axis = {number}> ({image}, {axis}_source)

    {axis}_column = Unsqueeze ({axis}_pixel, one)
    {axis}_span = Sub ({axis}_doubled, one)
    {axis}_steps = Sub (size, one)
    {axis}_here = Mul ({axis}_column, {axis}_steps)
    {axis}_there = Mul (index, {axis}_span)
    {axis}_apart = Sub ({axis}_here, {axis}_there)
    {axis}_distance = Abs ({axis}_apart)
    {axis}_left = Sub ({axis}_span, {axis}_distance)
    {axis}_share = Max ({axis}_left, zero)
    {axis}_share_f = Cast <to = 1> ({axis}_share)
    {axis}_span_f = Cast <to = 1> ({axis}_span)
    {axis}_weights = Div ({axis}_share_f, {axis}_span_f)
    {axis}_weights_n = Unsqueeze ({axis}_weights, zero)
    {axis}_shape = Concat <axis = 0> (n, one, one)
    {axis}s = Expand ({axis}_weights_n, {axis}_shape)

    {axis}_begin = Mul (index, {axis}_doubled)
    {axis}_low = Div ({axis}_begin, size)
    {axis}_next = Add ({axis}_begin, {axis}_doubled)
    {axis}_round = Add ({axis}_next, {axis}_steps)
    {axis}_high = Div ({axis}_round, size)
    {axis}_from = GreaterOrEqual ({axis}_column, {axis}_low)
    {axis}_until = Less ({axis}_column, {axis}_high)
    {axis}_inside = And ({axis}_from, {axis}_until)
    {axis}_inside_f = Cast <to = 1> ({axis}_inside)
    {axis}_count = Sub ({axis}_high, {axis}_low)
    {axis}_count_f = Cast <to = 1> ({axis}_count)
    {axis}_means = Div ({axis}_inside_f, {axis}_count_f)
    {axis}_means_t = Transpose ({axis}_means)
    {axis}_means_n = Unsqueeze ({axis}_means_t, zero)
    pool_{axis}s = Expand ({axis}_means_n, {axis}_shape)
"""

_AFTER: Final = """
after (uint8[batch, height, width, 3] photo, float[batch, h2, w2] doubled_light) =>
    (uint8[batch, height, width, 3] enhanced, float[batch, height, width] light)
<int64[2] zeros = {{0, 0}}, int64[2] axes = {{1, 2}}, int64[1] last = {{3}}, float least = {{{floor}}},
 float half = {{0.5}}, float top = {{255.0}}, int64[1] one = {{1}}, int64[1] three = {{3}}>
{{
    shape = Shape (photo)
    size = Slice (shape, one, three)
    light = Slice (doubled_light, zeros, size, axes)
    safe = Max (light, least)
    gain = Reciprocal (safe)
    gains = Unsqueeze (gain, last)
    values = Cast <to = 1> (photo)
    bright = Mul (values, gains)
    rounded = Add (bright, half)
    clipped = Min (rounded, top)
    enhanced = Cast <to = 2> (clipped)
}}
"""


def join_graphs(context: onnx.ModelProto, enhance: onnx.ModelProto) -> onnx.ModelProto:
    """Joins a context graph (for uint8 images) and an enhance graph to a single graph of the whole image.

    Returns:
        A graph with the input `image` [n, h, w, 3] uint8, and the outputs `enhanced` [n, h, w, 3] uint8 and
        `light` [n, h, w] float32, at least 0. Only those that are asked for are computed.
    """
    versions = versions_of(context)
    joined = compose.merge_models(
        matrices_graph(versions, "uint8"),
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
    after = parse_part("after", _AFTER, versions, floor=LIGHT_FLOOR)
    joined = compose.merge_models(joined, after, io_map=[("enhance_light", "after_doubled_light")])
    names = {
        "before_image": "image",
        "after_photo": "image",
        "after_enhanced": "enhanced",
        "after_light": "light",
    }
    return rename_tensors(joined, names)


def without_cast(context: onnx.ModelProto) -> onnx.ModelProto:
    """A context graph that takes float32 values from 0 to 255, made from the one that takes bytes.

    The joined graph casts the bytes right at its input, the only place where TensorRT takes them.
    """
    model = onnx.ModelProto()
    model.CopyFrom(context)
    graph = model.graph
    (cast,) = [node for node in graph.node if node.op_type == "Cast" and node.input[0] == "image"]
    nodes = [node for node in graph.node if node is not cast]
    for node in nodes:
        node.input[:] = ["image" if name == cast.output[0] else name for name in node.input]
    graph.node.remove(cast)
    del graph.value_info[:]
    image = next(item for item in graph.input if item.name == "image")
    image.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model


def matrices_graph(versions: Versions, dtype: str) -> onnx.ModelProto:
    """A graph from an image to its float32 values, axes of one pixel doubled, and the matrices for its size.

    The matrices are those of `rave_runtime.light.tiling`.

    Args:
        versions: the versions of the model's format and operators.
        dtype: the dtype of the image, "uint8" or "float".
    """
    constants = {
        "dtype": dtype,
        "bins": sum(BINS),
        "sizes": ", ".join(str(size) for size in BINS for _ in range(size)),
        "indices": ", ".join(str(index) for size in BINS for index in range(size)),
    }
    places = [
        {"axis": "row", "number": 1, "at": "one", "after": "two", "image": "values", "target": "tall"},
        {"axis": "col", "number": 2, "at": "two", "after": "three", "image": "tall", "target": "window"},
    ]
    axes = "".join(_AXIS.format(**place) for place in places)
    return parse_part("before", _BEFORE, versions, axes=axes, **constants)
