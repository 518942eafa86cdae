"""Writes rows as results, together with how they were measured."""

from __future__ import annotations

import datetime
import importlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes.machine import describe_machine
from benchmarks.records.models import name_models
from benchmarks.records.report import SECTIONS
from benchmarks.records.results import Result, write_result
from benchmarks.suites.contest import Row
from benchmarks.suites.suites import Request
from rave_runtime.backends.limits import usable_processors

FAIR = (
    "Every method gets the same photograph in host memory (8 bits) and leaves its result there; rave-run "
    "goes from JPEG to JPEG and starts anew each time.",
    "Threads as in each row; classical methods use one, rave-run all cores. Torch networks run "
    "channels-last, in inference mode, with random weights (time does not depend on them), uncompiled.",
    "Each method has its process; all methods take turns at one size, the order reversed every round, "
    "the others halted meanwhile. Times are medians over rounds after one warm-up run; low and high are "
    "quartiles; `*` marks a single cold run.",
    "Peak memory is the process's high-water mark by the operating system, libraries included; the GPU's "
    "is what the driver counts more than before.",
    "A run over the cap or out of memory is reported as such, and larger sizes are then not tried.",
)

NOTES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("latency", "memory", "scale", "tiling", "roofline"), FAIR),
    "quality": (
        "Methods run one after another, so their times are rough: medians over the pairs after the first, "
        "from a photograph in host memory to its result there.",
    ),
    "quality-real": (),
    "train-step": (
        "Each variant has its process, and they take turns; the least time after one warm-up run counts. "
        "Peak memory leaves out the loading of the models.",
    ),
}
"""How each quantity is measured, in sentences for the foot of its tables."""

STEP_OPTIONS = ("batch", "size", "guidance", "identity", "device", "threads", "repeats")


def record_result(
    quantity: str, request: Request, rows: Sequence[Row], folder: Path, arguments: Sequence[str]
) -> list[str]:
    """Writes a result; returns its tables and a line that names the file.

    Args:
        quantity: what was measured, such as "latency" or "memory".
        request: what was asked for.
        rows: the rows that were measured.
        folder: the folder to write into.
        arguments: the arguments of the command line; of paths only the last part is kept.
    """
    words = ["python -m benchmarks", *map(_without_folders, arguments)]
    busy = f"Load average of the machine when this began: {request.load:.1f} on {usable_processors()} cores."
    result = Result(
        quantity,
        request.device,
        request.quick,
        " ".join(words),
        datetime.datetime.now(datetime.UTC).date().isoformat(),
        describe_machine(),
        (*NOTES[quantity], busy),
        tuple(rows),
        name_models(rows, request.bundle, request.weights),
    )
    path = write_result(result, folder)
    tables = [f"\n{title}\n\n{table(result)}\n" for title, table in SECTIONS[quantity]]
    return [*tables, f"wrote {path}"]


def measure_train_step(arguments: Sequence[str]) -> list[Row]:
    """Runs `benchmarks/studies/train_step.py`; returns a row per part of the step and variant.

    Args:
        arguments: command-line arguments of the study.

    Raises:
        ModuleNotFoundError: the study, or a package that it needs, is missing.
    """
    module = importlib.import_module("benchmarks.studies.train_step")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "steps.json"
        module.main([*arguments, "--json", str(file)])
        figures: dict[str, Any] = json.loads(file.read_text("utf-8"))
    options = {name: figures["options"][name] for name in STEP_OPTIONS if name in figures["options"]}
    return [
        {
            "part": part,
            "variant": variant,
            "precision": figures["precisions"][variant],
            "seconds": seconds,
            "peak_mib": peak,
            **options,
        }
        for part, variants in figures["parts"].items()
        for variant, (seconds, peak) in variants.items()
    ]


def _without_folders(word: str) -> str:
    """An argument without this machine's folders, of a path or of METHOD=FILE."""
    method, equals, file = word.rpartition("=")
    return method + equals + Path(file).name if "/" in file else word
