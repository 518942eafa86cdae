"""Graphs are right at every size, not only those they were traced with."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from rave_export.graphs.variants import Graph
from rave_export.proof.parity import probe_picture, psnr_db, relit
from rave_export.proof.reference import torch_reference
from rave_runtime.bundle import Bundle
from rave_runtime.light.tiling import Span, interpolation_matrix, pooling_matrix
from rave_train.network import BINS, EnhancementNetwork

SIZES = [tuple(size) for size in np.random.default_rng(4).integers(2, 70, (40, 2)).tolist()]


def session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def matrices(height: int, width: int) -> dict[str, np.ndarray]:
    tall, wide = Span(0, height, 0, height), Span(0, width, 0, width)
    return {
        "pool_rows": pooling_matrix(height, tall, BINS)[None],
        "pool_cols": pooling_matrix(width, wide, BINS)[None],
        "rows": interpolation_matrix(height, tall, BINS)[None],
        "cols": interpolation_matrix(width, wide, BINS)[None],
    }


@pytest.mark.parametrize("image_type", ["uint8", "float32"])
def test_context_graph(network: EnhancementNetwork, fp32_graphs: list[Graph], image_type: str) -> None:
    graph = next(graph.model for graph in fp32_graphs if graph.image == image_type)
    running = session(graph.SerializeToString())
    for height, width in SIZES:
        picture = probe_picture(height, width)
        image = picture if image_type == "uint8" else picture / np.float32(255)
        m = matrices(height, width)
        features, pooled = running.run(
            None, {"image": image[None], "rows": m["pool_rows"], "cols": m["pool_cols"]}
        )
        planes = torch.from_numpy(picture.transpose(2, 0, 1)[None] / np.float32(255))
        with torch.inference_mode():
            expected = network.features(planes)
        np.testing.assert_allclose(features, expected.numpy(), atol=1e-6)
        start = 0
        for size in BINS:
            grid = torch.nn.functional.adaptive_avg_pool2d(expected, size).numpy()
            found = pooled[:, :, start : start + size, start : start + size]
            np.testing.assert_allclose(found, grid, atol=1e-6)
            start += size


def test_enhance_graph(network: EnhancementNetwork, fp32_graphs: list[Graph]) -> None:
    running = session(fp32_graphs[2].model.SerializeToString())
    rng = np.random.default_rng(5)
    for height, width in SIZES:
        inputs = {
            "features": rng.normal(0, 0.3, (2, 8, height, width)).astype(np.float32),
            "pooled": rng.normal(0, 0.3, (2, 8, 12, 12)).astype(np.float32),
            **{key: np.repeat(matrices(height, width)[key], 2, 0) for key in ("rows", "cols")},
        }
        (light,) = running.run(None, inputs)
        with torch.inference_mode():
            expected = network.illuminate(*map(torch.from_numpy, inputs.values()))
        np.testing.assert_allclose(light, expected[:, 0].numpy(), atol=1e-6)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("fp16", 2e-3)])
def test_single_graph(
    exported: Bundle, network: EnhancementNetwork, precision: str, tolerance: float
) -> None:
    graph = exported.manifest.graph("whole", precision, "uint8")  # type: ignore[arg-type]
    running = session(exported.read_file(graph))
    reference = torch_reference(network)
    rng = np.random.default_rng(6)
    for height, width in [*SIZES, (1, 1), (1, 37), (40, 1), (2, 2), (97, 131)]:
        picture = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        enhanced, light = running.run(["enhanced", "light"], {"image": picture[None]})
        expected = reference.light(picture)
        np.testing.assert_allclose(light[0], expected, atol=tolerance)
        assert enhanced.dtype == np.uint8
        if precision == "fp32":
            apart = enhanced[0].astype(int) - relit(picture, expected)
            assert np.abs(apart).max() <= 1
            assert np.count_nonzero(apart) < 5


def test_single_graph_takes_batches(exported: Bundle) -> None:
    running = session(exported.read_file(exported.manifest.graph("whole", "fp32", "uint8")))
    pictures = np.stack([probe_picture(31, 45, seed) for seed in range(3)])
    (together,) = running.run(["enhanced"], {"image": pictures})
    for picture, enhanced in zip(pictures, together, strict=True):
        (alone,) = running.run(["enhanced"], {"image": picture[None]})
        noise = psnr_db(enhanced, alone[0])
        assert noise is None or noise > 70


def test_single_graph_never_divides_by_zero(fp32_graphs: list[Graph]) -> None:
    from rave_export.graphs.variants import single_graphs

    (graph,) = single_graphs(fp32_graphs, None)
    for tensor in graph.model.graph.initializer:
        if tensor.name.endswith("cond_add1.bias"):
            tensor.CopyFrom(onnx_constant(tensor.name, -9.0))
    running = session(graph.model.SerializeToString())
    picture = np.zeros((8, 9, 3), np.uint8)
    picture[2:, :, 1] = 1
    enhanced, light = running.run(["enhanced", "light"], {"image": picture[None]})
    assert (light == 0).all()
    assert (enhanced[0] == picture * 255).all()


def onnx_constant(name: str, value: float) -> object:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.full(1, value, np.float32), name)
