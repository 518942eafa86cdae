"""Opening regular files only: no call waits for a pipe, and links are followed only where that is allowed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def open_regular(file: Path, flags: int = os.O_RDONLY, *, follow: bool = True) -> Iterator[int]:
    """Opens a file if it is a regular one, and closes it in the end.

    Args:
        file: path of the file.
        flags: as `os.open` takes them. A new file gets the permissions that the process's umask leaves.
        follow: whether a symbolic link at the end of the path may lead to the file. Where it may not, a file
            with several names (hard links) is not written either.

    Yields:
        The file's descriptor.

    Raises:
        OSError: the file cannot be opened, or is a folder, a pipe, a device, or a link that is not followed.
    """
    descriptor = os.open(file, flags | _NO_WAIT | (0 if follow else _NO_LINK), 0o666)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(file))
        if not follow and flags & (os.O_WRONLY | os.O_RDWR) and status.st_nlink > 1:
            raise OSError(errno.EMLINK, "it has other names (hard links)", str(file))
        make_blocking(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def make_blocking(descriptor: int) -> None:
    """Makes reading and writing wait again, where a file was opened with O_NONBLOCK.

    Windows has no such flag, and its Python from 3.12 on refuses to change it for anything but pipes.
    """
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(descriptor, True)


def read_regular(file: Path, *, follow: bool = True) -> bytes:
    """Returns the bytes of a regular file.

    Raises:
        OSError: as `open_regular`.
    """
    with open_regular(file, follow=follow) as descriptor, open(descriptor, "rb", closefd=False) as stream:
        return stream.read()


def read_own(file: Path) -> bytes | None:
    """Returns the bytes of a regular file that only this user can have written; None for any other file.

    This is for entries of caches, which a program trusts: files that another user put into a folder that is
    open to all are refused, and so are links and pipes.
    """
    try:
        with open_regular(file, follow=False) as descriptor, open(descriptor, "rb", closefd=False) as stream:
            status = os.fstat(descriptor)
            if hasattr(os, "geteuid") and (
                status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            ):
                return None
            return stream.read()
    except OSError:
        return None


def walk(folder: Path) -> Iterator[tuple[Path, list[os.DirEntry[str]], OSError | None]]:
    """Yields a folder and every folder below it, without following links.

    Yields:
        The folder, its entries in order of their names (empty where it cannot be listed), and why it cannot
        be listed. Entries that the caller removes from the list are not walked into.
    """
    to_visit = [folder]
    while to_visit:
        here = to_visit.pop()
        try:
            with os.scandir(here) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
            problem = None
        except OSError as error:
            entries, problem = [], error
        yield here, entries, problem
        to_visit += [Path(entry.path) for entry in reversed(entries) if _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
