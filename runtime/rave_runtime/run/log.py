"""A log with a line of JSON per photograph, for machines to read."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from rave_runtime.backends.devices import Setup
from rave_runtime.errors import UsageError
from rave_runtime.files.appended import missing_line_end
from rave_runtime.files.atomic import is_stream_name, make_folder
from rave_runtime.files.regular import make_blocking
from rave_runtime.files.secrets import without_secrets
from rave_runtime.run.overwriting import require_own_text
from rave_runtime.run.results import Result

LOG_MARK: Final = b'{"time": "'
"""First bytes of every line of a log, which tell it from other files."""

REPORT_MARK: Final = b"<title>rave-run: "
"""Bytes in the head of every report, which tell it from other files."""


class Log:
    """A log to which results are appended, open until it is closed.

    Where it cannot be written any more, such as on a full disk, one warning is given and the run goes on.

    Each line holds: time (UTC, ISO 8601), name, target, status, error, warnings, width_px, height_px,
    seconds, provider, precision, working_size_px, worker, backlit. Lines are written as results come.

    Attributes:
        problem: why the log lacks lines, in words for people; None where it lacks none.

    Args:
        file: the log; `-` is standard output, and None writes nothing.
        setup: what the run computes with.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, file: Path | None, setup: Setup) -> None:
        self.problem: str | None = None
        self._file = file
        self._stream = None if file is None else _open(file)
        self._setup = setup

    def write(self, result: Result) -> None:
        """Appends a result's line. The first failure gives a warning, and nothing is written after it."""
        if self._stream is None or self.problem is not None:
            return
        self._follow_name()
        rest = memoryview((json.dumps(self._facts_of(result)) + "\n").encode())
        try:
            while rest:  # a disk that is nearly full takes a part, and refuses the next one
                rest = rest[self._stream.write(rest) or 0 :]
        except OSError as error:
            reason = error.strerror or error
            self.problem = f"the log {self._file} lacks {result.job.name} and what came after it ({reason})"
            warnings.warn(
                f"the log {self._file} cannot be written any more ({reason}): it ends before "
                f"{result.job.name}",
                stacklevel=2,
            )

    def _follow_name(self) -> None:
        """Begins the log anew where its file was moved away, as logrotate does; a file of others is left."""
        assert self._file is not None
        assert self._stream is not None
        if str(self._file) == "-" or is_stream_name(self._file) or os.path.islink(self._file):
            return
        with contextlib.suppress(OSError, UsageError):
            status = os.fstat(self._stream.fileno())
            if self._file.exists() and os.path.samestat(self._file.stat(), status):
                return
            require_own_text("--log", self._file, LOG_MARK)
            stream = _open(self._file)
            self.close()
            self._stream = stream

    def close(self) -> None:
        """Closes the log's file."""
        if self._stream is not None:
            self._stream.close()

    def _facts_of(self, result: Result) -> dict[str, object]:
        """Returns the fields of a result's line, with texts that hold no secrets of URLs."""
        return {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "name": result.job.name,
            "target": str(result.job.target),
            "status": result.status,
            "error": result.error and without_secrets(result.error),
            "warnings": [without_secrets(warning) for warning in result.warnings],
            "width_px": result.width_px,
            "height_px": result.height_px,
            "seconds": round(result.seconds, 4),
            "provider": self._setup.provider,
            "precision": self._setup.precision,
            "working_size_px": self._setup.working_size_px,
            "worker": result.worker or None,
            "backlit": None if result.backlit is None else round(result.backlit, 3),
        }


def _open(file: Path) -> BinaryIO:
    """Opens the log without a buffer, so that each line is there at once and closing writes nothing more."""
    if str(file) == "-":
        return cast(BinaryIO, os.fdopen(os.dup(1), "wb", buffering=0))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
    if not is_stream_name(file):
        flags |= getattr(os, "O_NOFOLLOW", 0)
        make_folder(file.parent, like=None)
    try:  # O_NONBLOCK: a pipe without a reader raises ENXIO at once
        descriptor = os.open(file, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "it is a pipe that no program reads", str(file)) from error
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link", str(file)) from error
        raise
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1 and not is_stream_name(file):
        os.close(descriptor)
        raise OSError(errno.EMLINK, "it has other names (hard links)", str(file))
    make_blocking(descriptor)
    if stat.S_ISREG(status.st_mode) and not is_stream_name(file):
        with contextlib.suppress(OSError):  # the first line will tell
            os.write(descriptor, missing_line_end(file).encode())
    return cast(BinaryIO, os.fdopen(descriptor, "ab", buffering=0))


def write_each(results: Iterable[Result], log: Log) -> Iterator[Result]:
    """Passes results on, each after its line has been written."""
    for result in results:
        log.write(result)
        yield result
