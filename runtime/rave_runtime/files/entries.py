"""Entries of a journal: from which photograph and options a result was made, and which file it is."""

from __future__ import annotations

import errno
import hashlib
import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from rave_runtime.errors import UsageError
from rave_runtime.files.location import Location, RemoteFile
from rave_runtime.files.regular import open_regular, read_regular

ANY_SIZE: Final = -1
"""Size in an entry that only claims the name of a result, which has not been made yet."""

_NO_FILE: Final = (errno.ELOOP, errno.EMLINK, errno.EINVAL)
"""Errors with which `open_regular` refuses links, pipes and devices."""


class Entry(NamedTuple):
    """One line of a journal.

    Attributes:
        name: the result's name inside the output folder.
        key: stands for everything that made it (see `result_key`); "" where a run only claims the name.
        size: the file's size, in bytes; `ANY_SIZE` where it is not known yet.
        digest: the SHA-256 of the file; "" where it is not known.
    """

    name: str
    key: str
    size: int
    digest: str = ""

    def is_in(self, folder: Location) -> bool:
        """Tells whether the folder holds a file of this name and size."""
        place = folder / self.name
        if isinstance(place, RemoteFile):
            return place.size() == self.size
        try:
            return place.stat().st_size == self.size
        except (OSError, ValueError):
            return False


class ResultJournal(Protocol):
    """What a batch must know of earlier results, and where it records its own."""

    @property
    def folder(self) -> Location:
        """The folder of the results."""

    def is_done(self, name: str, key: str) -> bool:
        """Tells whether that result is there, made from the same photograph in the same way."""

    def is_ours(self, name: str) -> bool:
        """Tells whether the file of that name in the folder is still as a run of rave-run wrote it."""

    def claim(self, name: str, size: int, digest: str) -> None:
        """Records, just before a result is written, that a file with these bytes is this run's."""

    def add(self, name: str, key: str, size: int, digest: str = "") -> None:
        """Records a result that has been written."""

    def close(self) -> None:
        """Completes the journal when the batch has ended."""


def digest_of(content: bytes) -> str:
    """Returns the SHA-256 of a result's bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def result_key(content: bytes, settings: str) -> str:
    """Returns a SHA-256 of a photograph's bytes and of the settings that decide its result."""
    digest = hashlib.sha256(settings.encode())
    digest.update(b"\0")
    digest.update(content)
    return digest.hexdigest()


def is_done(entries: Sequence[Entry], key: str, folder: Location) -> bool:
    """Tells whether a result is there, made from the same photograph in the same way.

    Args:
        entries: all that is recorded of that result, the newest last.
        key: stands for the photograph and the options.
        folder: the folder of the results.
    """
    results = [entry for entry in entries if entry.key]
    return bool(results) and results[-1].key == key and results[-1].is_in(folder)


def is_ours(entries: Sequence[Entry], place: Location) -> bool:
    """Tells whether the file at a place is one of the results in these entries, unchanged since."""
    if isinstance(place, RemoteFile):
        size = place.size()
        return any(entry.size in (ANY_SIZE, size) for entry in entries)
    try:
        status = place.lstat()
        if not stat.S_ISREG(status.st_mode):
            return False
        candidates = [entry for entry in entries if entry.size in (ANY_SIZE, status.st_size)]
        if any(not entry.digest for entry in candidates):
            return True
        return bool(candidates) and _digest_of_file(place) in {entry.digest for entry in candidates}
    except OSError:
        return False


def _digest_of_file(place: Path) -> str:
    """Returns the SHA-256 of a file, which is read piece by piece, since films may have any size."""
    with open_regular(place) as descriptor, open(descriptor, "rb", closefd=False) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def line_of(entry: Entry) -> str:
    """Returns the line that records an entry in a journal."""
    return json.dumps({name: value for name, value in entry._asdict().items() if value != ""}) + "\n"


def parse_entries(text: str) -> list[Entry]:
    """Returns the entries of a journal; a line cut short by a crash, or of another shape, is left out."""
    entries = []
    for line in text.splitlines():
        try:
            entry = Entry(**{"key": ""} | json.loads(line))
        except (ValueError, TypeError, RecursionError):
            continue
        texts = (entry.name, entry.key, entry.digest)
        if all(isinstance(value, str) for value in texts) and type(entry.size) is int:
            entries.append(entry)
    return entries


def read_entries(file: Path) -> list[Entry]:
    """Returns the entries of a journal's file; none where it is missing, or is a link, a pipe or a device.

    Raises:
        UsageError: it is there and cannot be read.
    """
    try:
        return parse_entries(read_regular(file, follow=False).decode("utf-8", "replace"))
    except FileNotFoundError:
        return []
    except OSError as error:
        if error.errno in _NO_FILE:  # not a journal of rave-run; writing to it will warn
            return []
        raise UsageError(
            f"the journal {file} cannot be read ({error.strerror or error}): remove it or choose another "
            "OUTPUT"
        ) from error
