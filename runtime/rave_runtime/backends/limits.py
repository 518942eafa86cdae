"""Finds out how many processors and threads, and how much memory, the system and a container allow."""

from __future__ import annotations

import ctypes
import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_OWN_CGROUP: Final = Path("/proc/self/cgroup")

_OPENBLAS: Final = "OPENBLAS_NUM_THREADS"
_LIBRARIES: Final = (_OPENBLAS, "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that tell numerical libraries how many threads to start."""

_LEAVING_S: Final = 0.2
"""How long to wait until the system has removed the threads of a probe."""

_NO_LIMIT_BYTES: Final = 1 << 60
"""Larger numbers mean no limit: version 1 of control groups then writes about 2^63."""


def usable_processors() -> int:
    """Returns how many processors this process may use, at least 1: the system's or a container's limit.

    A container's share of processor time (`cpu.max`, as `docker run --cpus` sets it) is rounded up: with the
    time of one and a half processors, two threads are busy most of the time.
    """
    return max(1, min([_processors(), *(math.ceil(share) for share in _processor_shares())]))


def allowed_memory_mib() -> int | None:
    """Returns the memory that the container allows, in MiB; None where no container sets a limit."""
    limits = []
    for folder in _own_folders("memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text is not None and text.isdecimal() and int(text) < _NO_LIMIT_BYTES:
                limits.append(int(text) >> 20)
    return min(limits, default=None)


def machine_memory_mib() -> int | None:
    """Returns the memory of the machine, in MiB; None where the system does not tell."""
    if (windows := getattr(ctypes, "windll", None)) is not None:
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        is_told = windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.total) >> 20 if is_told else None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    except (AttributeError, ValueError, OSError):
        return None


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of Windows; all sizes are in bytes."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("others", ctypes.c_uint64 * 6),
    )


def startable_threads(count: int) -> int:
    """Returns how many more threads the system lets this process start, at most `count`.

    Limits of processes per user (`ulimit -u`) and per container show only when a thread is started, so
    this starts threads. They end at once, and none of them counts any more when this returns.
    """
    end = threading.Event()
    initial_count = _count_threads()
    probes: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, name="rave-probe", daemon=True)
            thread.start()
            probes.append(thread)
    except RuntimeError:
        pass
    finally:
        end.set()
        for thread in probes:
            thread.join()
    # The system removes a thread a moment later than Python does, and until then counts it for the limit.
    deadline = time.monotonic() + _LEAVING_S
    while probes and _count_threads() > initial_count and time.monotonic() < deadline:
        time.sleep(0.001)
    return len(probes)


def _count_threads() -> int:
    """Returns how many threads of this process the system counts; 0 where it does not tell."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0


def fit_libraries(*, multiplies: bool = True) -> None:
    """Makes numerical libraries start one thread only, where more would be of no use or are not allowed.

    Where the system allows too few threads for all processors, OpenBLAS, which numpy imports, prints four
    lines and interrupts its process as Ctrl-C does, and torch's OpenMP ends the process. Where it allows
    them, OpenBLAS's threads keep the other processors busy for the first tenth of a second without any work.
    Programs call this before they import numpy; variables that the user has set stay as they are.

    Args:
        multiplies: whether the program has numpy or torch multiply large matrices, which gains from threads.
    """
    if not multiplies:
        os.environ.setdefault(_OPENBLAS, "1")
    needed_threads = 2 * _processors() + 2  # two such libraries at once, and one or two of the program
    if startable_threads(needed_threads) < needed_threads:
        for name in _LIBRARIES:
            os.environ.setdefault(name, "1")


def _processors() -> int:
    """Returns how many processors the system lets this process run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor_shares() -> Iterator[float]:
    """Yields the processor time that each control group of this process allows, in processors."""
    for folder in _own_folders("cpu"):
        words = (_read(folder / "cpu.max") or "").split()
        if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
            yield int(words[0]) / int(words[1])
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota and period and quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _own_folders(controller: str) -> Iterator[Path]:
    """Yields the folders of this process's control groups, its own first, then those above; both versions."""
    for line in (_read(_OWN_CGROUP) or "").splitlines():
        _, controllers, place = line.split(":", 2) if line.count(":") >= 2 else ("", "?", "/")
        if controllers and controller not in controllers.split(","):
            continue
        for root in _roots(controllers, controller):
            folder = root / place.lstrip("/")
            yield from (
                group for group in (folder, *folder.parents) if group == root or root in group.parents
            )


def _roots(controllers: str, controller: str) -> Iterator[Path]:
    """Returns the folders where a hierarchy of control groups may be mounted.

    Where a system has both versions, version 2 lies in the folder `unified`. In version 1, two controllers
    may share a folder whose name has them in another order than the process's list has (`cpuacct,cpu` lies
    in `cpu,cpuacct` on RHEL 7), but beside it there is a link with the name of each controller.
    """
    names = ("", "unified") if not controllers else dict.fromkeys((controllers, controller))
    return (_CGROUPS / name for name in names)


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return None
