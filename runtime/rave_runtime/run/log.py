"""A log with a line of JSON per photograph, for machines to read."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from rave_runtime.enhancer import Setup
from rave_runtime.files.secrets import without_secrets
from rave_runtime.run.batch import Result

WriteLine = Callable[[Result], None]

LOG_MARK: Final = b'{"time": "'
"""How the lines of a log begin, by which it is told from other files."""

REPORT_MARK: Final = b"<title>rave-run: "
"""What stands in the head of a report."""


@contextlib.contextmanager
def open_log(file: Path | None, setup: Setup) -> Iterator[WriteLine]:
    """Gives a function that appends a result to the log; without a file it does nothing.

    A log that cannot be written any more, such as on a full disk, is said once and ends no run. Lines of the
    file `-` go to standard output.

    Each line holds: time (UTC, ISO 8601), name, target, status, error, warnings, width_px, height_px,
    seconds, provider, precision, working_size_px, worker, backlit. Lines are written as results come.

    Raises:
        OSError: the file cannot be opened.
    """
    if file is None:
        yield lambda _: None
        return
    failed = False
    with _open(file) as stream:

        def write(result: Result) -> None:
            """Appends a result's line; after the first failure nothing more is written."""
            nonlocal failed
            if failed:
                return
            line = {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "name": result.job.name,
                "target": str(result.job.target),
                "status": result.status,
                "error": result.error and without_secrets(result.error),
                "warnings": [without_secrets(warning) for warning in result.warnings],
                "width_px": result.width_px,
                "height_px": result.height_px,
                "seconds": round(result.seconds, 4),
                "provider": setup.provider,
                "precision": setup.precision,
                "working_size_px": setup.working_size_px,
                "worker": result.worker or None,
                "backlit": None if result.backlit is None else round(result.backlit, 3),
            }
            try:
                stream.write((json.dumps(line) + "\n").encode())
            except OSError as error:
                failed = True
                reason = error.strerror or error
                warnings.warn(
                    f"the log {file} cannot be written any more ({reason}): it ends before {result.job.name}",
                    stacklevel=2,
                )

        yield write


def _open(file: Path) -> BinaryIO:
    """The log without a buffer, so that each line is there at once and closing writes nothing more."""
    if str(file) == "-":
        return cast(BinaryIO, os.fdopen(os.dup(1), "wb", buffering=0))
    return cast(BinaryIO, file.open("ab", buffering=0))


def write_each(results: Iterable[Result], write_line: WriteLine) -> Iterator[Result]:
    """Passes results on, each after its line has been written."""
    for result in results:
        write_line(result)
        yield result
