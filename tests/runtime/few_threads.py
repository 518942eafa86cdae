"""Runs rave-run where the system allows few threads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

_NOBODY = "-all,+dac_override,+dac_read_search"
"""The system's user without rights, who may still read where Python lies here: no limit binds root."""

needs_a_limit = pytest.mark.skipif(
    sys.platform != "linux" or (os.geteuid() == 0 and shutil.which("setpriv") is None),
    reason="needs a limit of processes that binds",
)


def run_with(threads: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs rave-run as a user who may have that many threads, the first one included."""
    code = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_NPROC, ({threads}, {threads}))\n"
        "from rave_runtime.cli import main; main()"
    )
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={_NOBODY}"]
    user += [f"--ambient-caps={_NOBODY}", f"--bounding-set={_NOBODY}"]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    return subprocess.run(
        [*(user if os.geteuid() == 0 else []), sys.executable, "-c", code, *map(str, arguments)],
        env=environment | {"RAVE_CACHE_DIR": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
