"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from rave_runtime.errors import PhotoError, RaveError
from rave_runtime.files.attributes import copy_attributes
from rave_runtime.files.location import Location, RemoteFile
from rave_runtime.files.partials import live, partial_name
from rave_runtime.files.permissions import mode_of, open_up
from rave_runtime.files.regular import make_blocking
from rave_runtime.files.windows import patiently, remark_on_length, unlimited

_SYSTEM_NAMES: Final = ("/dev", "/dev/fd", "/proc/self/fd")
"""Folders whose entries name open streams. A stream may lead to a file: only such a path shows that."""

_READER_S: Final = 10.0
"""Longest wait for a program that reads a pipe."""

_NO_FSYNC: Final = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY)
"""Errors of file systems that cannot write to disk on demand, such as some SMB shares and FUSE."""

_TIMES_BY_DESCRIPTOR: Final = os.utime in os.supports_fd
"""Whether the system sets an open file's times by its descriptor: then nobody can put another one there."""


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
    partial = begin_writing(target, content, like, attributes_of=attributes_of)
    if partial is not None:
        partial.complete()


def begin_writing(
    target: Location,
    content: bytes,
    like: Location | Iterable[Location] | None = None,
    *,
    attributes_of: Location | None = None,
) -> PartialFile | None:
    """Writes a temporary file, which takes the place of the target when it is completed.

    `PartialFile.complete` mostly waits for the disk, so another thread may call it.
    Arguments and errors are those of `write_atomically`.

    Returns:
        The temporary file. None where the target has all its bytes already: a file of a store, a pipe or a
        device.
    """
    if isinstance(target, RemoteFile):
        target.write(content)
        return None
    try:
        if is_written_into(target):
            _write_into(target, content)
            return None
    except (OSError, ValueError) as error:
        raise _cannot_be_written(target, error) from error
    partial = PartialFile(target, like, attributes_of)
    with partial.discarded_on_error():
        write_all(partial.descriptor, content)
    return partial


class PartialFile:
    """A temporary file beside its target, readable by its user alone.

    Whoever makes one completes it, or works on it within `discarded_on_error`. Arguments and errors are those
    of `write_atomically`.

    Attributes:
        descriptor: the file, open for writing.
        path: its unpredictable name.
    """

    def __init__(
        self, target: Path, like: Location | Iterable[Location] | None, attributes_of: Location | None
    ) -> None:
        self._target = target
        self._sources = _local_files(like)
        self._attributes_of = attributes_of
        self.path = unlimited(target.parent / partial_name())
        self.descriptor = -1
        live.add(self.path)
        try:
            make_folder(target.parent, like=self._sources[0].parent if self._sources else None)
            self.descriptor = _create(self.path)
        except BaseException as error:
            live.discard(self.path)
            if not isinstance(error, (OSError, ValueError)):  # an interrupt: the file may be there
                with contextlib.suppress(OSError):
                    self.path.unlink()
                raise
            raise _cannot_be_written(target, error) from error

    def complete(self) -> None:
        """Puts the file, all of whose bytes are written, onto the disk and into its place.

        Raises:
            PhotoError: that failed; the temporary file is gone.
        """
        with self.discarded_on_error():
            try:
                _flush(self.descriptor)
                open_up(self.descriptor, self._sources)
                if _TIMES_BY_DESCRIPTOR and isinstance(self._attributes_of, Path):
                    copy_attributes(self._attributes_of, self.descriptor)
            finally:
                self._close()
            if not _TIMES_BY_DESCRIPTOR and isinstance(self._attributes_of, Path):
                copy_attributes(self._attributes_of, self.path)  # Windows sets the time when a file is closed
            patiently(lambda: self.path.replace(self._target))
        live.discard(self.path)

    @contextlib.contextmanager
    def discarded_on_error(self) -> Iterator[None]:
        """Removes the file if the block raises anything."""
        try:
            yield
        except BaseException as error:
            self._close()
            with contextlib.suppress(OSError):
                patiently(self.path.unlink)
            live.discard(self.path)
            # Errors of rave-run are raised as they are, though some of them are ValueErrors as well.
            if isinstance(error, (OSError, ValueError)) and not isinstance(error, RaveError):
                raise _cannot_be_written(self._target, error) from error
            raise

    def _close(self) -> None:
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)


@contextlib.contextmanager
def partial_file(
    target: Path, like: Location | Iterable[Location] | None, attributes_of: Location | None
) -> Iterator[tuple[int, Path]]:
    """Yields a file to write, by descriptor and path, that becomes the target if the block raises nothing.

    Arguments and errors are those of `write_atomically`.
    """
    partial = PartialFile(target, like, attributes_of)
    with partial.discarded_on_error():
        yield partial.descriptor, partial.path
        partial.complete()


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
        missing.append((here, 0o777 if like is None else mode_of(like) | stat.S_IRWXU))
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
    probe = unlimited(folder / partial_name())
    os.close(_create(probe))
    patiently(probe.unlink)


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


def _create(file: Path) -> int:
    """Makes a file that was not there, readable by its user alone, and opens it for writing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    return os.open(file, flags, 0o600)


def write_all(descriptor: int, content: bytes) -> None:
    """Writes bytes into an open file, all of them, in as many calls as the system wants.

    Raises:
        OSError: they cannot be written.
    """
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _flush(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def _write_into(target: Path, content: bytes) -> None:
    """Writes into a pipe, device or stream; waits at most `_READER_S` for a program that reads a pipe."""
    flags = os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = _wait_for(lambda: os.open(target, flags))
    try:
        make_blocking(descriptor)
        write_all(descriptor, content)
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
    reason = getattr(error, "strerror", None) or error
    length = remark_on_length(target) if isinstance(error, FileNotFoundError) else ""
    return PhotoError(f"cannot be written to {target}: {reason}{length}")
