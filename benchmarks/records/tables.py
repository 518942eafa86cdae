"""Makes Markdown tables of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.records.results import Result

Row = dict[str, Any]
EMPTY = "–"

_NAME_LENGTH: Final = 20
"""Most letters of a picture's name at the head of a column."""


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is aligned left, the others right."""
    rule = ["---", *("--:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *lines])


def seconds_words(seconds: float | None) -> str:
    """A time with three significant digits, in ms below a second and in s above."""
    if seconds is None:
        return EMPTY
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def mib_words(mib: float | None) -> str:
    """An amount of memory, in MiB below 1000 MiB and in GiB above."""
    if not mib:
        return EMPTY
    return f"{mib:.0f} MiB" if mib < 1000 else f"{mib / 1024:.1f} GiB"


def gmacs_words(gmacs: float | None) -> str:
    """Multiply-accumulates with three significant digits, from MMAC to PMAC."""
    if gmacs is None:
        return EMPTY
    for scale, unit in ((1e-3, "MMAC"), (1, "GMAC"), (1e3, "TMAC")):
        if gmacs < 999.5 * scale:
            return f"{gmacs / scale:.3g} {unit}"
    return f"{gmacs / 1e6:.3g} PMAC"


def time_cell(row: Row) -> str:
    """The median time, with "*" after a single cold run; without a time the outcome, and the work to do."""
    if row["median_s"] is not None:
        return seconds_words(row["median_s"]) + ("*" if row["outcome"] == "one run" else "")
    work = f" ({gmacs_words(row['gmacs'])})" if row["gmacs"] else ""
    words = "not run" if row["outcome"] in ("not tried", "over the cap") else row["outcome"]
    return words + work


def memory_cell(row: Row) -> str:
    """Peak resident memory, and the GPU's memory if it was measured."""
    if row["outcome"] == "out of memory":
        return f"out of memory (over {mib_words(row['peak_rss_mib'])})"
    if row["median_s"] is None:
        return "not run"
    gpu = f" + {mib_words(row['gpu_mib'])} GPU" if row.get("gpu_mib") else ""
    return mib_words(row["peak_rss_mib"]) + gpu


def variant(row: Row) -> str:
    """A name by which rows of one method are told apart: its title, precision and device."""
    parts = [row["title"]]
    if row["family"] != "classical":
        parts.append(row["precision"])
    if row["family"] == "ours" and row["device"] not in ("cpu", "cuda", "auto"):
        parts.append(row["device"])
    return ", ".join(str(part) for part in parts)


def size_table(result: Result, cell: str) -> str:
    """A table with a row per method and a column per size.

    Args:
        result: the result.
        cell: what the cells show: "time", "memory" or "ratio", the median of paired ratios to our time.
    """
    cells: dict[str, Callable[[Row], str]] = {
        "time": time_cell,
        "memory": memory_cell,
        "ratio": lambda row: EMPTY if row["times_ours"] is None else f"{row['times_ours']:.3g}x",
    }
    sizes = list(dict.fromkeys((row["width"], row["height"]) for row in result.rows))
    names = list(dict.fromkeys(variant(row) for row in result.rows))
    rows_by_size = {(variant(row), row["width"], row["height"]): row for row in result.rows}
    header = ["", *(f"{w}x{h} ({w * h / 1e6:.2g} MP)" for w, h in sizes)]
    lines = [
        [
            name,
            *(
                cells[cell](rows_by_size[name, *size]) if (name, *size) in rows_by_size else EMPTY
                for size in sizes
            ),
        ]
        for name in names
    ]
    return markdown(header, lines)


def cost_table(result: Result) -> str:
    """A table of parameters and multiply-accumulates of every network at the smallest measured size."""
    first = min((row["megapixels"] for row in result.rows), default=0)
    lines = {
        row["title"]: [
            row["title"],
            f"{row['parameters'] / 1e6:.3f} M",
            gmacs_words(row["gmacs"]),
            gmacs_words(row["gmacs"] / row["megapixels"]),
        ]
        for row in result.rows
        if row["megapixels"] == first and row["gmacs"]
    }
    size = next((f"{r['width']}x{r['height']}" for r in result.rows if r["megapixels"] == first), "")
    return markdown(["", "Parameters", f"Work at {size}", "Work per MP"], list(lines.values()))


def quality_table(result: Result) -> str:
    """A table of quality and time, the methods sorted by PSNR, and last those that were not measured."""
    rows = sorted(
        (row for row in result.rows if row["outcome"] == "measured"), key=lambda row: -row["psnr_db"]
    )
    lines = [
        [
            _weighted_title(row),
            f"{row['psnr_db']:.2f}",
            f"{row['ssim']:.3f}",
            EMPTY if row["lpips"] is None else f"{row['lpips']:.3f}",
            seconds_words(row["median_s"]),
        ]
        for row in rows
    ]
    lines += [
        [_weighted_title(row), row["outcome"], EMPTY, EMPTY, EMPTY]
        for row in result.rows
        if row["outcome"] != "measured"
    ]
    return markdown(["", "PSNR, dB", "SSIM", "LPIPS", "Time per photograph"], lines)


def scale_table(result: Result) -> str:
    """A table of throughput by batch and number of threads."""
    lines = [
        [
            variant(row),
            f"{row['width']}x{row['height']}",
            str(row["batch"]),
            str(row["threads"]),
            time_cell(row),
            EMPTY if row["median_s"] is None else f"{row['megapixels'] / row['median_s']:.3g}",
        ]
        for row in result.rows
    ]
    return markdown(["", "Size", "Batch", "Threads", "Time", "MP/s"], lines)


def tiling_table(result: Result) -> str:
    """A table of time, memory and error by tile size."""
    lines = [
        [
            "no tiles" if row["tile_size"] is None else f"{row['tile_size']} px",
            time_cell(row),
            memory_cell(row),
            EMPTY if row.get("light_error") is None else f"{row['light_error']:.1e}",
            EMPTY if row.get("picture_error") is None else str(row["picture_error"]),
        ]
        for row in result.rows
    ]
    first = result.rows[0] if result.rows else {}
    size = f"{first.get('width')}x{first.get('height')}"
    header = ["Tile", f"Time at {size}", "Peak memory", "Light map, max error", "Picture, max error of 255"]
    return markdown(header, lines)


def roofline_table(result: Result) -> str:
    """A table of FLOPs per byte, the rate that was reached, its limit and their ratio."""
    lines = [
        [
            variant(row),
            f"{row['width']}x{row['height']}",
            row.get("numbers", "fp32"),
            f"{row['flop_per_byte']:.0f}",
            f"{row['gflop_per_s']:.0f}",
            f"{row['limit_gflop_per_s']:.0f}",
            f"{row['share']:.0%}",
        ]
        for row in result.rows
    ]
    return markdown(["", "Size", "Numbers", "FLOP/byte", "GFLOP/s", "Limit, GFLOP/s", "Share"], lines)


def plain_table(result: Result) -> str:
    """A table of all values of all rows."""
    columns = list(dict.fromkeys(key for row in result.rows for key in row))
    lines = [[_plain(row.get(column)) for column in columns] for row in result.rows]
    return markdown(columns, lines)


def _plain(value: Any) -> str:
    if value is None:
        return EMPTY
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _weighted_title(row: Row) -> str:
    return f"{row['title']}, {row['weights']}" if row["weights"] else str(row["title"])


def real_scenes_table(result: Result) -> str:
    """A table of PSNR and SSIM of every method, by how far photographs are below the middle exposure."""
    columns = list(dict.fromkeys(row["stops_below"] for row in result.rows if "stops_below" in row))
    well_lit_sets = list(
        dict.fromkeys(row["set"] for row in result.rows if str(row["set"]).startswith("well-lit"))
    )
    head = ["", *(c if c == "mean" else "middle" if c == 0 else f"-{c:g} stops" for c in columns)]
    head += ["mean SSIM of luma", *well_lit_sets]
    lines = []
    for title in dict.fromkeys(row["title"] for row in result.rows if "stops_below" in row):
        rows = [row for row in result.rows if row["title"] == title]
        scenes = {row["stops_below"]: row for row in rows if "stops_below" in row}
        rows_by_set = {row["set"]: row for row in rows}
        cells = [f"{scenes[c]['psnr_db']:.2f} / {scenes[c]['ssim']:.3f}" for c in columns]
        luma = scenes["mean"].get("ssim_luma")
        cells.append(EMPTY if luma is None else f"{luma:.3f}")
        lines.append([title, *cells, *(f"{rows_by_set[name]['psnr_db']:.1f}" for name in well_lit_sets)])
    return markdown(head, lines)


def lifts_table(result: Result) -> str:
    """A table of how backlit pictures changed, a column for each, and by how many EV low-key ones did.

    Cells of backlit pictures are the darkest third and the brightest fifth, in EV, and the share of clipped
    pixels, in percentage points.
    """
    pictures = list(dict.fromkeys(row["names"] for row in result.rows if row["set"] == "backlit"))
    lines = []
    for title in dict.fromkeys(row["title"] for row in result.rows if row["set"] in ("backlit", "low-key")):
        rows = [row for row in result.rows if row["title"] == title]
        lifted = {row["names"]: row for row in rows if row["set"] == "backlit"}
        cells = [_lift(lifted.get(name)) for name in pictures]
        low_key = next((row for row in rows if row["set"] == "low-key"), None)
        cells.append(
            f"{low_key['mean_change_ev']:+.2f}, at most {low_key['largest_change_ev']:+.2f}"
            if low_key
            else EMPTY
        )
        lines.append([title, *cells])
    heads = [name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…" for name in pictures]
    return markdown(["", *heads, "low-key, mean"], lines)


def _lift(row: Row | None) -> str:
    if row is None:
        return EMPTY
    clipped = round(row["clipped_points"], 1) + 0.0  # without the sign of a negative zero
    return f"{row['dark_ev']:+.2f} / {row['bright_ev']:+.2f} / {clipped:+.1f}"


def fidelity_sentences(result: Result) -> str:
    """A sentence for each bundle whose precision was compared with float32; empty if none was."""
    return " ".join(
        f"{row['title']}: {row['psnr_db']:.1f} dB or more from float32 on {row['pictures']} pictures, "
        f"median {row['median_db']:.1f}."
        for row in result.rows
        if row["set"] == "against fp32"
    )
