"""Says which model a result measured, and which results must be measured again with the one that ships."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.contestants.cost import cost_of
from benchmarks.contestants.enhancers import Setting
from benchmarks.contestants.methods import METHODS
from benchmarks.records.results import FOLDER, STUDIES, model_hash, read_results
from benchmarks.records.tables import markdown

Row = dict[str, Any]

_QUALITY_STUDIES: Final = ("backlit_score", "int8_library", "upsampling_embedded")
"""Published studies whose figures depend on the weights of the model that ships."""


def name_models(
    rows: Sequence[Row], bundle: str | None, weights: Sequence[tuple[str, str]] = ()
) -> str | None:
    """The hash of the bundle that rows measured, or several with spaces between them; None if they did none.

    Args:
        rows: the rows of a result; networks in torch are no bundles.
        bundle: the folder for all methods of the runtime; None is the embedded one.
        weights: folders for single methods instead of it, as `parse_weights` returns them.

    Raises:
        BundleError: a folder is no bundle.
    """
    folders: set[str | None] = set()
    for name in {row["method"] for row in rows if _runs_a_bundle(row)}:
        folders |= {path for method, path in weights if method == name} or {bundle}
    return " ".join(sorted({model_hash(folder) for folder in folders})) or None


def measures_a_bundle(rows: Sequence[Row]) -> bool:
    """Whether any of the rows measured our runtime."""
    return any(map(_runs_a_bundle, rows))


def describe_doubt(model: str | None, rows: Sequence[Row] = ()) -> str:
    """A sentence on a model that is not the one that ships; empty if it is.

    Args:
        model: the hash that the result of a bundle names; None if it names none.
        rows: its rows; their operations are compared with those of the one that ships.
    """
    if model == model_hash():
        return ""
    words = f"The model has the hash {model}, which is not the one that ships"
    if model is None:
        words = "Which model was measured is not recorded"
    row, shipped = _row_and_shipped(rows)
    if shipped is None:
        return f"{words}."
    ratio = row["gmacs"] / (shipped.macs / 1e9)
    times = "as many operations as" if abs(ratio - 1) < 0.005 else f"{ratio:.3g} times the operations of"
    return f"{words}; for a photograph, it needs {times} the one that ships."


def list_studies(folder: Path) -> str:
    """A table of the results of studies in a folder of results and their models; empty if there are none."""
    shipped, lines = model_hash(), []
    for file in sorted((folder / STUDIES).glob("*.json")):
        model = json.loads(file.read_text("utf-8")).get("model")
        other = "not recorded" if model is None else f"another, {model}"
        lines.append([f"`{file.name}`", "the one that ships" if model == shipped else other])
    return markdown(["Study", "Model"], lines) if lines else ""


def find_refused(folder: Path = FOLDER) -> list[str]:
    """Results that must not be published, each with the reason and the command that measures it anew.

    Quality must be that of the model that ships. Times and memory may be those of another one, since they do
    not depend on the weights, but not of a network with another number of weights.

    Raises:
        ResultError: a JSON file in the folder is not a result.
        OSError, json.JSONDecodeError: the result of a study cannot be read.
    """
    shipped, refused = model_hash(), []
    for result in read_results(folder):
        if result.model == shipped or (result.model is None and not measures_a_bundle(result.rows)):
            continue
        row, count = _row_and_shipped(result.rows)
        if result.quantity.startswith("quality"):
            refused.append(_refuse(f"{result.stem}.json", result.model, result.command))
        elif count is not None and row.get("parameters") not in (None, count.parameters):
            reason = "was measured with another architecture than that of the model that ships"
            refused.append(f"{result.stem}.json {reason}: run `{result.command}`")
    for name in _QUALITY_STUDIES:
        file = folder / STUDIES / f"{name}.json"
        content = json.loads(file.read_text("utf-8")) if file.is_file() else {"model": shipped}
        if content.get("model") != shipped:
            refused.append(_refuse(file.name, content.get("model"), content["command"]))
    return refused


def _refuse(name: str, model: str | None, command: str) -> str:
    reason = "was measured with another model than the one that ships"
    return f"{name} {'does not say which model it measured' if model is None else reason}: run `{command}`"


def _runs_a_bundle(row: Row) -> bool:
    method = METHODS.get(row.get("method", ""))
    return method is not None and method.kind in ("runtime", "command")


def _row_and_shipped(rows: Sequence[Row]) -> tuple[Row, Any]:
    """The first row of a bundle whose operations were counted, and the same count of the one that ships."""
    for row in rows:
        if _runs_a_bundle(row) and row.get("gmacs"):
            size = row["height"], row["width"], row.get("batch", 1)
            return row, cost_of(METHODS[row["method"]], Setting(), *size)
    return {}, None
