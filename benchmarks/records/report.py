"""Writes all results as a Markdown page and an HTML page, and the tables of `docs/benchmarks.md`."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.records.models import describe_doubt, list_studies, measures_a_bundle
from benchmarks.records.results import FOLDER, Result, find_result, read_results
from benchmarks.records.studies import study_blocks
from benchmarks.records.tables import (
    EMPTY,
    cost_table,
    fidelity_sentences,
    lifts_table,
    markdown,
    memory_cell,
    plain_table,
    quality_table,
    real_scenes_table,
    roofline_table,
    scale_table,
    size_table,
    tiling_table,
    time_cell,
    variant,
)

BEGIN = "<!-- benchmarks: begin (written by python -m benchmarks tables) -->"
END = "<!-- benchmarks: end -->"

Section = tuple[str, Callable[[Result], str]]
SECTIONS: dict[str, tuple[Section, ...]] = {
    "latency": (
        ("Time for one photograph", lambda r: size_table(r, "time")),
        ("Times ours (median of the rounds' ratios)", lambda r: size_table(r, "ratio")),
        ("Work", cost_table),
    ),
    "memory": (("Peak memory for one photograph", lambda r: size_table(r, "memory")),),
    "quality": (("Quality and time", quality_table),),
    "quality-real": (
        ("Real scenes against the light, PSNR in dB / SSIM", real_scenes_table),
        ("Backlit and low-key pictures, dark EV / bright EV / clipped points", lifts_table),
    ),
    "scale": (("Batches and threads", scale_table),),
    "tiling": (("Tiles", tiling_table),),
    "roofline": (("Share of the machine's limit", roofline_table),),
    "train-step": (("Training steps", plain_table),),
}


_MARKDOWN: Final = "results.md"


class PageError(ValueError):
    """The page lacks the markers of the tables, or there are no results for them."""


def write_report(folder: Path = FOLDER) -> list[Path]:
    """Writes `results.md`, `index.html` and the plots into the folder of the results; returns the files."""
    results = read_results(folder)
    plots = {r.stem: draw_plots(r) for r in results}
    files = [folder / _MARKDOWN, folder / "index.html"]
    _write(files[0], render_markdown(results, list_studies(folder)))
    _write(files[1], render_html(results, plots))
    for svgs in plots.values():
        for name, svg in svgs.items():
            files.append(folder / f"{name}.svg")
            _write(files[-1], svg)
    return files


def is_stale(folder: Path) -> bool:
    """Whether `results.md` is missing, or does not show the results of its folder."""
    page = folder / _MARKDOWN
    text = render_markdown(read_results(folder), list_studies(folder))
    return not page.is_file() or page.read_text("utf-8") != text


def draw_plots(result: Result) -> dict[str, str]:
    """Draws the plots of a result; returns SVG by file stem."""
    from benchmarks.records import plots

    drawers: dict[str, Callable[[], str]] = {
        "latency": lambda: plots.plot_over_megapixels(result, "time"),
        "memory": lambda: plots.plot_over_megapixels(result, "memory"),
        "quality": lambda: plots.plot_quality(result),
        "roofline": lambda: plots.plot_roofline(result),
    }
    return {result.stem: drawers[result.quantity]()} if result.quantity in drawers else {}


def render_markdown(results: Sequence[Result], studies: str = "") -> str:
    """The Markdown page: the tables of every result, with its command, machine and notes; then of studies."""
    parts = ["# Benchmarks", "Written by `python -m benchmarks report` from the JSON files beside it."]
    for result in results:
        parts.append(f"## {_title(result)}")
        for title, table in SECTIONS[result.quantity]:
            parts += [f"### {title}", table(result)]
        parts += [f"- {line}" for line in _foot(result)]
    if studies:
        parts += ["## Models that studies measured", studies]
    return "\n\n".join(parts).replace("\n\n- ", "\n- ") + "\n"


def render_html(results: Sequence[Result], plots: dict[str, dict[str, str]]) -> str:
    """The HTML page: the same tables and the plots in one file, which loads nothing from elsewhere."""
    parts = []
    for result in results:
        parts.append(f"<h2>{html.escape(_title(result))}</h2>")
        parts += [f"<figure>{svg}</figure>" for svg in plots.get(result.stem, {}).values()]
        for title, table in SECTIONS[result.quantity]:
            parts += [f"<h3>{html.escape(title)}</h3>", table_to_html(table(result))]
        items = "".join(f"<li>{_inline(line)}</li>" for line in _foot(result))
        parts.append(f"<ul>{items}</ul>")
    return _PAGE.replace("CONTENT", "\n".join(parts))


def table_to_html(table: str) -> str:
    """Converts a Markdown table of `tables.markdown` into HTML."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    head = "".join(f"<th>{_inline(cell)}</th>" if cell else "<td></td>" for cell in lines[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in line) + "</tr>" for line in lines[2:]
    )
    rows = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f"<div class=table tabindex=0><table>{rows}</table></div>"


def tables_block(results: Sequence[Result], folder: Path | None = None) -> str:
    """The tables of `docs/benchmarks.md`, each with machine and command.

    They show real scenes, pairs, latency and memory, and last the folders of `folder-speed`.

    Args:
        results: the results of all measurements.
        folder: their folder, with the results of studies below it; None leaves out the last tables.

    Raises:
        PageError: there is no result of latency.
    """
    parts = []
    for device in ("cpu", "cuda"):
        quality = find_result(results, "quality", device)
        latency = find_result(results, "latency", device)
        real = find_result(results, "quality-real", device)
        if latency is not None:
            if real is not None:
                parts.append(_real_block(real))
            if quality is not None:
                parts.append(_quality_block(quality))
            memory = find_result(results, "memory", device) or latency
            parts.append(_cost_block(latency, memory))
    if not parts:
        raise PageError("no latency result was found: run `python -m benchmarks latency` first")
    return "\n\n".join([*parts, *(study_blocks(folder) if folder is not None else [])])


def update_page(page: Path, block: str) -> bool:
    """Puts the tables between the page's markers; returns whether that changed the page.

    Raises:
        PageError: the markers are missing.
    """
    text = page.read_text("utf-8")
    updated = insert_block(text, block)
    if updated != text:
        _write(page, updated)
    return updated != text


def insert_block(text: str, block: str) -> str:
    """The text with the tables between its markers.

    Raises:
        PageError: the markers are missing.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise PageError(f"the page needs the lines\n{BEGIN}\n{END}\nonce each, where the tables belong")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def _real_block(real: Result) -> str:
    """The tables of real scenes, with how they were measured."""
    foot = (
        "Real bracketed scenes: the photograph lies so many stops below the middle exposure, the truth is "
        "the fusion of the brackets. Cells are PSNR in dB / SSIM. Well-lit photographs should stay: their "
        "columns are the PSNR, in dB, of the result against the photograph itself, and equal ones have 60. "
        f"`{real.command}`, {real.date}: "
        f"[`{real.stem}.json`](../benchmarks/results/{real.stem}.json)."
    )
    low_key = next((row["pictures"] for row in real.rows if row["set"] == "low-key"), 0)
    lifts = (
        "How much the darkest third and the brightest fifth of a backlit photograph change, in EV (1 EV, or "
        "stop, is twice the light), and the share of clipped pixels, in percentage points. The last column "
        f"is the change of {low_key} whole low-key pictures, which should rather stay dark. "
    ) + fidelity_sentences(real)
    return (
        f"## Real scenes\n\n{real_scenes_table(real)}\n\n{foot}\n\n"
        f"## Backlit and low-key photographs\n\n{lifts_table(real)}\n\n{lifts.strip()}"
    )


def _quality_block(quality: Result) -> str:
    """The table of quality on pairs, with how it was measured."""
    measured = [row for row in quality.rows if row["outcome"] == "measured"]
    pairs = max((row["pairs"] for row in measured), default=0)
    foot = (
        f"Means over {pairs} pairs of a backlit photograph and its truth; LPIPS is that of SqueezeNet. "
        f"Methods ran one after another, so their times are rough. `{quality.command}`, "
        f"{quality.date}: [`{quality.stem}.json`](../benchmarks/results/{quality.stem}.json)."
    )
    return f"## Synthetic pairs\n\n{quality_table(replace(quality, rows=tuple(measured)))}\n\n{foot}"


def _cost_block(latency: Result, memory: Result) -> str:
    """The table of time and memory, with a row per method and a column for each of three sizes."""
    sizes = sorted({(r["megapixels"], r["width"], r["height"]) for r in latency.rows})
    columns = sizes[:: max(1, (len(sizes) - 1) // 2)][:3] if len(sizes) > 3 else sizes
    memory_rows = {(variant(r), r["width"], r["height"]): r for r in memory.rows}
    memory_sizes = [s for s in sizes if any((s[1], s[2]) == k[1:] for k in memory_rows)]
    peak_at = memory_sizes[len(memory_sizes) // 2] if memory_sizes else sizes[-1]
    time_rows = {(variant(r), r["width"], r["height"]): r for r in latency.rows}
    lines = []
    for name in dict.fromkeys(variant(r) for r in latency.rows):
        first = next(r for r in latency.rows if variant(r) == name)
        peak = memory_rows.get((name, peak_at[1], peak_at[2]))
        lines.append(
            [
                name,
                EMPTY if first["parameters"] is None else f"{first['parameters'] / 1e6:.3f} M",
                *(
                    time_cell(time_rows[name, w, h]) if (name, w, h) in time_rows else EMPTY
                    for _, w, h in columns
                ),
                memory_cell(peak) if peak else EMPTY,
            ]
        )
    header = ["", "Parameters", *(f"{w}x{h}" for _, w, h in columns), f"Memory at {peak_at[1]}x{peak_at[2]}"]
    where = " and ".join(
        dict.fromkeys(f"[`{r.stem}.json`](../benchmarks/results/{r.stem}.json)" for r in (latency, memory))
    )
    foot = (
        f"Time for one photograph, memory to memory (rave-run: file to file); peak memory of its process. "
        f"`*`: one cold run; `not run`: it would have taken too long, so its work is given instead, in "
        f"multiply-accumulates (TMAC: 10^12, PMAC: 10^15). `{latency.command}`, "
        f"{latency.date}, on {latency.machine.line()}. "
        f"All figures and how they were taken: {where}, [results.md](../benchmarks/results/results.md). "
    ) + (describe_doubt(latency.model, latency.rows) if measures_a_bundle(latency.rows) else "")
    return f"## Time and memory\n\n{markdown(header, lines)}\n\n{foot.strip()}"


def _write(file: Path, text: str) -> None:
    """Writes the same bytes on every system, since they are compared and committed."""
    file.write_text(text, "utf-8", newline="\n")


def _title(result: Result) -> str:
    return f"{result.quantity.capitalize()}, {result.device}" + (" (quick)" if result.quick else "")


def _foot(result: Result) -> list[str]:
    lines = [f"`{result.command}`, {result.date}", result.machine.line(), *result.notes]
    if result.model is not None or measures_a_bundle(result.rows):
        doubt = describe_doubt(result.model, result.rows)
        lines.append(doubt or f"The model has the hash {result.model}.")
    return lines


def _inline(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>rave-backlit benchmarks</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
body { color: #1d1d1f; background: #fff; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.table { overflow-x: auto; }
figure { margin: 1rem 0; }
svg { max-width: 100%; height: auto; }
ul { color: #666; font-size: .85rem; }
</style></head><body><main><h1>rave-backlit benchmarks</h1>
CONTENT
</main></body></html>
"""
