from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

from rave_export.bundles import CHECKPOINT_NAME, Contents, export_bundle, write_checkpoint, write_graph
from rave_export.errors import ExportError, ParityError
from rave_export.graphs.variants import Graph, float_graphs
from rave_export.proof.parity import over_tolerance
from rave_export.proof.table import files_table
from rave_export.proof.verify import measure_bundle
from rave_runtime.bundle import MANIFEST_NAME, Bundle, embedded_bundle, read_bundle, write_manifest
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import BundleError
from rave_train.checkpoint import Checkpoint, read_checkpoint
from rave_train.errors import CheckpointError
from rave_train.network import EnhancementNetwork
from tests.export.conftest import tiny_network, with_weights_of


def test_bundle_holds_every_precision_and_says_so(exported: Bundle) -> None:
    manifest = exported.manifest
    assert manifest.precisions() == ("fp32", "fp16", "int8")
    assert {graph.file for graph in manifest.graphs} == {
        f"{part}_{precision}.onnx"
        for part in ("context_uint8", "context_float32", "enhance", "whole_uint8")
        for precision in ("fp32", "fp16", "int8")
    }
    assert manifest.provenance == {"method": "test"}
    features = {
        graph.precision: graph.outputs[0].dtype for graph in manifest.graphs if graph.part == "context"
    }
    assert features == {"fp32": "float32", "fp16": "float16", "int8": "float32"}
    for graph in manifest.graphs:
        if graph.part == "context":
            assert [spec.dtype for spec in graph.outputs[1:]] == ["float32"], "pooled sums must be float32"


def test_every_measurement_is_recorded_and_within_tolerance(exported: Bundle) -> None:
    rows = exported.manifest.parity
    assert {row.precision for row in rows} == {"fp32", "fp16", "int8"}
    assert {"single graph", "mixed batch", "16 bits", "many tiles"} <= {row.label for row in rows}
    assert [failure for failure in map(over_tolerance, rows) if failure] == []
    assert max(row.max_abs_error for row in rows if row.precision == "fp32") < 1e-5
    assert max(row.max_abs_error for row in rows if row.precision == "int8") > 1e-5


def test_the_table_names_every_file_with_what_was_measured(exported: Bundle) -> None:
    table = files_table(exported)
    for graph in exported.manifest.graphs:
        (line,) = [line for line in table.splitlines() if line.startswith(graph.file + " ")]
        assert "not measured" not in line
        assert len(line.split()) == 4


def test_files_keep_their_weights_inside_and_load_from_anywhere(bundle: Bundle) -> None:
    files = {file.name for file in bundle.folder.iterdir()}
    assert files == {MANIFEST_NAME, CHECKPOINT_NAME, *(graph.file for graph in bundle.manifest.graphs)}
    for graph in bundle.manifest.graphs:
        model = onnx.load(bundle.folder / graph.file, load_external_data=False)
        for tensor in model.graph.initializer:
            assert tensor.data_location != onnx.TensorProto.EXTERNAL
    moved = bundle.folder.rename(bundle.folder.with_name("elsewhere"))
    assert measure_bundle(read_bundle(moved))


def test_a_flipped_byte_is_seen(bundle: Bundle) -> None:
    file = bundle.folder / "enhance_int8.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match=r"enhance_int8\.onnx is not the file that was exported"):
        measure_bundle(bundle)


def test_an_output_that_exists_is_kept(network: EnhancementNetwork, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ExportError, match="exists: choose another output folder, or give --force"):
        export_bundle(Checkpoint(network), tmp_path)
    with pytest.raises(ExportError, match="is not a bundle, so --force does not replace it"):
        export_bundle(Checkpoint(network), tmp_path, force=True)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_force_replaces_a_bundle(
    bundle: Bundle,
    network: EnhancementNetwork,
    exports: Callable[..., list[Graph]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rave_export.bundles.float_graphs", exports)
    export_bundle(Checkpoint(network), bundle.folder, force=True, working_size_px=512)
    found = read_bundle(bundle.folder).manifest
    assert (found.precisions(), found.working_size_px) == (("fp32",), 512)
    assert len(list(bundle.folder.parent.iterdir())) == 1


def test_a_full_disk_leaves_no_half_bundle(
    network: EnhancementNetwork,
    exports: Callable[..., list[Graph]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = []
    write = Path.write_bytes

    def fill(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr("rave_export.bundles.float_graphs", exports)
    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(ExportError, match=r"cannot be written \(No space left on device\): free some space"):
        export_bundle(Checkpoint(network), tmp_path / "bundle")
    assert len(written) == 3
    assert list(tmp_path.iterdir()) == []


def test_graphs_of_another_network_are_never_written(
    network: EnhancementNetwork,
    fp32_graphs: list[Graph],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = EnhancementNetwork(8).eval()
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        other.ResidualBlock2.conv1.weight[3, 3, 1, 1] += 0.1
    monkeypatch.setattr("rave_export.bundles.float_graphs", lambda *_: fp32_graphs)
    with pytest.raises(ParityError, match=r"the light map is off by .*, 0.0001 is allowed"):
        export_bundle(Checkpoint(other), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_an_opset_too_low_is_refused(network: EnhancementNetwork, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="opset 17 is too low for these graphs: give at least 18"):
        export_bundle(Checkpoint(network), tmp_path / "bundle", Contents(opset=17))


def test_an_opset_that_cannot_be_made_is_told_in_one_line(
    network: EnhancementNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing of what torch logs about it."""
    with pytest.raises(ExportError, match="cannot write opset 99, they wrote 18: give --opset 18"):
        export_bundle(Checkpoint(network), tmp_path / "bundle", Contents(opset=99))
    assert not [record for record in caplog.records if record.name.startswith(("torch.onnx", "onnxscript"))]
    assert list(tmp_path.iterdir()) == []


def test_tolerances_count_the_worst(exported: Bundle) -> None:
    row = exported.manifest.parity[0]
    assert over_tolerance(replace(row, precision="fp32", max_abs_error=1e-4)) is None
    assert "is allowed" in str(over_tolerance(replace(row, precision="fp32", max_abs_error=1.1e-4)))
    assert over_tolerance(replace(row, precision="fp16", psnr_db=45.0)) is None
    assert "45 dB is needed" in str(over_tolerance(replace(row, precision="int8", psnr_db=44.9)))
    assert "is needed" in str(over_tolerance(replace(row, precision="fp16", psnr_db=float("nan"))))


def test_fp16_whose_sums_overflow_is_left_out(
    exports: Callable[..., list[Graph]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights fit, and its light is not a number."""
    network = tiny_network()
    with torch.no_grad():
        network.cond1.weight *= 1e5
        network.cond_add1.weight *= 1e-5
    monkeypatch.setattr("rave_export.bundles.float_graphs", exports)
    output = tmp_path / "bundle"
    made = export_bundle(Checkpoint(network), output, Contents(fp16=True), working_size_px=64)
    assert "fp16 at" in made.left_out["fp16"][0]
    assert read_bundle(output).manifest.precisions() == ("fp32",)


def test_a_network_whose_sums_overflow_in_float32(
    exports: Callable[..., list[Graph]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny_network()
    with torch.no_grad():
        network.cond1.weight *= 1e37
        network.condx.weight *= 1e37
    monkeypatch.setattr("rave_export.bundles.float_graphs", exports)
    with pytest.raises(ParityError, match="too far from the network:\nfp32 at"):
        export_bundle(Checkpoint(network), tmp_path / "bundle", working_size_px=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_stand_in_of_these_tests_gives_the_exporters_bytes(fp32_graphs: list[Graph]) -> None:
    """Of a network of which it has seen neither weights nor biases."""
    other = tiny_network(seed=4)
    with torch.no_grad():
        for module in other.modules():
            if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
                module.bias += 0.01
    pairs = zip(with_weights_of(other, fp32_graphs), float_graphs(other, "fp32"), strict=True)
    for stand_in, graph in pairs:
        assert (stand_in.part, stand_in.image) == (graph.part, graph.image)
        assert stand_in.model.SerializeToString() == graph.model.SerializeToString()


def test_graphs_start_from_the_half_network(network: EnhancementNetwork) -> None:
    with pytest.raises(ExportError, match="too low"):
        float_graphs(network, "fp16", 12)
    assert next(network.parameters()).dtype == torch.float32, "the caller's network must stay float32"


def test_a_bundle_whose_checkpoint_is_gone_or_changed(bundle: Bundle) -> None:
    file = bundle.folder / CHECKPOINT_NAME
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is not the file that was exported"):
        read_checkpoint(bundle.folder)
    file.unlink()
    with pytest.raises(CheckpointError, match=r"is named by the manifest but cannot be read"):
        read_checkpoint(bundle.folder)
    Enhancer(bundle.folder, device="cpu").prepare()  # the runtime does not need it
    write_manifest(bundle.folder, replace(bundle.manifest, checkpoint=None))
    with pytest.raises(CheckpointError, match="is a bundle without its checkpoint"):
        read_checkpoint(bundle.folder)


def test_a_checkpoint_that_is_not_of_its_bundles_graphs(bundle: Bundle) -> None:
    for other in (EnhancementNetwork(12), EnhancementNetwork(8, "zeros")):
        found = write_checkpoint(bundle.folder, Checkpoint(other))
        write_manifest(bundle.folder, replace(bundle.manifest, checkpoint=found))
        with pytest.raises(CheckpointError, match="is not what the bundle's graphs were made from"):
            read_checkpoint(bundle.folder)


def test_the_embedded_model_is_exported_again_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that who has only the bundle can make engines, other precisions, or train on."""
    embedded = read_bundle(embedded_bundle()).manifest
    found = read_checkpoint("embedded")
    assert found.provenance == embedded.provenance
    for graph in float_graphs(found.network, "fp32"):
        same = write_graph(tmp_path, graph)
        assert same.sha256 == embedded.graph(graph.part, graph.precision, graph.image).sha256
    monkeypatch.chdir(tmp_path)
    Path("embedded").mkdir()  # the output of a run, perhaps
    assert read_checkpoint("embedded").provenance == embedded.provenance
    Path("embedded").rmdir()
    Path("embedded").write_text("a file of that name is meant where there is one")
    with pytest.raises(CheckpointError, match="neither safetensors nor a torch file"):
        read_checkpoint("embedded")
