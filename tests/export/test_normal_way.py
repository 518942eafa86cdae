"""The graph of the normal way equals what the runtime does, at every size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from rave_export.bundles import Contents, export_bundle
from rave_export.errors import ExportError
from rave_export.graphs.guided_light import fit_light
from rave_export.graphs.joining import FLOAT, INT64, GraphWriter
from rave_export.graphs.normal_way import normal_way
from rave_export.graphs.variants import Graph
from rave_export.proof.normal_way import built_in_pictures, compare_normal_way
from rave_export.proof.parity import over_tolerance, probe_picture, psnr_db
from rave_export.proof.report import prove_bundle
from rave_runtime import Enhancer
from rave_runtime.bundle import Bundle, Precision, embedded_bundle, read_bundle
from rave_runtime.light.look import Look, divisor_of, guard_black, guard_white, without_unseen
from rave_train.checkpoint import Checkpoint
from rave_train.network import EnhancementNetwork
from tests.export.conftest import few_proof_pictures

SIZE_PX = 64
RANDOM = [tuple(map(int, pair)) for pair in np.random.default_rng(7).integers(1, 420, (34, 2))]
SIZES = [*RANDOM, (1, 1), (1, 300), (300, 1), (64, 64), (65, 64), (128, 128)]


def session(content: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def normal(
    network: EnhancementNetwork,
    exports: Callable[..., list[Graph]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    folder = tmp_path_factory.mktemp("normal") / "tiny"
    contents = Contents(fp16=True, single_graph="normal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rave_export.bundles.float_graphs", exports)
        export_bundle(Checkpoint(network, {}), folder, contents, working_size_px=SIZE_PX)
    return read_bundle(folder)


@pytest.fixture(scope="module")
def running(normal: Bundle) -> Any:
    return session(normal.read_file(normal.manifest.graph("normal", "fp32", "uint8")))


@pytest.mark.parametrize("stops", [0.05, 0.12, 0.15, 0.19, 0.3])
@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_what_nobody_sees_is_left_out_as_in_the_runtime(stops: float, strength: float) -> None:
    rng = np.random.default_rng(4)
    small = rng.integers(40, 256, (2, 30, 40, 3)).astype(np.float32)
    light = np.exp2(-stops + rng.normal(0, stops / 9, (2, 30, 40))).astype(np.float32)
    light[1] = 0.4  # of the batch, the other photograph has a light of its own
    inputs = {"small": small, "network_light": light, "strength": np.array(strength, np.float32)}
    inputs |= {"radius": np.array([2]), "is_small": np.array(1, np.float32)}
    like = onnx.ModelProto(ir_version=10, opset_import=[onnx.helper.make_opsetid("", 21)])
    graph = GraphWriter(like)
    tensors = {
        name: graph.input(name, INT64 if name == "radius" else FLOAT, value.shape)
        for name, value in inputs.items()
    }
    divisor = fit_light(graph, **tensors).divisor
    fit = session(graph.model(divisor=(divisor, FLOAT, ("n", 1, "h2", "w2"))).SerializeToString())
    (found,) = fit.run(["divisor"], inputs)
    for i, each in enumerate(light):
        pixels = small[i] / 255
        white = guard_white(divisor_of(without_unseen(each), Look(strength)), pixels)
        expected = guard_black(white, pixels)
        np.testing.assert_allclose(found[i, 0], expected, rtol=2e-5)


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    """A view of a real photograph, reduced or enlarged."""
    example = sorted((Path(__file__).parents[2] / "examples").glob("*.jpg"))[0]
    image = Image.open(example, formats=["JPEG"]).convert("RGB")
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def enhancers(normal: Bundle) -> list[Enhancer]:
    """Of several strengths."""
    return [
        Enhancer(normal.folder, device="cpu", precision="fp32", strength=strength, threads=1)
        for strength in (0.0, 0.5, 1.0, 1.7)
    ]


@pytest.mark.parametrize("strength", [1.0, 1.7])
@pytest.mark.parametrize("size", [(200, 300), (60, 40)])
def test_a_frame_is_left_out_as_in_the_runtime(
    normal: Bundle, running: Any, size: tuple[int, int], strength: float
) -> None:
    pictures = np.stack([photograph(*size)] * 4)
    pictures[0, :12] = pictures[0, -25:] = pictures[0, :, :9] = pictures[0, :, -9:] = 235, 225, 200
    pictures[0, [5, 50], [30, 4]] = pictures[0, -1] = 40  # dust, and a line of the scanner's lid
    pictures[1, :12] = pictures[1, -19:] = pictures[1, :, :9] = 235  # not on the fourth side
    pictures[3, :, :9] = pictures[3, :, -12:] = 250  # bars
    inputs = {"image": pictures, "strength": np.array(strength, np.float32)}
    (enhanced,) = running.run(["enhanced"], inputs)
    enhancer = Enhancer(normal.folder, device="cpu", precision="fp32", strength=strength, threads=1)
    steps = np.abs(enhanced.astype(int) - np.stack([enhancer.enhance(picture) for picture in pictures]))
    assert (steps <= 1).mean() >= 0.999


def test_drawings_stay_as_in_the_runtime(normal: Bundle, running: Any) -> None:
    """Three pictures of which 100, 42 and 20 percent are of one colour."""
    pictures = np.stack([photograph(128, 192)] * 3)
    for picture, width in zip(pictures, (192, 82, 40), strict=True):
        picture[:, :width] = 30
    inputs = {"image": pictures, "strength": np.array(1, np.float32)}
    (lights,) = running.run(["light"], inputs)
    enhancer = Enhancer(normal.folder, device="cpu", precision="fp32", threads=1)
    for light, picture in zip(lights, pictures, strict=True):
        np.testing.assert_allclose(light, enhancer.illumination(picture), atol=0.02)
    assert (lights[0] == 1).all()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_size_gives_what_the_runtime_gives(
    enhancers: list[Enhancer], running: Any, height: int, width: int
) -> None:
    picture = photograph(height, width)
    enhancer = enhancers[(height + width) % 4]
    inputs = {"image": picture[None], "strength": np.array(enhancer.strength, np.float32)}
    enhanced, light = running.run(["enhanced", "light"], inputs)
    expected = enhancer.enhance(picture)
    assert enhanced.shape == (1, height, width, 3)
    steps = np.abs(enhanced[0].astype(int) - expected)
    assert (steps <= 1).mean() >= 0.999
    assert (psnr_db(enhanced[0], expected) or 99) >= 55
    assert light.shape == (1, height, width)
    np.testing.assert_allclose(light[0], enhancer.illumination(picture), atol=0.02)


def test_the_embedded_model_on_a_photograph(tmp_path: Path) -> None:
    bundle = read_bundle(embedded_bundle())
    size_px = bundle.manifest.working_size_px
    assert size_px is not None
    context, enhance = (
        onnx.load_model_from_string(bundle.read_file(graph))
        for graph in (
            bundle.manifest.graph("context", "fp32", "uint8"),
            bundle.manifest.graph("enhance", "fp32"),
        )
    )
    running = session(normal_way(context, enhance, size_px).SerializeToString())
    enhancer = Enhancer(device="cpu", precision="fp32", threads=1)
    for height, width in ((811, 1003), (640, 427)):
        picture = photograph(height, width)
        inputs = {"image": picture[None], "strength": np.array(1, np.float32)}
        (enhanced,) = running.run(["enhanced"], inputs)
        expected = enhancer.enhance(picture)
        assert (np.abs(enhanced[0].astype(int) - expected) <= 1).mean() >= 0.999
        assert (psnr_db(enhanced[0], expected) or 99) >= 55


@pytest.mark.parametrize("size", [(8, 8), (45, 130), (150, 97)])
def test_openvino_gives_the_same_in_float32(normal: Bundle, running: Any, size: tuple[int, int]) -> None:
    openvino = pytest.importorskip("openvino")
    file = normal.folder / normal.manifest.graph("normal", "fp32", "uint8").file
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    inputs = {"image": photograph(*size)[None], "strength": np.array(1, np.float32)}
    expected, light = running.run(None, inputs)
    found = compiled(inputs)
    assert np.abs(found["enhanced"].astype(int) - expected).max() <= 1
    assert np.abs(found["light"] - light).max() < 1e-3


def test_a_batch_is_its_pictures(running: Any) -> None:
    pictures = np.stack([photograph(90, 140), photograph(90, 140)[::-1], probe_picture(90, 140)])
    inputs = {"image": pictures, "strength": np.array(1, np.float32)}
    together = running.run(None, inputs)
    for index in range(3):
        apart = running.run(None, {**inputs, "image": pictures[index : index + 1]})
        for one, other in zip(together, apart, strict=True):
            np.testing.assert_allclose(one[index].astype(float), other[0], atol=1e-5)


def test_only_standard_operators_and_bytes_are_needed(normal: Bundle) -> None:
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    for precision in precisions:
        graph = normal.manifest.graph("normal", precision, "uint8")
        model = onnx.load_model_from_string(normal.read_file(graph))
        assert [item.domain for item in model.opset_import] == [""]
        assert not any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute)
        assert [(spec.name, spec.dtype, len(spec.shape)) for spec in (*graph.inputs, *graph.outputs)] == [
            ("image", "uint8", 4),
            ("strength", "float32", 0),
            ("enhanced", "uint8", 4),
            ("light", "float32", 3),
        ]


def test_it_is_measured_and_proven(normal: Bundle) -> None:
    rows = [row for row in normal.manifest.parity if row.label.startswith("normal way")]
    assert {row.precision for row in rows} == {"fp32", "fp16"}
    assert all(over_tolerance(row) is None for row in rows)
    assert max(row.height_px for row in rows) > SIZE_PX
    proof = prove_bundle(normal)
    assert proof.failures == ()
    assert {part.status for part in proof.parts if part.file.startswith("normal")} == {"proven"}


def test_a_graph_that_does_something_else_is_refused(normal: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    darker = Enhancer.enhance

    def enhance(enhancer: Enhancer, image: Any) -> Any:
        return darker(enhancer, image) // 2

    monkeypatch.setattr(Enhancer, "enhance", enhance)
    found = [comparison.failure for comparison in compare_normal_way(normal)]
    assert all(failure and "of the values are within one step of rave-run's" in failure for failure in found)
    proof = prove_bundle(normal)
    assert {part.status for part in proof.parts if part.file.startswith("normal")} == {"wrong"}
    assert "wrong" not in {part.status for part in proof.parts if not part.file.startswith("normal")}
    assert proof.summary().startswith(f"FAILED: {len(found)} of ")


def test_eight_bits_that_only_the_normal_way_spoils_are_left_out(
    network: EnhancementNetwork,
    exports: Callable[..., list[Graph]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole export failed instead, after minutes."""
    original = Enhancer.enhance

    def enhance(enhancer: Enhancer, image: Any) -> Any:
        return original(enhancer, image) // (2 if enhancer.precision == "int8" else 1)

    monkeypatch.setattr("rave_export.bundles.float_graphs", exports)
    monkeypatch.setattr(
        "rave_export.bundles.int8_graphs",
        lambda graphs, *_, **__: [replace(graph, precision="int8") for graph in graphs],
    )
    monkeypatch.setattr(Enhancer, "enhance", enhance)
    monkeypatch.setattr("rave_export.bundles.proof_pictures", few_proof_pictures)
    contents = Contents(int8=True, calibration=few_proof_pictures()[:1], single_graph="normal")
    made = export_bundle(Checkpoint(network), tmp_path / "b", contents, working_size_px=SIZE_PX)
    assert made.manifest.precisions() == ("fp32",)
    assert any("within one step of rave-run's" in failure for failure in made.left_out["int8"])


@pytest.mark.parametrize("size_px", [64, 1024])
def test_the_built_in_pictures_stay_small_beside_a_large_working_size(normal: Bundle, size_px: int) -> None:
    """At 2048 px they took 4 GB, and their enhancement more: they grew with the square of the size."""
    large = Bundle(normal.folder, replace(normal.manifest, working_size_px=size_px))
    pictures = built_in_pictures(large)
    assert max(picture.size for picture in pictures) <= (4 * size_px + 3) * 1536 * 3
    assert any(max(picture.shape) > 4 * size_px for picture in pictures)


def test_full_size_has_no_normal_way(network: EnhancementNetwork, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"give --working-size as well, or --single-graph full"):
        export_bundle(
            Checkpoint(network), tmp_path / "b", Contents(single_graph="normal"), working_size_px=None
        )
    assert list(tmp_path.iterdir()) == []
