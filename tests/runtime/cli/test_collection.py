"""Garbage collection of rave-run: off while modules load, on while photographs are enhanced."""

from __future__ import annotations

import subprocess
import sys


def test_garbage_is_collected_while_photographs_are_enhanced() -> None:
    code = (
        "import gc, rave_runtime.cli.program as program\n"
        "program._enhance_folder = lambda *_: print(gc.isenabled()) or 0\n"
        "from rave_runtime.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "photos/", "out/"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == "True\n"
