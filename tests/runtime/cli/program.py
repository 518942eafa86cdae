"""rave-run in a process of its own, or inside that of the tests, which saves its start.

Signals, closed streams, memory and what libraries print by themselves need a process of their own.
"""

from __future__ import annotations

import contextlib
import gc
import io
import subprocess
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

from rave_runtime.cli import program


def rave_run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


def run_here(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same without the start of a program: see `rave_run_here`."""
    done = rave_run_here(*arguments, cwd=cwd)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def rave_run_here(
    *arguments: object, cwd: Path | None = None, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Calls what `main` calls after it has taken over signals; an error that ends no program is raised."""
    words = [str(argument) for argument in arguments]
    streams = [
        io.TextIOWrapper(io.BytesIO(content), "utf-8", "backslashreplace") for content in (given, b"", b"")
    ]
    with (
        contextlib.chdir(cwd or Path.cwd()),
        patch.multiple(sys, stdin=streams[0], stdout=streams[1], stderr=streams[2]),
        warnings.catch_warnings(),
    ):
        warnings.resetwarnings()
        warnings.simplefilter("ignore", ResourceWarning)  # as in a program that is started
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.showwarning = program._show_warning
        try:
            code = program._run(words)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            gc.unfreeze()
            gc.enable()
    for stream in streams[1:]:
        stream.flush()
    out, problems = (stream.buffer.getvalue() for stream in streams[1:])
    return subprocess.CompletedProcess(words, code, out, problems)
