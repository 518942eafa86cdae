"""A bundle with a planted fault does not pass."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rave_export.errors import ExportError
from rave_export.proof.parity import (
    Case,
    Reference,
    SplitGraphs,
    measure_parity,
    over_tolerance,
    probe_cases,
    probe_picture,
)
from rave_export.proof.reference import torch_reference
from rave_export.proof.report import prove_bundle
from rave_export.proof.verify import (
    graph_reference,
    halo_failures,
    measure_bundle,
    present_devices,
    read_reference,
)
from rave_runtime.backends.devices import DEVICES, choose_device
from rave_runtime.backends.onnx_network import OnnxNetwork
from rave_runtime.bundle import Bundle, Parity, read_bundle, write_manifest
from rave_runtime.errors import BundleError
from rave_runtime.light.tiling import Span, interpolation_matrix, pooling_matrix
from rave_train.checkpoint import save_checkpoint
from rave_train.network import EnhancementNetwork
from tests.export.conftest import FEW, with_plan


@pytest.fixture
def reference(network: EnhancementNetwork) -> Reference:
    return torch_reference(network)


def failures(rows: list[Parity]) -> list[str]:
    return [failure for failure in map(over_tolerance, rows) if failure]


def split(bundle: Bundle, precision: Any = "fp32") -> SplitGraphs:
    device = choose_device("cpu")
    return SplitGraphs(OnnxNetwork(bundle, precision, device), precision, device.provider)


def test_a_sound_bundle_passes_on_every_provider_without_its_checkpoint(
    exported: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all cases, of which other tests run few."""
    monkeypatch.setattr("rave_export.proof.verify.DEVICES", DEVICES)
    monkeypatch.setattr("rave_export.proof.verify.probe_cases", probe_cases)
    rows = measure_bundle(exported, None, [probe_picture(90, 70, seed=9)])
    for device in present_devices():
        measured = {row.precision for row in rows if row.provider == device.provider}
        assert measured == {"fp32", "fp16", "int8"}, device
    assert failures(rows) == []
    assert {row.reference for row in rows} == {"float32 graphs, whole image"}
    assert any(row.label == "given" for row in rows)


def test_mixed_batches_are_split_between_pictures(exported: Bundle, reference: Reference) -> None:
    (case,) = [case for case in FEW if case.label == "mixed batch"]
    assert len({picture.shape for picture in case.pictures}) == 2
    assert failures(measure_parity([split(exported)], reference, [case])) == []


@pytest.mark.parametrize("halo_px", [5, 9])
def test_a_wrong_halo_fails(bundle: Bundle, reference: Reference, halo_px: int) -> None:
    facts = replace(bundle.manifest.network, halo_px=halo_px)
    wrong = Bundle(bundle.folder, replace(bundle.manifest, network=facts))
    assert failures(measure_parity([split(wrong)], reference, FEW))


@pytest.mark.parametrize(("name", "value"), [("context_halo_px", 4), ("context_halo_px", 2), ("halo_px", 16)])
def test_a_halo_that_is_too_small_by_a_pixel_is_found(exported: Bundle, name: str, value: int) -> None:
    """Whose effect on these weights is far below the tolerance of pictures."""
    assert halo_failures(exported) == []
    facts = exported.manifest.network
    facts = replace(facts, halo_px=value) if name == "halo_px" else replace(facts, context_halo_px=value)
    wrong = Bundle(exported.folder, replace(exported.manifest, network=facts))
    found = halo_failures(wrong)
    assert any(sentence.startswith(f"{name} is {value} in the manifest") for sentence in found)


def test_a_wide_halo_is_only_slow(exported: Bundle) -> None:
    facts = replace(exported.manifest.network, context_halo_px=7, halo_px=20)
    assert halo_failures(Bundle(exported.folder, replace(exported.manifest, network=facts))) == []


class PoolsPerTile(OnnxNetwork):
    """What naive tiling does: every window is pooled as if it were the image."""

    def illuminate(self, images: Any, pooled: Any, rows: Any, cols: Any) -> Any:
        count, height, width = images.shape[:3]
        tall, wide = Span(0, height, 0, height), Span(0, width, 0, width)
        bins = self.facts.bins
        return self.illuminate_whole(
            images,
            np.repeat(pooling_matrix(height, tall, bins)[None], count, 0),
            np.repeat(pooling_matrix(width, wide, bins)[None], count, 0),
            np.repeat(interpolation_matrix(height, tall, bins)[None], count, 0),
            np.repeat(interpolation_matrix(width, wide, bins)[None], count, 0),
        )


def test_pooling_per_tile_fails(exported: Bundle, reference: Reference) -> None:
    device = choose_device("cpu")
    candidate = SplitGraphs(PoolsPerTile(exported, "fp32", device), "fp32", device.provider)
    rows = measure_parity([candidate], reference, FEW)
    assert {row.label for row in rows if over_tolerance(row)} == {"many tiles", "mixed batch", "tall"}


def change_weight(bundle: Bundle, file: str, ending: str, by: float) -> Bundle:
    """Changes one weight and makes the manifest agree, as a faulty exporter would."""
    model = onnx.load(bundle.folder / file)
    (tensor,) = [item for item in model.graph.initializer if item.name.endswith(ending)]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[7] = np.clip(float(values.flat[7]) + by, -127, 127)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    content = model.SerializeToString()
    (bundle.folder / file).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    graphs = [
        replace(graph, sha256=digest) if graph.file == file else graph for graph in bundle.manifest.graphs
    ]
    write_manifest(bundle.folder, replace(bundle.manifest, graphs=tuple(graphs)))
    return read_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("file", "ending", "by"),
    [
        ("enhance_fp32.onnx", "ResidualBlock4.conv2.weight", 0.05),
        ("enhance_fp16.onnx", "cond_add1.weight", 1.0),
        ("enhance_int8.onnx", "cond_add1.weight", 1.0),
        ("whole_uint8_fp32.onnx", "condx.weight", 0.05),
    ],
)
def test_one_changed_weight_fails(
    bundle: Bundle, reference: Reference, file: str, ending: str, by: float
) -> None:
    wrong = change_weight(bundle, file, ending, by)
    found = failures(measure_bundle(wrong, reference))
    assert found
    precision = file.removesuffix(".onnx").rpartition("_")[2]
    assert all(failure.startswith(precision) for failure in found)
    assert all(("single graph" in failure) == file.startswith("whole") for failure in found)


def test_light_that_is_no_number_fails(exported: Bundle, reference: Reference) -> None:
    class Broken(OnnxNetwork):
        def illuminate_whole(self, *arguments: Any) -> Any:
            return super().illuminate_whole(*arguments) * np.nan

    device = choose_device("cpu")
    candidate = SplitGraphs(Broken(exported, "fp32", device), "fp32", device.provider)
    rows = measure_parity([candidate], reference, [Case((probe_picture(24, 24),), None)])
    assert failures(rows)


def test_the_reference_must_be_the_same_network(exported: Bundle, tmp_path: Path) -> None:
    save_checkpoint(EnhancementNetwork(4), tmp_path / "other.safetensors")
    with pytest.raises(ExportError, match=r"has 4 channels, the bundle's network has 8: give the checkpoint"):
        read_reference(tmp_path / "other.safetensors", None, exported.manifest)
    with pytest.raises(ExportError, match="does not exist: a checkpoint"):
        read_reference(tmp_path / "none.pth", None, exported.manifest)


def test_float32_graphs_can_be_the_reference(exported: Bundle, network: EnhancementNetwork) -> None:
    picture = probe_picture(50, 41)
    found = graph_reference(exported).light(picture)
    np.testing.assert_allclose(found, torch_reference(network).light(picture), atol=1e-6)


def test_an_engine_that_does_not_run_here_is_not_passed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are checked, it is told why it did not run, and the bundle is proven in part only."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with_plan(
        bundle,
        gpu="",
        compute_capability="",
        tensorrt_version="1.7.1.116",
        flavour="tensorrt-rtx",
        targets=("8.6", "8.9"),
    )
    proof = prove_bundle(read_bundle(bundle.folder))
    (part,) = [part for part in proof.parts if part.file == "e.plan"]
    assert part.status == "not run here"
    assert part.detail.startswith("TensorRT for RTX is missing")
    assert proof.failures == ()
    assert "passed" not in proof.summary()
    assert "1 not run here" in proof.summary()
    (bundle.folder / "e.plan").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"e\.plan is not the file that was exported"):
        prove_bundle(read_bundle(bundle.folder))


@pytest.mark.parametrize("place", ["*/_ORT_MEM_ADDR_/*", "secret.bin"])
def test_a_graph_that_keeps_data_elsewhere_is_refused(bundle: Bundle, place: str) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        tensor = next(item for item in model.graph.initializer if item.name.endswith("condx.weight"))
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", place), ("offset", "0"), ("length", "64")):
            tensor.external_data.add(key=key, value=value)

    with pytest.raises(BundleError, match=r"enhance_fp32\.onnx cannot be loaded: it keeps weights outside"):
        measure_bundle(change_graph(bundle, "enhance_fp32.onnx", spoil))


def test_a_graph_with_operators_of_others_is_refused(bundle: Bundle) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        model.graph.node[0].domain = "com.example"

    with pytest.raises(BundleError, match=r"uses operators of 'com\.example', which bundles do not need"):
        measure_bundle(change_graph(bundle, "enhance_fp32.onnx", spoil))


def test_a_graph_with_other_outputs_is_refused(bundle: Bundle) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        model.graph.output[0].name = "other"

    with pytest.raises(BundleError, match="its outputs are not what the manifest declares"):
        measure_bundle(change_graph(bundle, "enhance_fp32.onnx", spoil))


def change_graph(bundle: Bundle, file: str, spoil: Callable[[onnx.ModelProto], None]) -> Bundle:
    """Changes a graph and makes the manifest agree, as somebody with bad intent would."""
    model = onnx.load_model_from_string((bundle.folder / file).read_bytes())
    spoil(model)
    content = model.SerializeToString()
    (bundle.folder / file).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    graphs = [
        replace(graph, sha256=digest) if graph.file == file else graph for graph in bundle.manifest.graphs
    ]
    write_manifest(bundle.folder, replace(bundle.manifest, graphs=tuple(graphs)))
    return read_bundle(bundle.folder)
