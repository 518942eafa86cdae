"""Writes and reads results: a JSON file per quantity and device, and its rows again as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes.machine import Machine
from rave_runtime.bundle.opening import open_bundle
from rave_runtime.files.atomic import write_atomically

FORMAT = 1
STUDIES = "studies"
FOLDER = Path(__file__).parents[1] / "results"

PAGE = FOLDER.parents[1] / "docs" / "benchmarks.md"


class ResultError(ValueError):
    """A file cannot be read as a result."""


@dataclass(frozen=True)
class Result:
    """One run of one command.

    Attributes:
        quantity: what was measured, such as "latency" or "memory".
        device: "cpu" or "cuda".
        quick: whether there were fewer sizes and repetitions.
        command: the command line, without folders.
        date: the date in UTC, as YYYY-MM-DD.
        machine: the machine on which it ran.
        notes: sentences on how it was measured.
        rows: the measurements, values by name.
        model: hash of the bundle that was measured (`Manifest.model_hash`), several with spaces between
            them; None where none was, or where it was not recorded yet.
    """

    quantity: str
    device: str
    quick: bool
    command: str
    date: str
    machine: Machine
    notes: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    model: str | None = None

    @property
    def stem(self) -> str:
        """Name of the result's files without the suffix."""
        return f"{self.quantity}-{self.device}" + ("-quick" if self.quick else "")


def write_result(result: Result, folder: Path = FOLDER) -> Path:
    """Writes JSON and CSV, each whole or not at all, over those of an earlier run; returns the JSON's path.

    Raises:
        PhotoError: a file cannot be written.
    """
    content = {"format": FORMAT, **asdict(result)}
    path = folder / f"{result.stem}.json"
    write_atomically(path, (json.dumps(_rounded(content), indent=1) + "\n").encode())
    columns = list(dict.fromkeys(key for row in result.rows for key in row))
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows([_rounded(row) for row in result.rows])
    write_atomically(folder / f"{result.stem}.csv", table.getvalue().encode())
    return path


def read_result(path: Path) -> Result:
    """Reads a result's JSON.

    Raises:
        ResultError: the file cannot be read, is not JSON, has another format, or lacks a value.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        found = content.pop("format")
        if found != FORMAT:
            raise ResultError(f"{path} has result format {found}, this reads {FORMAT}: measure again")
        machine = content["machine"]
        machine["instructions"] = tuple(machine["instructions"])
        content["machine"] = Machine(**machine)
        content["notes"], content["rows"] = tuple(content["notes"]), tuple(content["rows"])
        return Result(**content)
    except (OSError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ResultError(f"{path} is not a result of these benchmarks: {error!r}") from error


def read_results(folder: Path = FOLDER) -> list[Result]:
    """Reads all results of a folder, by name, without quick runs for which there is a full one.

    Raises:
        ResultError: a JSON file in the folder is not a result.
    """
    results = [read_result(path) for path in sorted(folder.glob("*.json"))]
    full = {(r.quantity, r.device) for r in results if not r.quick}
    return [r for r in results if not r.quick or (r.quantity, r.device) not in full]


def find_result(results: Sequence[Result], quantity: str, device: str = "cpu") -> Result | None:
    """The result of a quantity on a device, or None."""
    return next((r for r in results if (r.quantity, r.device) == (quantity, device)), None)


def model_hash(bundle: str | Path | None = None) -> str:
    """The hash of a bundle's graphs, which results name their model by.

    Args:
        bundle: the bundle's folder; None is the embedded one, which ships.

    Raises:
        BundleError: there is no bundle.
    """
    return open_bundle(bundle).manifest.model_hash


def _rounded(value: Any) -> Any:
    """A value with floats of six significant digits; further digits are noise, which makes large diffs."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
