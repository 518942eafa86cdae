"""Makes tables of the findings of studies, each a JSON file in `benchmarks/results/studies`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from benchmarks.records.models import describe_doubt
from benchmarks.records.results import STUDIES
from benchmarks.records.tables import markdown
from rave_runtime.light.score import BACKLIT_SCORE

_BASE: Final = "pillow into files"


def study_blocks(results: Path) -> list[str]:
    """The tables of the studies that are published, each with its command and machine.

    Args:
        results: the folder of all results.
    """
    return [block for block in (scores_block(results), folders_block(results)) if block]


def scores_block(results: Path) -> str | None:
    """The table of `backlit-score` with its command and machine; None if there is no such result.

    Args:
        results: the folder of all results.
    """
    file = results / STUDIES / "backlit_score.json"
    if not file.is_file():
        return None
    findings: dict[str, Any] = json.loads(file.read_text("utf-8"))
    taken: dict[str, dict[str, float]] = findings["percent_taken"]
    head = ["Photographs", "Median score", *(f"{least} or more" for least in next(iter(taken.values())))]
    lines = [
        [name, f"{findings['median_score'][name]:.2f}", *(f"{percent:.0f} %" for percent in row.values())]
        for name, row in taken.items()
    ]
    parts = [
        "## Which photographs are taken for backlit",
        markdown(head, lines),
        f"`--only-backlit` enhances photographs with a score of {BACKLIT_SCORE:g} or more; the log and the "
        "report have each one's score. Columns are the shares of photographs with such scores. "
        f"`{findings['command']}` on {findings['machine']}: "
        f"[`{file.name}`](../benchmarks/results/{STUDIES}/{file.name}).",
    ]
    return "\n\n".join(parts)


def folders_block(results: Path) -> str | None:
    """The tables of `folder-speed` with their command and machine; None if there is no such result.

    Args:
        results: the folder of all results.
    """
    file = results / STUDIES / "folder_speed.json"
    if not file.is_file():
        return None
    findings: dict[str, Any] = json.loads(file.read_text("utf-8"))
    seconds, ratios = findings["median_s"], findings[f"ratio_to_{_BASE.replace(' ', '_')}"]
    lines = [[name, f"{seconds[name]:.2f} s", f"{ratios[name]:.2f}"] for name in seconds]
    head = [
        f"{findings['photographs']} JPEGs of {findings['megapixels_each']:g} MP",
        "Seconds",
        f"Times {_BASE}",
    ]
    parts = ["## Folders of photographs", markdown(head, lines)]
    if "kinds" in findings:
        lines = [
            [
                name,
                f"{kind['pillow_s']:.2f} s",
                f"{kind['rave_run_s']:.2f} s",
                f"{kind['ratio']:.2f}",
                f"{kind['work_ms_each']:.1f} ms",
            ]
            for name, kind in findings["kinds"].items()
        ]
        head = ["Folder", _BASE.capitalize(), "rave-run", "Ratio", "Work of rave-run for each"]
        parts.append(markdown(head, lines))
    if "bookkeeping_each" in findings:
        each = findings["bookkeeping_each"]
        parts.append(
            f"Besides decoding, light and encoding, a photograph takes {each['difference_ms']:.2f} ms: of "
            f"64 x 64 pixels and at strength 0, `rave-run` takes {each['rave_run_ms']:.2f} ms for each of "
            f"thousands, Pillow {each['pillow_ms']:.2f} ms. The start does not count."
        )
    parts.append(
        "Whole programs, start included, in turns; Pillow and simplejpeg only decode and encode, with a "
        "thread for each processor. Work is processor time, start included. "
        f"`{findings['command']}` on {findings['machine']}: "
        f"[`{file.name}`](../benchmarks/results/{STUDIES}/{file.name})."
    )
    if doubt := describe_doubt(findings.get("model")):
        parts[-1] += f" {doubt}"
    return "\n\n".join(parts)
