"""rave-run in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def rave_run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)
