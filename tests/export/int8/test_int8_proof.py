"""What an INT8 figure promises: it is measured on pictures, and it decides over INT8 alone."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from rave_export.bundles import PROOF_SIDE_PX, Contents, export_bundle
from rave_export.engines.build import EngineOptions
from rave_export.export_command import _add_engines, _without
from rave_export.graphs.variants import Graph
from rave_export.int8.calibration import default_pictures, proof_pictures
from rave_export.options import ExportOptions
from rave_export.pictures import reduce_picture
from rave_export.proof.parity import over_tolerance
from rave_export.proof.verify import measure_bundle
from rave_runtime.bundle import Bundle, read_bundle
from rave_runtime.photos.reading import load_rgb
from rave_train.checkpoint import Checkpoint, read_checkpoint
from rave_train.network import EnhancementNetwork
from tests.export.conftest import few_proof_pictures


def test_pictures_of_few_pixels_do_not_decide_over_int8(exported: Bundle) -> None:
    row = next(row for row in exported.manifest.parity if row.precision == "int8")
    assert over_tolerance(replace(row, psnr_db=44.2, height_px=2, width_px=2)) is None
    assert "44.2 dB, 45 dB is needed" in str(
        over_tolerance(replace(row, psnr_db=44.2, height_px=64, width_px=90))
    )


def test_the_figure_is_that_of_pictures_that_were_not_calibrated_on(exported: Bundle) -> None:
    rows = [row for row in exported.manifest.parity if row.precision == "int8" and row.label == "given"]
    assert len({row.psnr_db for row in rows}) >= len(few_proof_pictures()) - 1, "two may be equal"
    assert all((row.height_px, row.width_px) == (96, 144) for row in rows)


def test_the_built_in_scenes_are_backlit_and_well_lit_and_those_of_the_proof_are_others() -> None:
    calibration, proof = default_pictures(), proof_pictures()
    assert len(calibration) >= 150
    assert len(proof) == 24
    assert {picture.shape for picture in (*calibration, *proof)} == {(96, 144, 3)}
    means = np.array([picture.mean() for picture in calibration])
    assert (means < 40).sum() >= 30
    assert (means > 100).sum() >= 30
    small = [picture[::8, ::8].astype(float) for picture in calibration]
    for picture in proof:  # no scene is in both
        assert min(np.abs(picture[::8, ::8] - other).mean() for other in small) > 8


def test_int8_that_is_too_far_off_is_left_out_and_the_rest_is_written(
    network: EnhancementNetwork,
    exports: Callable[..., list[Graph]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spoil(graphs: list[Graph], *_: Any, **__: Any) -> list[Graph]:
        spoiled = []
        for graph in graphs:
            model = copy.deepcopy(graph.model)
            if graph.part == "enhance":
                weight = next(w for w in model.graph.initializer if w.name.endswith("condx.weight"))
                values = onnx.numpy_helper.to_array(weight) * np.float32(0.2)
                weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
            spoiled.append(replace(graph, model=model, precision="int8"))
        return spoiled

    monkeypatch.setattr("rave_export.bundles.float_graphs", exports)
    monkeypatch.setattr("rave_export.bundles.int8_graphs", spoil)
    monkeypatch.setattr("rave_export.bundles.proof_pictures", few_proof_pictures)
    said: list[str] = []
    contents = Contents(int8=True, calibration=proof_pictures()[:3])
    made = export_bundle(Checkpoint(network), tmp_path / "b", contents, say=said.append)
    manifest = read_bundle(tmp_path / "b").manifest
    assert manifest.precisions() == ("fp32",)
    assert {row.precision for row in manifest.parity} == {"fp32"}
    assert not list((tmp_path / "b").glob("*_int8.onnx"))
    assert any(line.startswith("int8 is left out: int8 at ") for line in said)
    figures = [float(re.findall(r"([\d.]+) dB, 45 dB", failure)[0]) for failure in made.left_out["int8"]]
    assert figures == sorted(figures), "the worst comes first, since the program's last line names it"


def test_the_last_line_says_how_far_int8_was_and_what_to_try(tmp_path: Path) -> None:
    options = ExportOptions(Path("embedded"), tmp_path / "b", int8=True)
    alone = _without("int8", "43.2 dB, 45 dB is needed", options)
    assert (
        "too far from float32 (43.2 dB, 45 dB is needed): give --calibration photographs like those" in alone
    )
    assert "give --calibration other photographs" in _without(
        "int8", "", replace(options, calibration=tmp_path)
    )


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(
    "factors",
    [
        pytest.param((1.0, 1e7), id="weights"),
        pytest.param((1e4, 1e4), id="features", marks=pytest.mark.slow),
    ],
)
def test_numbers_too_large_for_fp16_leave_it_out(
    network: EnhancementNetwork,
    exports: Callable[..., list[Graph]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    factors: tuple[float, float],
) -> None:
    """Float32 is right, and the minutes that it took are not lost."""
    large = copy.deepcopy(network)
    first, last = factors
    with torch.no_grad():
        for layer, factor in ((large.cond1, first), (large.condx, last)):
            layer.weight *= factor
            assert layer.bias is not None
            layer.bias *= factor
        large.cond_add1.weight /= first * last
    monkeypatch.setattr("rave_export.bundles.float_graphs", exports)
    contents = Contents(fp16=True, single_graph="normal")
    made = export_bundle(Checkpoint(large), tmp_path / "b", contents, working_size_px=64)
    assert made.manifest.precisions() == ("fp32",)
    assert list(made.left_out) == ["fp16"]
    assert not list((tmp_path / "b").glob("*_fp16.onnx"))
    options = ExportOptions(Path("embedded"), tmp_path / "b", fp16=True)
    reason = made.left_out["fp16"][0]
    assert ("condx.weight holds numbers beyond 65504" in reason) == (last > 65504)
    assert f"({reason}): leave out --fp16" in _without("fp16", reason, options)

    asked: list[str] = []

    def add(_: Path, engines: EngineOptions, *__: Any, **___: Any) -> None:
        asked.append(engines.precision)

    monkeypatch.setattr("rave_export.export_command.add_engines", add)
    assert _add_engines(replace(options, trt_rtx=True), Checkpoint(large), lambda _: None) == []
    assert asked == ["fp32"], "engines are made of the graphs that are there"


UPSTREAM = Path(__file__).parents[4] / "shared" / "upstream"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "padding"), [("rave_paired", "zeros"), ("clip_lit", "reflect")])
def test_published_networks_are_right_in_eight_bits_on_dark_photographs(
    name: str, padding: Any, tmp_path: Path
) -> None:
    """Calibrated on half of the built-in pictures, on photographs that are not in it, two stops too dark.

    All of them take twice as long.
    """
    file = UPSTREAM / f"{name}.pth"
    if not file.is_file():
        pytest.skip(f"{name}.pth is not here")
    contents = Contents(int8=True, calibration=default_pictures()[::2])
    export_bundle(read_checkpoint(file, padding), tmp_path / "b", contents)
    bundle = read_bundle(tmp_path / "b")
    examples = sorted((Path(__file__).parents[3] / "examples").glob("*.jpg"))
    linear = [(reduce_picture(load_rgb(file), PROOF_SIDE_PX) / 255.0) ** 2.2 / 4 for file in examples]
    dark = [np.rint(255 * picture ** (1 / 2.2)).astype(np.uint8) for picture in linear]
    rows = [row for row in measure_bundle(bundle, None, dark) if row.label == "given"]
    assert {row.precision for row in rows} == {"fp32", "int8"}
    assert [failure for failure in map(over_tolerance, rows) if failure] == []
