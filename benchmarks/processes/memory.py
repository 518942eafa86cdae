"""Reads figures of memory from the operating system and from the GPU's driver."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

MIB = 2**20


def peak_rss_mib() -> float:
    """Largest resident memory that this process, or any child it waited for, ever had, in MiB.

    Linux's high-water mark of the address space is read rather than `ru_maxrss`, which a process inherits
    from the process that started it.
    """
    own = _status_mib("VmHWM")
    if own is None:
        own = _maxrss_mib("RUSAGE_SELF")
    return max(own, _maxrss_mib("RUSAGE_CHILDREN"))


def rss_mib(pid: int) -> float:
    """Resident memory of a process and its children now, in MiB; 0 if it is gone or cannot be read."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError, ValueError):
        return 0.0
    own = pages * os.sysconf("SC_PAGE_SIZE") / MIB
    return own + sum(rss_mib(int(child)) for child in children)


def available_mib() -> float:
    """Memory in MiB that is still free on the machine, or within the limit of a control group if less."""
    free = _meminfo_mib("MemAvailable")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text().strip()
        return min(free, (int(limit) - int(used)) / MIB)
    except (OSError, ValueError):
        return free


def gpu_used_mib() -> float | None:
    """Memory in MiB that all processes use on the first NVIDIA GPU, by its driver; None without a GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    try:
        return float(answer.stdout.strip())
    except ValueError:
        return None


def _status_mib(field: str) -> float | None:
    """A field of /proc/self/status in MiB; None where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return None


def _meminfo_mib(field: str) -> float:
    """A field of /proc/meminfo in MiB; the machine's memory where there is none."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MIB


def _maxrss_mib(who: Literal["RUSAGE_SELF", "RUSAGE_CHILDREN"]) -> float:
    import resource  # here, since Windows has no such module, and tables can be made there

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(getattr(resource, who)).ru_maxrss * unit / MIB
