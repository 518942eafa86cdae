"""What the system lets this process use: processors, memory and threads, containers' limits included."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN_CGROUP: Final = Path("/proc/self/cgroup")

_LIBRARIES: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables by which libraries of arithmetic are told how many threads to start."""

_LEAVING_S: Final = 0.2
"""How long the threads of a probe may take to be gone."""

_NO_LIMIT_BYTES: Final = 1 << 60
"""Version 1 of control groups writes about 2^63 where there is no limit."""


def usable_processors() -> int:
    """How many processors this process may run on, or the worth of processors that its container allows.

    A container's share of time (`cpu.max`, as `docker run --cpus` sets it) is rounded up: with the worth of
    one and a half processors, two threads are busy most of the time.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([found, *(math.ceil(share) for share in _processor_shares())]))


def allowed_memory_mib() -> int | None:
    """The memory that the container allows, in MiB; None where no container sets a limit."""
    limits = []
    for folder in _own_folders("memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text is not None and text.isdecimal() and int(text) < _NO_LIMIT_BYTES:
                limits.append(int(text) >> 20)
    return min(limits, default=None)


def startable_threads(count: int) -> int:
    """How many more threads the system lets this process start, up to a number.

    Limits of processes per user (`ulimit -u`) and per container show only when a thread is started, so
    that is what this does; the threads end at once, and none of them counts any more when this returns.
    """
    end = threading.Event()
    before = _count_threads()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, name="rave-probe", daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        pass
    finally:
        end.set()
        for thread in started:
            thread.join()
    # The system takes a moment longer than Python to be rid of a thread, and would refuse its successor.
    patience = time.monotonic() + _LEAVING_S
    while started and _count_threads() > before and time.monotonic() < patience:
        time.sleep(0.001)
    return len(started)


def _count_threads() -> int:
    """How many threads of this process the system has; 0 where it does not tell."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


def fit_libraries() -> None:
    """Has libraries of arithmetic start one thread only, where the system allows too few for all processors.

    Otherwise OpenBLAS, which numpy imports, prints four lines and interrupts its process as Ctrl-C does,
    and the OpenMP below torch ends it. This is for programs, before they import numpy; what the user
    set stays.
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = 2 * processors + 2  # two such libraries at once, and a thread or two of the program
    if startable_threads(wanted) < wanted:
        for name in _LIBRARIES:
            os.environ.setdefault(name, "1")


def _processor_shares() -> Iterator[float]:
    """Processors' worth of time that each group above this process allows."""
    for folder in _own_folders("cpu"):
        words = (_read(folder / "cpu.max") or "").split()
        if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
            yield int(words[0]) / int(words[1])
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota and period and quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _own_folders(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups, from its own upwards, of both versions."""
    for line in (_read(_OWN_CGROUP) or "").splitlines():
        _, controllers, place = line.split(":", 2) if line.count(":") >= 2 else ("", "?", "/")
        if controllers and controller not in controllers.split(","):
            continue
        for root in _roots(controllers, controller):
            folder = root / place.lstrip("/")
            yield from (
                above for above in (folder, *folder.parents) if above == root or root in above.parents
            )


def _roots(controllers: str, controller: str) -> Iterator[Path]:
    """Where a hierarchy of control groups may be mounted.

    Where a system has both versions, version 2 lies in the folder `unified`. The folder of two controllers
    of version 1 need not name them in the order in which the process's own list does (`cpuacct,cpu` lies
    in `cpu,cpuacct` on RHEL 7), but a link with each one's name stands beside it.
    """
    names = ("", "unified") if not controllers else dict.fromkeys((controllers, controller))
    return (_CGROUPS / name for name in names)


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return None
