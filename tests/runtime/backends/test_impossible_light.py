"""Light that is not a number, or far beyond any, fails the photograph and names the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rave_runtime import BundleError, Enhancer, PhotoError
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.photo import Photo
from rave_runtime.run.batch import Batch
from rave_runtime.run.jobs import Job
from tests.runtime.backends.changed_graphs import DEVICES, PICTURE, change, helper, onnx, replace_graph


@pytest.mark.parametrize("tile_size", [64, None])
@pytest.mark.parametrize("device", DEVICES)
def test_light_that_is_not_a_number_fails_the_photograph(
    bundle_copy: Path,
    device: str,
    tile_size: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was written as a black picture, and counted as enhanced."""
    if device == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setenv("RAVE_CACHE_DIR", str(tmp_path / "cache"))

    def spoil_all(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 4:
                values = onnx.numpy_helper.to_array(tensor)
                values = np.where(values > 0, np.float32(3e38), np.float32(-3e38))  # sums overflow
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    replace_graph(bundle_copy, "context", change("context", spoil_all))
    replace_graph(bundle_copy, "enhance", change("enhance", spoil_all))
    enhancer = Enhancer(bundle_copy, precision="fp32", device=device, working_size=None, tile_size=tile_size)
    with pytest.raises(PhotoError, match=r"computed (light that is not a number|no light at all)"):
        enhancer.enhance(np.full((100, 120, 3), 60, np.uint8))
    source, target = tmp_path / "a.png", tmp_path / "out" / "a.png"
    source.write_bytes(encode_photo(Photo(PICTURE, "PNG"), PICTURE, "PNG").content)
    (result,) = Batch(enhancer).run([Job(source, target, "a.png")])
    assert result.status == "failed"
    assert "cannot be enhanced with this model" in (result.error or "")
    assert not target.exists()


@pytest.mark.parametrize(("level", "words"), [(1e30, "far beyond 0 to 1"), (3e38, "not a number")])
@pytest.mark.parametrize("tile_size", [64, None])
def test_infinity_inside_an_8_bit_model_fails_the_photograph(
    bundle_copy: Path, tile_size: int | None, level: float, words: str
) -> None:
    """The enhance graph rounds its input to bytes, and made finite light of it."""

    def enlarge(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == "network.cond1.weight":
                values = np.where(onnx.numpy_helper.to_array(tensor) > 0, level, -level).astype(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        # Leave out the rounding behind it, as where a bundle spares the layer.
        graph = model.graph
        for node in list(graph.node):
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and "weight" not in node.input[0]:
                source, removed = node.input[0], node.output[0]
                graph.node.remove(node)
                for other in graph.node:
                    other.input[:] = [source if name == removed else name for name in other.input]

    replace_graph(bundle_copy, "context", change("context", enlarge, "int8"), "int8")
    enhancer = Enhancer(bundle_copy, precision="int8", device="cpu", working_size=None, tile_size=tile_size)
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    with pytest.raises(PhotoError, match=f"context_uint8_int8.onnx computed light that is {words}"):
        enhancer.enhance(noise)


def test_light_far_beyond_any_fails_the_photograph(bundle_copy: Path) -> None:
    """Finite numbers make a black picture too, as an 8-bit graph computes them instead of infinity."""

    def enlarge(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 4:
                values = onnx.numpy_helper.to_array(tensor)
                values = np.abs(values) * np.float32(10)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    for part in ("context", "enhance"):
        replace_graph(bundle_copy, part, change(part, enlarge))
    enhancer = Enhancer(bundle_copy, precision="fp32", device="cpu")
    with pytest.raises(PhotoError, match=r"computed light that is far beyond 0 to 1"):
        enhancer.enhance(PICTURE)


@pytest.mark.parametrize("device", DEVICES)
def test_a_graph_whose_output_has_another_shape_is_named(
    bundle_copy: Path, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told as a fault of rave-run."""
    if device == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setenv("RAVE_CACHE_DIR", str(tmp_path / "cache"))

    def shrink(model: Any) -> None:
        graph = model.graph
        last = graph.output[0].name
        for node in graph.node:
            node.output[:] = ["wide" if name == last else name for name in node.output]
        numbers = {"from": [0], "to": [-1], "axis": [2]}
        graph.initializer.extend(
            onnx.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()
        )
        graph.node.append(helper.make_node("Slice", ["wide", *numbers], [last]))

    graph = replace_graph(bundle_copy, "enhance", change("enhance", shrink))
    enhancer = Enhancer(bundle_copy, precision="fp32", device=device)
    with pytest.raises(
        BundleError, match=r"gave light of the shape \[1, 40, 49\], .* needs \[1, 40, 50\]"
    ) as caught:
        enhancer.enhance(PICTURE)
    assert graph.file in str(caught.value)
