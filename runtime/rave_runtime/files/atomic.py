"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import stat
from pathlib import Path
from typing import Final

from rave_runtime.errors import PhotoError
from rave_runtime.files.location import Location, RemoteFile

_SYSTEM_NAMES: Final = ("/dev", "/dev/fd", "/proc/self/fd")
"""Folders whose entries stand for streams; where one is a file, only its name in here tells so."""


def write_atomically(target: Location, content: bytes, like: Location | None = None) -> None:
    """Writes a file that is there whole or not at all.

    A pipe or a device, such as /dev/null, is written into instead of being replaced, and so is whatever
    /dev/stdout and its like stand for. The temporary name depends on the target and the process, so that
    two runs into one folder never write one file; `remove_abandoned` takes away what a killed run left.

    Args:
        target: to make or replace.
        content: all of it.
        like: a file whose result this is: who may not read that may not read this.

    Raises:
        PhotoError: the folder cannot be made or the file not written, such as on a full disk.
    """
    if isinstance(target, RemoteFile):
        target.write(content)
        return
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]  # fits wherever the target's fits
    try:
        if is_written_into(target):
            target.write_bytes(content)
            return
        partial = target.with_name(f".{name}.{_this_host()}-{os.getpid()}.rave-partial")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if isinstance(like, Path):
                _narrow_mode(partial, like)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise PhotoError(
            f"cannot be written to {target}: {getattr(error, 'strerror', None) or error}"
        ) from error


def _narrow_mode(file: Path, like: Path) -> None:
    """Takes from a file the permissions that another lacks, but its owner's to write it."""
    with contextlib.suppress(OSError):  # the other has gone, or the file system knows no permissions
        own, other = (stat.S_IMODE(place.stat().st_mode) for place in (file, like))
        if (narrow := own & (other | stat.S_IWUSR)) != own:
            file.chmod(narrow)


def is_written_into(target: Path) -> bool:
    """Whether a path is a pipe or a device, or one of the system's names for them, and not to be replaced."""
    if target.is_dir():
        return False
    return str(target.absolute().parent) in _SYSTEM_NAMES or (target.exists() and not target.is_file())


def remove_abandoned(folder: Location) -> None:
    """Removes temporary files that processes of this machine left anywhere in a folder when they died."""
    if not isinstance(folder, Path):
        return
    for place, _, names in os.walk(folder):
        for name in names:
            parts = name.split(".")
            if len(parts) == 4 and parts[3] == "rave-partial":
                host, _, process = parts[2].partition("-")
                if host == _this_host() and not _is_alive(process):
                    with contextlib.suppress(OSError):
                        (Path(place) / name).unlink()


@functools.cache
def _this_host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_alive(process: str) -> bool:
    if os.name != "posix":
        return True  # elsewhere, asking so would end it
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except OSError:
        return True
    return True
