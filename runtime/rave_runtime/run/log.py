"""A log with a line of JSON per photograph, for machines to read."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rave_runtime.enhancer import Setup
from rave_runtime.run.batch import Result

WriteLine = Callable[[Result], None]


@contextlib.contextmanager
def open_log(file: Path | None, setup: Setup) -> Iterator[WriteLine]:
    """Gives a function that appends a result to the log; without a file it does nothing.

    Each line holds: time (UTC, ISO 8601), name, target, status, error, warnings, width_px, height_px,
    seconds, provider, precision, working_size_px, worker. Lines are written as results come.

    Raises:
        OSError: the file cannot be opened.
    """
    if file is None:
        yield lambda _: None
        return
    with file.open("a", encoding="utf-8") as stream:

        def write(result: Result) -> None:
            line = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "name": result.job.name,
                "target": str(result.job.target),
                "status": result.status,
                "error": result.error,
                "warnings": list(result.warnings),
                "width_px": result.width_px,
                "height_px": result.height_px,
                "seconds": round(result.seconds, 4),
                "provider": setup.provider,
                "precision": setup.precision,
                "working_size_px": setup.working_size_px,
                "worker": result.worker or None,
            }
            stream.write(json.dumps(line) + "\n")
            stream.flush()

        yield write


def write_each(results: Iterable[Result], write_line: WriteLine) -> Iterator[Result]:
    """Passes results on, each after its line has been written."""
    for result in results:
        write_line(result)
        yield result
