"""Draws results as plots in SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from benchmarks.records.results import Result
from benchmarks.records.tables import variant

COLOURS = {
    "ours": "#d1495b",
    "diffusion": "#6a4c93",
    "transformer": "#1982c4",
    "convolutional": "#2a9d8f",
    "classical": "#8d8d8d",
}
MARKERS = "osD^vPX*<>hp"


def plot_over_megapixels(result: Result, quantity: str) -> str:
    """Draws time ("time") or peak memory ("memory") over megapixels as SVG, both axes logarithmic."""
    values: dict[str, Callable[[dict[str, Any]], float | None]] = {
        "time": lambda row: row["median_s"],
        "memory": lambda row: (
            (row.get("gpu_mib") or row["peak_rss_mib"]) if row["median_s"] is not None else None
        ),
    }
    figure, axes = plt.subplots(figsize=(9, 5.2))
    names = list(dict.fromkeys(variant(row) for row in result.rows))
    for index, name in enumerate(names):
        rows = [row for row in result.rows if variant(row) == name and values[quantity](row)]
        if not rows:
            continue
        axes.plot(
            [row["megapixels"] for row in rows],
            [values[quantity](row) or 0.0 for row in rows],
            color=COLOURS[rows[0]["family"]],
            marker=MARKERS[index % len(MARKERS)],
            linewidth=2.2 if rows[0]["family"] == "ours" else 1.1,
            linestyle="--" if rows[0]["method"] == "ours-torch" else "-",
            markersize=5,
            label=name,
        )
    sizes = sorted({row["megapixels"] for row in result.rows})
    axes.set(xscale="log", yscale="log", xlabel="megapixels")
    axes.set_xticks(sizes, [f"{size:.2g}" for size in sizes])
    axes.minorticks_off()
    axes.set_ylabel("seconds (median)" if quantity == "time" else "peak memory, MiB")
    axes.grid(True, which="both", alpha=0.2)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return _svg(figure)


def plot_quality(result: Result) -> str:
    """Draws PSNR over time per photograph as SVG, with the Pareto front."""
    figure, axes = plt.subplots(figsize=(9, 5.2))
    rows = [row for row in result.rows if row["outcome"] == "measured"]
    for index, row in enumerate(rows):
        name = f"{row['title']}, {row['weights']}" if row["weights"] else row["title"]
        axes.scatter(
            max(row["median_s"], 1e-5),
            row["psnr_db"],
            color=COLOURS[row["family"]],
            marker=MARKERS[index % len(MARKERS)],
            s=60,
            label=name,
        )
    front = pareto_front([(row["median_s"], row["psnr_db"]) for row in rows])
    axes.plot(
        [max(t, 1e-5) for t, _ in front], [q for _, q in front], color="#444444", linestyle=":", zorder=0
    )
    axes.set(xscale="log", xlabel="seconds per photograph (median)", ylabel="PSNR, dB")
    axes.grid(True, which="both", alpha=0.2)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return _svg(figure)


def pareto_front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, value) for which no cheaper one has as high a value, the cheapest first."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front


def plot_roofline(result: Result) -> str:
    """Draws the rates that networks reach, and the machine's limit over FLOP per byte, as SVG."""
    figure, axes = plt.subplots(figsize=(9, 5.2))
    rows = result.rows
    if rows:
        copy = rows[0]["copy_gb_per_s"]
        products = {row.get("numbers", "fp32"): row["product_gflop_per_s"] for row in rows}
        end = max(10 * max(products.values()) / copy, *(2 * row["flop_per_byte"] for row in rows))
        for numbers, product in products.items():
            points = [1.0, product / copy, end]
            axes.plot(points, [min(product, copy * x) for x in points], color="#444444", linewidth=1.5)
            axes.annotate(numbers, (end, product), fontsize=7, ha="right", va="bottom", color="#444444")
    for index, row in enumerate(rows):
        axes.scatter(
            row["flop_per_byte"],
            row["gflop_per_s"],
            color=COLOURS[row["family"]],
            marker=MARKERS[index % len(MARKERS)],
            s=60,
            label=variant(row),
        )
    axes.set(xscale="log", yscale="log", xlabel="FLOP per byte", ylabel="GFLOP/s")
    axes.grid(True, which="both", alpha=0.2)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return _svg(figure)


def _svg(figure: Figure) -> str:
    """A figure as SVG text that is the same in every run; the figure is closed."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "rave-backlit", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
