"""Results on disk, and what is made of them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contestants.cost import cost_of
from benchmarks.contestants.enhancers import Setting
from benchmarks.contestants.methods import METHODS
from benchmarks.processes.machine import Machine, describe_machine
from benchmarks.records import report, tables
from benchmarks.records.models import find_refused
from benchmarks.records.plots import pareto_front
from benchmarks.records.results import (
    Result,
    ResultError,
    find_result,
    model_hash,
    read_result,
    read_results,
    write_result,
)
from rave_runtime.backends.limits import usable_processors

MACHINE = Machine("A chip", 2, ("avx2",), 8.0, "Linux x86_64", "3.12.0", {"torch": "2.9"}, None)


def row(title: str, width: int, median_s: float | None, **changed: Any) -> dict[str, Any]:
    plain = {
        "method": title.lower(),
        "title": title,
        "family": "ours" if title == "Ours" else "transformer",
        "device": "cpu",
        "precision": "fp32",
        "threads": 2,
        "tile_size": "auto",
        "height": width,
        "width": width,
        "batch": 1,
        "megapixels": width * width / 1e6,
        "outcome": "measured" if median_s else "over the cap",
        "median_s": median_s,
        "low_s": median_s,
        "high_s": median_s,
        "least_s": median_s,
        "samples": 3 if median_s else 0,
        "times_ours": 2.0 if median_s else None,
        "peak_rss_mib": 300.0,
        "gpu_mib": None,
        "parameters": 1_000_000,
        "gmacs": 20.0,
        "gflop_per_s": 40.0,
        "detail": "",
    }
    return {**plain, **changed}


def latency(quick: bool = False, device: str = "cpu") -> Result:
    rows = (
        row("Ours", 100, 0.0123456789),
        row("Other", 100, 12.3, outcome="one run"),
        row("Ours", 1000, 1.5),
        row("Other", 1000, None),
    )
    return Result(
        "latency", device, quick, "python -m benchmarks latency", "2026-01-02", MACHINE, ("A note.",), rows
    )


def quality() -> Result:
    def measured(name: str, family: str, weights: str, **values: Any) -> dict[str, Any]:
        known = {"method": name, "title": name, "family": family, "weights": weights, "outcome": "measured"}
        return {**known, "megapixels": 0.1, "pairs": 3, **values}

    rows = (
        measured("A", "ours", "w", psnr_db=20.0, ssim=0.8, lpips=None, median_s=0.5),
        measured("B", "classical", "", psnr_db=22.0, ssim=0.9, lpips=0.2, median_s=0.1),
        {**measured("C", "transformer", ""), "outcome": "no weights"},
    )
    return replace(latency(), quantity="quality", rows=rows)


def test_a_result_comes_back_as_it_went(tmp_path: Path) -> None:
    path = write_result(latency(), tmp_path)
    assert path.name == "latency-cpu.json"
    back = read_result(path)
    assert back.machine == MACHINE
    assert back.rows[0]["median_s"] == 0.0123457
    assert [r["title"] for r in back.rows] == ["Ours", "Other", "Ours", "Other"]
    with (tmp_path / "latency-cpu.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert lines[1]["median_s"] == "12.3"
    assert lines[3]["outcome"] == "over the cap"


def test_a_full_run_hides_the_quick_one(tmp_path: Path) -> None:
    write_result(latency(quick=True), tmp_path)
    assert [r.quick for r in read_results(tmp_path)] == [True]
    write_result(latency(), tmp_path)
    write_result(latency(quick=True, device="cuda"), tmp_path)
    found = read_results(tmp_path)
    assert [(r.device, r.quick) for r in found] == [("cpu", False), ("cuda", True)]
    assert find_result(found, "latency", "cuda") is found[1]
    assert find_result(found, "memory") is None


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    path = write_result(latency(), tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format": 9}))
    with pytest.raises(ResultError, match="has result format 9, this reads 1: measure again"):
        read_result(path)
    path.write_text("[]")
    with pytest.raises(ResultError, match="is not a result of these benchmarks"):
        read_result(path)


def test_cells_say_what_happened() -> None:
    assert tables.time_cell(row("A", 1, 0.0123)) == "12.3 ms"
    assert tables.time_cell(row("A", 1, 45.67, outcome="one run")) == "45.7 s*"
    assert tables.time_cell(row("A", 1, None)) == "not run (20 GMAC)"
    assert (
        tables.time_cell(row("A", 1, None, outcome="out of memory", gmacs=1871.0))
        == "out of memory (1.87 TMAC)"
    )
    assert tables.memory_cell(row("A", 1, 1.0)) == "300 MiB"
    assert tables.memory_cell(row("A", 1, 1.0, peak_rss_mib=2048.0, gpu_mib=512.0)) == "2.0 GiB + 512 MiB GPU"
    assert tables.memory_cell(row("A", 1, None, outcome="out of memory")) == "out of memory (over 300 MiB)"
    assert tables.gmacs_words(4.86e6) == "4.86 PMAC"
    assert tables.gmacs_words(0.0001) == "0.1 MMAC"


def test_a_table_has_methods_down_and_sizes_across() -> None:
    assert tables.size_table(latency(), "time").splitlines() == [
        "|  | 100x100 (0.01 MP) | 1000x1000 (1 MP) |",
        "| --- | --: | --: |",
        "| Ours, fp32 | 12.3 ms | 1.5 s |",
        "| Other, fp32 | 12.3 s* | not run (20 GMAC) |",
    ]
    assert "| Other, fp32 | 2x | – |" in tables.size_table(latency(), "ratio")


def test_quality_is_sorted_and_the_unmeasured_said_so() -> None:
    lines = tables.quality_table(quality()).splitlines()
    assert lines[2] == "| B | 22.00 | 0.900 | 0.200 | 100 ms |"
    assert lines[3] == "| A, w | 20.00 | 0.800 | – | 500 ms |"
    assert lines[4].startswith("| C | no weights |")


def test_the_pareto_front_is_what_nothing_beats() -> None:
    assert pareto_front([(1, 5), (2, 4), (3, 7), (1, 3), (4, 7)]) == [(1, 5), (3, 7)]


def test_the_report_stands_alone(tmp_path: Path) -> None:
    for result in (latency(), quality(), replace(latency(), quantity="memory")):
        write_result(result, tmp_path)
    names = {path.name for path in report.write_report(tmp_path)}
    assert names == {"results.md", "index.html", "latency-cpu.svg", "memory-cpu.svg", "quality-cpu.svg"}
    page = (tmp_path / "index.html").read_text()
    assert page.count("<svg") == 3
    assert "<td>12.3 ms</td>" in page
    assert "A note." in page
    assert "src=" not in page
    assert "<link" not in page
    text = (tmp_path / "results.md").read_text()
    assert "| Ours, fp32 | 12.3 ms | 1.5 s |" in text
    assert "`python -m benchmarks latency`, 2026-01-02" in text
    again = (tmp_path / "latency-cpu.svg").read_text()
    report.write_report(tmp_path)
    assert (tmp_path / "latency-cpu.svg").read_text() == again


def test_the_readmes_table_is_inserted_once_and_found_stale(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# A\n\n{report.BEGIN}\nstale figures\n{report.END}\n\nEnd.\n")
    block = report.tables_block([latency()])
    assert report.update_page(readme, block)
    text = readme.read_text()
    assert text.startswith("# A\n")
    assert text.endswith("End.\n")
    assert "stale figures" not in text
    assert "## Time and memory\n\n| " in text
    assert "| Ours, fp32 | 1.000 M | 12.3 ms | 1.5 s |" in text
    assert "A chip" in text
    assert not report.update_page(readme, block)


def test_the_readme_shows_what_quality_was_measured_before_the_times() -> None:
    block = report.tables_block([latency(), quality()])
    assert block.index("| A, w | 20.00 | 0.800 |") < block.index("| Ours, fp32 | 1.000 M |")
    assert block.index("## Synthetic pairs\n\n") < block.index("## Time and memory\n\n")
    assert "no weights" not in block
    assert "3 pairs" in block
    assert "quality-cpu.json" in block


def test_a_page_without_markers_or_results_is_an_error() -> None:
    with pytest.raises(report.PageError, match="once each, where the tables belong"):
        report.insert_block("nothing", "x")
    with pytest.raises(report.PageError, match="run `python -m benchmarks latency` first"):
        report.tables_block([quality()])


def test_this_machine_is_described() -> None:
    machine = describe_machine()
    assert machine.cores == usable_processors() >= 1
    assert machine.memory_gib > 0.1
    assert "torch" in machine.packages
    assert machine.processor in machine.line()


def test_folders_come_last_where_they_were_measured(tmp_path: Path) -> None:
    assert report.tables_block([latency()], tmp_path) == report.tables_block([latency()])
    study = {
        "command": "python -m benchmarks folder-speed",
        "machine": "2 cores",
        "photographs": 20,
        "megapixels_each": 12.0,
        "median_s": {"pillow into files": 0.7, "rave-run": 1.26},
        "ratio_to_pillow_into_files": {"pillow into files": 1.0, "rave-run": 1.8},
        "kinds": {"4 PNGs": {"pillow_s": 2.0, "rave_run_s": 3.0, "ratio": 1.5, "work_ms_each": 900.0}},
        "bookkeeping_each": {"rave_run_ms": 1.5, "pillow_ms": 0.5, "difference_ms": 1.0},
    }
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "folder_speed.json").write_text(json.dumps(study))
    scores = {
        "command": "python -m benchmarks backlit-score",
        "machine": "2 cores",
        "median_score": {"kodak": 0.19},
        "percent_taken": {"kodak": {"0.25": 41.7, "0.35": 12.5}},
    }
    (tmp_path / "studies" / "backlit_score.json").write_text(json.dumps(scores))
    block = report.tables_block([latency()], tmp_path)
    assert block.startswith(report.tables_block([latency()]))
    assert "| kodak | 0.19 | 42 % | 12 % |" in block
    assert "| rave-run | 1.26 s | 1.80 |" in block
    assert "| 4 PNGs | 2.00 s | 3.00 s | 1.50 | 900.0 ms |" in block
    assert "a photograph takes 1.00 ms" in block
    assert "on 2 cores: [`folder_speed.json`]" in block


def test_quality_of_another_model_is_refused(tmp_path: Path) -> None:
    write_result(replace(latency(), model=model_hash()), tmp_path)
    write_result(replace(quality(), model=model_hash()), tmp_path)
    assert find_refused(tmp_path) == []
    assert f"hash {model_hash()}." in report.render_markdown(read_results(tmp_path))
    write_result(replace(quality(), model="0123456789abcdef"), tmp_path)
    study = {"command": "python -m benchmarks backlit-score"}
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "backlit_score.json").write_text(json.dumps(study))
    assert find_refused(tmp_path) == [
        "quality-cpu.json was measured with another model than the one that ships: run "
        "`python -m benchmarks latency`",
        "backlit_score.json does not say which model it measured: run `python -m benchmarks backlit-score`",
    ]
    assert "0123456789abcdef, which is not the one that ships." in report.render_markdown(
        read_results(tmp_path)
    )
    bundle = {**quality().rows[0], "method": "ours"}
    write_result(replace(quality(), rows=(bundle,)), tmp_path)
    assert find_refused(tmp_path)[0].startswith("quality-cpu.json does not say which model it measured: run")


def test_times_of_another_model_are_told_and_those_of_another_architecture_refused(tmp_path: Path) -> None:
    count = cost_of(METHODS["ours"], Setting(), 100, 100)
    assert count is not None
    same = {"parameters": count.parameters, "gmacs": count.macs / 1e9}
    unknown = replace(latency(), rows=(row("Ours", 100, 0.5, **same),))
    write_result(unknown, tmp_path)
    assert find_refused(tmp_path) == []
    words = "is not recorded; for a photograph, it needs as many operations as the one that ships."
    assert words in report.render_markdown([unknown])
    assert words in report.tables_block([unknown])
    assert "operations" not in report.tables_block([replace(unknown, model=model_hash())])
    slower = replace(unknown, rows=(row("Ours", 100, 0.5, **same | {"gmacs": 2 * same["gmacs"]}),))
    assert "it needs 2 times the operations of the one that ships." in report.render_markdown([slower])
    larger = row("Ours", 100, 0.5, **same | {"parameters": 10 * count.parameters})
    write_result(replace(unknown, rows=(larger,), model="0123456789abcdef"), tmp_path)
    (said,) = find_refused(tmp_path)
    assert said.startswith("latency-cpu.json was measured with another architecture than that of the model")
    assert said.endswith(": run `python -m benchmarks latency`")


def test_the_report_names_the_models_of_studies(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    for name, model in (("a", model_hash()), ("b", "0123456789abcdef"), ("c", None)):
        (tmp_path / "studies" / f"{name}.json").write_text(json.dumps({"model": model}))
    report.write_report(tmp_path)
    page = (tmp_path / "results.md").read_text()
    assert "| `a.json` | the one that ships |" in page
    assert "| `b.json` | another, 0123456789abcdef |" in page
    assert "| `c.json` | not recorded |" in page
    assert not report.is_stale(tmp_path)
    (tmp_path / "studies" / "c.json").write_text(json.dumps({"model": model_hash()}))
    assert report.is_stale(tmp_path)
