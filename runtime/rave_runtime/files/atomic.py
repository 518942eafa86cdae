"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import secrets
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from rave_runtime.errors import PhotoError, RaveError
from rave_runtime.files.attributes import copy_attributes
from rave_runtime.files.location import Location, RemoteFile
from rave_runtime.files.regular import walk

_SYSTEM_NAMES: Final = ("/dev", "/dev/fd", "/proc/self/fd")
"""Folders whose entries name open streams. A stream may lead to a file: only such a path shows that."""

_ENDING: Final = "rave-partial"

_ABANDONED_S: Final = 24 * 3600.0
"""Age at which a temporary file of another machine counts as abandoned; a living one is seconds old."""

_READER_S: Final = 10.0
"""Longest wait for a program that reads a pipe."""

_NO_FSYNC: Final = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY)
"""Errors of file systems that cannot write to disk on demand, such as some SMB shares and FUSE."""

_STATUS_BYTES: Final = 200
"""More than enough of a process's status: its name, of at most 64 bytes, and then the umask."""

_live: set[Path] = set()
"""Temporary files that this process is writing."""

_live_lock: Final = threading.Lock()


def write_atomically(
    target: Location,
    content: bytes,
    like: Location | Iterable[Location] | None = None,
    *,
    attributes_of: Location | None = None,
) -> None:
    """Writes a file that is there whole or not at all.

    A pipe or a device, such as /dev/null, is written into instead of being replaced, and so is whatever
    /dev/stdout and its like stand for. Until it is complete, the file has an unpredictable name and is
    readable by its user alone; `remove_abandoned` removes such files of killed runs.

    Args:
        target: the file to make or replace.
        content: all of its bytes.
        like: the file or files from which the result was made: the result gets no permission that one of
            them lacks, and a new folder gets none that the first one's folder lacks.
        attributes_of: a file whose times and extended attributes the result gets.

    Raises:
        PhotoError: the folder cannot be made or the file not written, such as on a full disk.
    """
    if isinstance(target, RemoteFile):
        target.write(content)
        return
    try:
        if is_written_into(target):
            _write_into(target, content)
            return
    except (OSError, ValueError) as error:
        raise _cannot_be_written(target, error) from error
    with partial_file(target, like, attributes_of) as (descriptor, _):
        _write_all(descriptor, content)


@contextlib.contextmanager
def partial_file(
    target: Path, like: Location | Iterable[Location] | None, attributes_of: Location | None
) -> Iterator[tuple[int, Path]]:
    """Yields a file to write, by descriptor and path, that becomes the target if the block raises nothing.

    Arguments and errors are those of `write_atomically`.
    """
    sources = _local_files(like)
    partial = target.parent / _partial_name()
    try:
        make_folder(target.parent, like=sources[0].parent if sources else None)
        descriptor = _create(partial)
        with _live_lock:
            _live.add(partial)
        try:
            yield descriptor, partial
            _flush(descriptor)
            _open_up(descriptor, sources)
            if isinstance(attributes_of, Path):
                copy_attributes(attributes_of, descriptor if os.utime in os.supports_fd else partial)
        finally:
            os.close(descriptor)
        partial.replace(target)
    except RaveError:  # raised by the block; some of them are ValueErrors as well
        raise
    except (OSError, ValueError) as error:
        raise _cannot_be_written(target, error) from error
    finally:
        with contextlib.suppress(OSError):  # it has been renamed where all went well
            partial.unlink()
        with _live_lock:
            _live.discard(partial)


def make_folder(folder: Path, like: Path | None = None) -> None:
    """Makes a folder, and the folders above it that are missing.

    Args:
        folder: the folder to make.
        like: a folder that is mirrored: a new folder gets no permission that this one lacks. Folders above
            both are compared in the same way as long as their names agree.

    Raises:
        OSError: a folder cannot be made.
    """
    missing = []
    here = folder
    while not here.is_dir():
        missing.append((here, 0o777 if like is None else _mode_of(like) | stat.S_IRWXU))
        like = like.parent if like is not None and like.name == here.name else None
        if here.parent == here:
            break
        here = here.parent
    for path, mode in reversed(missing):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode & 0o777)
    if missing and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def require_writable(folder: Path, like: Path | None = None) -> None:
    """Makes sure that files can be made in a folder, which is made if it is missing.

    Args:
        folder: the folder.
        like: a folder whose permissions a new one gets, as `make_folder` says.

    Raises:
        OSError: no file can be made there.
    """
    make_folder(folder, like)
    probe = folder / _partial_name()
    os.close(_create(probe))
    probe.unlink()


def is_stream_name(target: Path) -> bool:
    """Tells whether a path is one of the system's names of an open stream, such as /dev/stdout."""
    return str(target.absolute().parent) in _SYSTEM_NAMES


def is_written_into(target: Path) -> bool:
    """Tells whether a path is written into, not replaced: a pipe, a device or a name of a stream."""
    try:
        if target.is_dir():
            return False
        return is_stream_name(target) or (target.exists() and not target.is_file())
    except OSError:  # such as a folder that may not be read: writing will raise the reason
        return False


def remove_abandoned(folder: Location) -> None:
    """Removes temporary files that dead processes left anywhere in a folder.

    A file of this machine is removed when its process has ended, one of another machine after a day.
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
                    if not _is_alive(process) if machine == this_machine() else age_s > _ABANDONED_S:
                        (place / entry.name).unlink()


def remove_own_partials() -> None:
    """Removes the temporary files that this process is writing, just before it exits without cleaning up."""
    for file in list(_live):
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


def _create(file: Path) -> int:
    """Makes a file that was not there, readable by its user alone, and opens it for writing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    return os.open(file, flags, 0o600)


def _partial_name() -> str:
    return f".{secrets.token_hex(16)}.{this_machine()}-{os.getpid()}.{_ENDING}"


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _flush(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def _open_up(descriptor: int, sources: list[Path]) -> None:
    """Gives a complete file the permissions of any new file, without those that one of its sources lacks."""
    mode = 0o666 & ~_umask()
    for file in sources:
        mode &= _mode_of(file) | stat.S_IWUSR
    if hasattr(os, "fchmod"):
        with contextlib.suppress(OSError):  # the file system knows no permissions
            os.fchmod(descriptor, mode)


def _mode_of(file: Path) -> int:
    """Returns the permissions of a file or folder; all of them where it has gone or cannot be asked."""
    try:
        return stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return 0o777


def _umask() -> int:
    """Returns the permissions that new files of this process lack."""
    refusals = contextlib.suppress(OSError, ValueError, IndexError)
    with refusals, open("/proc/self/status", "rb", buffering=0) as file:
        return int(file.read(_STATUS_BYTES).partition(b"\nUmask:")[2].split(maxsplit=1)[0], 8)
    mask = os.umask(0o077)  # the only way to ask elsewhere; a file made meanwhile is private
    os.umask(mask)
    return mask


def _write_into(target: Path, content: bytes) -> None:
    """Writes into a pipe, device or stream; waits at most `_READER_S` for a program that reads a pipe."""
    descriptor = _wait_for(lambda: os.open(target, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0)))
    try:
        if hasattr(os, "set_blocking"):
            os.set_blocking(descriptor, True)
        _write_all(descriptor, content)
    finally:
        os.close(descriptor)


def _wait_for(open_now: Callable[[], int]) -> int:
    deadline = time.monotonic() + _READER_S
    while True:
        try:
            return open_now()
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > deadline:
                raise OSError(errno.ENXIO, "it is a pipe that no program reads") from error
        time.sleep(0.05)


def _local_files(like: Location | Iterable[Location] | None) -> list[Path]:
    places = [] if like is None else [like] if isinstance(like, (Path, RemoteFile)) else list(like)
    return [place for place in places if isinstance(place, Path)]


def _cannot_be_written(target: Path, error: Exception) -> PhotoError:
    return PhotoError(f"cannot be written to {target}: {getattr(error, 'strerror', None) or error}")


def _is_alive(process: str) -> bool:
    if os.name != "posix":
        return True  # on Windows, os.kill would end the process
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except OSError:
        return True
    return True
