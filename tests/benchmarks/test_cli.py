"""Every command once, on toy sizes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.contestants.programs import make_photographs
from benchmarks.contestants.weights import WeightsError
from benchmarks.processes.process import ROOT
from benchmarks.records import report
from benchmarks.records.results import model_hash, read_result, write_result
from benchmarks.suites.suites import Request
from rave_runtime.bundle import read_bundle, write_manifest

TOY = ["--quick", "--threads", "1", "--size", "40x24"]


def invoke(*arguments: Any) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def refuse(*arguments: Any) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 1
    return result.output


@pytest.fixture
def one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """One turn of each program and one precision, where only a full measurement has all kinds of rows."""
    monkeypatch.setattr("benchmarks.suites.contest.bundle_precisions", lambda _: ["fp32"])
    plan = Request.plan
    monkeypatch.setattr(Request, "plan", lambda self: replace(plan(self), rounds=1))


def test_latency_report_and_readme(tmp_path: Path, tiny_bundle: Path, one_round: None) -> None:
    methods = [f"--method={name}" for name in ("ours", "zero-dce++", "gamma")]
    said = invoke("latency", *TOY[1:], *methods, "--model", tiny_bundle, "--output", tmp_path)
    assert "40x24 (0.00096 MP)" in said
    result = read_result(tmp_path / "latency-cpu.json")
    assert {r["method"] for r in result.rows} == {"ours", "zero-dce++", "gamma"}
    assert {r["outcome"] for r in result.rows} <= {"measured", "one run"}
    assert result.rows[0]["times_ours"] == 1.0
    assert result.model == model_hash(tiny_bundle)
    assert all(r["peak_rss_mib"] >= r["idle_rss_mib"] > 10 for r in result.rows)
    assert "index.html" in invoke("report", "--output", tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"{report.BEGIN}\n{report.END}\n")
    place = ("--file", readme, "--output", tmp_path)
    assert "run python -m benchmarks tables" in refuse("tables", "--check", *place)
    assert "updated" in invoke("tables", *place)
    assert "up to date" in invoke("tables", *place)
    assert invoke("tables", "--check", *place) == ""
    (tmp_path / "results.md").write_text("of earlier results")
    assert "python -m benchmarks report" in refuse("tables", "--check", *place)
    row: dict[str, Any] = {"title": "A", "family": "ours", "weights": "", "outcome": "measured"}
    row |= {"psnr_db": 20.0, "ssim": 0.8, "lpips": None, "median_s": 0.1, "pairs": 1, "megapixels": 0.1}
    write_result(replace(result, quantity="quality", model="another", rows=(row,)), tmp_path)
    invoke("report", "--output", tmp_path)
    invoke("tables", *place)
    said = refuse("tables", "--check", *place)
    assert "quality-cpu.json was measured with another model than the one that ships: run `python" in said


def test_memory(tmp_path: Path) -> None:
    invoke("memory", *TOY, "--method", "clahe", "--method", "gamma", "--output", tmp_path)
    result = read_result(tmp_path / "memory-cpu-quick.json")
    assert result.model is None  # classical methods have none
    rows = result.rows
    assert [r["samples"] for r in rows] == [1, 1]
    assert min(r["peak_rss_mib"] for r in rows) > 20


def test_scale(tmp_path: Path, tiny_bundle: Path, one_round: None) -> None:
    arguments = ("--method", "ours", "--model", tiny_bundle, "--output", tmp_path)
    said = invoke("scale", "--threads", "2", "--size", "40x24", *arguments)
    rows = read_result(tmp_path / "scale-cpu.json").rows
    assert {r["threads"] for r in rows} == {1, 2}
    assert "MP/s" in said


def test_tiling(tmp_path: Path, tiny_bundle: Path) -> None:
    invoke("tiling", "--quick", "--threads=1", "--size=180x140", "--model", tiny_bundle, "--output", tmp_path)
    rows = read_result(tmp_path / "tiling-cpu-quick.json").rows
    assert [r["tile_size"] for r in rows] == [128, 256, None]
    assert max(r["light_error"] for r in rows) < 1e-5
    assert max(r["picture_error"] for r in rows) <= 1


def test_roofline(tmp_path: Path, tiny_bundle: Path) -> None:
    arguments = ("--method", "ours-full", "--model", tiny_bundle, "--output", tmp_path)
    invoke("roofline", *TOY, *arguments)
    rows = read_result(tmp_path / "roofline-cpu-quick.json").rows
    assert "cpu" in {row["device"] for row in rows}
    assert all(row["share"] > 0 for row in rows)
    assert rows[0]["copy_gb_per_s"] > 0.1


def test_quality(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import PIL.Image

    from benchmarks.suites import quality

    def no_lpips(threads: int) -> None:
        raise WeightsError("no backbone here")

    monkeypatch.setattr(quality, "load_lpips", no_lpips)
    for folder, offset in (("in", 0), ("out", 20)):
        (tmp_path / folder).mkdir()
        picture = make_photographs(24, 40)[0] // 2 + offset
        PIL.Image.fromarray(picture.astype("uint8")).save(tmp_path / folder / "a.png")
    methods = [f"--method={name}" for name in ("ours", "gamma", "restormer")]
    where = (tmp_path / "in", tmp_path / "out", "--model", tiny_bundle, "--output", tmp_path)
    said = invoke("quality", *where, "--quick", "--threads", "1", *methods)
    assert "LPIPS is left out: no backbone here" in said
    rows = {r["method"]: r for r in read_result(tmp_path / "quality-cpu-quick.json").rows}
    assert [r["outcome"] for r in rows.values()] == ["measured", "measured", "measured", "no weights"]
    assert rows["input"]["psnr_db"] == pytest.approx(22.1, abs=0.1)
    assert read_result(tmp_path / "quality-cpu-quick.json").model == model_hash(tiny_bundle)
    (tmp_path / "other").mkdir()
    for file in tiny_bundle.iterdir():
        shutil.copy(file, tmp_path / "other")
    manifest = read_bundle(tiny_bundle).manifest
    manifest = replace(manifest, graphs=manifest.graphs[:3])
    write_manifest(tmp_path / "other", manifest)
    weights = ("--weights", f"ours={tmp_path / 'other'}")
    invoke("quality", *where, "--quick", "--threads", "1", *methods, *weights)
    assert read_result(tmp_path / "quality-cpu-quick.json").model == manifest.model_hash != model_hash()
    assert "is not a bundle" in refuse("quality", *where, "--weights", f"ours={tmp_path / 'in'}")
    assert "METHOD=FILE" in refuse("quality", *where, "--weights", "restormer")
    assert "method 'x' is unknown" in refuse("quality", *where, "--weights", "x=y")
    assert "none.pth does not exist" in refuse("quality", *where, "--weights", "restormer=none.pth")


def test_all_refuses_what_its_last_part_would_refuse_after_an_hour(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    photographs, both = ("--photographs", tmp_path), ("--photographs", tmp_path, "--truths", tmp_path)
    assert "give both, or neither" in refuse("all", "--quick", *photographs)
    assert "no picture of" in refuse("all", "--quick", *photographs, "--truths", tmp_path / "none")
    assert "none.pth does not exist" in refuse("all", "--quick", *both, "--weights=restormer=none.pth")


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("typer", ["tables"], "bench"),
        ("cv2", ["panorama-scenes", "a.hdr", "--output", "b"], "recipe"),
        ("av", ["films", "--help"], "video"),
    ],
)
def test_a_missing_extra_is_an_install_line(missing: str, arguments: list[str], extra: str) -> None:
    code = f"import runpy, sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {arguments}"
    command = [sys.executable, "-c", f"{code}; runpy.run_module('benchmarks', run_name='__main__')"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{missing} is missing: pip install '.[{extra}]' in the clone\n"


@pytest.mark.parametrize("way", ["no module resource", "another encoding"])
def test_tables_are_made_on_any_system(way: str) -> None:
    """On Windows there is no `resource`, and files were read and written in the system's code page."""
    setup = "import runpy, sys; sys.argv = ['benchmarks', 'tables', '--check']; "
    setup += "sys.modules['resource'] = None; " * (way == "no module resource")
    code = f"{setup}runpy.run_module('benchmarks', run_name='__main__')"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_train_step_calls_its_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def measure(arguments: list[str]) -> None:
        seen.append(arguments)
        precisions = {"published": "fp32", "ours": "bf16"}
        parts = {"whole": {"published": [2.0, 900.0], "ours": [1.0, 500.0]}}
        figures = {"options": {"batch": 2}, "precisions": precisions, "parts": parts}
        Path(arguments[-1]).write_text(json.dumps(figures))

    script = types.ModuleType("benchmarks.studies.train_step")
    script.main = measure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "benchmarks.studies.train_step", script)
    invoke("train-step", "--batch", "2", "--output", tmp_path)
    assert seen[0][:-1] == ["--batch", "2", "--json"]
    result = read_result(tmp_path / "train-step-cpu.json")
    ours = {"part": "whole", "variant": "ours", "precision": "bf16", "seconds": 1.0, "peak_mib": 500.0}
    assert result.rows[1] == {**ours, "batch": 2}
    assert "classical methods" not in " ".join(result.notes), "only what is true of training steps"


def test_mistakes_are_answered(tmp_path: Path) -> None:
    assert "--device must be cpu or cuda, got tpu" in refuse("latency", "--device", "tpu")
    assert "method 'x' is unknown" in refuse("latency", "--method", "x")
    for size in ("3", "0x0", "-5x10"):
        assert f"WIDTHxHEIGHT in pixels, got '{size}'" in refuse("latency", "--size", size)
    assert "is not a bundle" in refuse("latency", "--model", tmp_path)
    assert "is not a folder: give that of the results" in refuse("report", "--output", tmp_path / "none")
    assert "is not a bundle" in refuse("folder-speed", "--model", tmp_path)
    assert "has no scenes" in refuse("before-after", tmp_path, "--output", tmp_path / "sheet.jpg")
