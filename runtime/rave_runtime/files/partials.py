"""Names of temporary files, by which those of killed runs are told from files that are being written."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import time
from pathlib import Path
from typing import Final

from rave_runtime.files.location import Location
from rave_runtime.files.regular import walk
from rave_runtime.files.windows import unlimited

_ENDING: Final = "rave-partial"

_ABANDONED_S: Final = 24 * 3600.0
"""Age at which a temporary file of another machine counts as abandoned; a living one is seconds old."""

_CAN_ASK: Final = os.name == "posix"
"""Whether a process can be asked whether it lives: on Windows, os.kill would end it."""

live: Final[set[Path]] = set()
"""Temporary files that this process is writing."""


def partial_name() -> str:
    """Returns an unpredictable name for a temporary file, which tells the process that writes it."""
    return f".{os.urandom(16).hex()}.{this_machine()}-{os.getpid()}.{_ENDING}"


def remove_abandoned(folder: Location) -> None:
    """Removes temporary files that dead processes left anywhere in a folder.

    A file of this machine is removed when its process has ended, one of another machine after a day. So is
    one of this machine where nobody can ask whether a process lives, as on Windows.
    """
    if not isinstance(folder, Path):
        return
    for place, entries, _ in walk(folder):
        for entry in entries:
            parts = entry.name.split(".")
            if len(parts) == 4 and parts[3] == _ENDING:
                machine, _, process = parts[2].partition("-")
                with contextlib.suppress(OSError):
                    age_s = time.time() - entry.stat(follow_symlinks=False).st_mtime
                    is_told = _CAN_ASK and machine == this_machine()
                    if not _is_alive(process) if is_told else age_s > _ABANDONED_S:
                        unlimited(place / entry.name).unlink()


def remove_own_partials() -> None:
    """Removes the temporary files that this process is writing, just before it exits without cleaning up."""
    for file in list(live):
        with contextlib.suppress(OSError):
            file.unlink()


@functools.cache
def this_machine() -> str:
    """Returns eight hexadecimal digits that identify this system; each container is a system."""
    facts = [socket.gethostname()]
    for read_fact in (_boot, _process_space):
        with contextlib.suppress(OSError):
            facts.append(read_fact())
    return hashlib.sha256(" ".join(facts).encode()).hexdigest()[:8]


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _process_space() -> str:
    """Returns the name of the set of processes that this one can see, which differs between containers."""
    return os.readlink("/proc/self/ns/pid")


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except OSError:
        return True
    return True
