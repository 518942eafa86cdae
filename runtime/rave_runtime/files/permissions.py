"""Permissions of new files: those of any new file, without what the files lack that they were made from."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_STATUS_BYTES: Final = 200
"""More than enough of a process's status: its name, of at most 64 bytes, and then the umask."""

_asking: Final = threading.Lock()


def open_up(descriptor: int, sources: Iterable[Path]) -> None:
    """Gives a complete file the permissions of any new file, without those that one of its sources lacks."""
    mode = 0o666 & ~umask()
    for file in sources:
        mode &= mode_of(file) | stat.S_IWUSR
    if hasattr(os, "fchmod"):
        with contextlib.suppress(OSError):  # the file system knows no permissions
            os.fchmod(descriptor, mode)


def mode_of(file: Path) -> int:
    """Returns the permissions of a file or folder; all of them where it has gone or cannot be asked."""
    try:
        return stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return 0o777


def umask() -> int:
    """Returns the permissions that new files of this process lack."""
    refusals = contextlib.suppress(OSError, ValueError, IndexError)
    with refusals, open("/proc/self/status", "rb", buffering=0) as file:
        return int(file.read(_STATUS_BYTES).partition(b"\nUmask:")[2].split(maxsplit=1)[0], 8)
    with _asking:  # two threads at once would take each other's mask for the user's
        os.umask(mask := os.umask(0o077))  # the only way to ask elsewhere; a file made meanwhile is private
    return mask
