"""What a folder of results was made from, so that a run can be resumed.

Each line of `.rave-run.jsonl` in the output folder names a result and a key of everything that made
it: the photograph's bytes, the model, the options. A result counts as done only if its key is the
same now and the file is there with the size it had. Lines are appended while a run goes on and sorted
when it ends, so a resumed run leaves the same journal as an undisturbed one.

The journal also tells which files runs of rave-run have written: only those may be replaced without asking.
So that a run that is killed leaves no file that the journal does not know, a line without a key claims each
name before the file is written.

Several runs may share an output folder, each with a part of the photographs: each writes its own journal
(`.rave-run.2-of-8.jsonl`) and reads those of all. An object store cannot append: there a run
leaves pieces, which it replaces by its one journal in the end.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rave_runtime.errors import PhotoError, RaveError, UsageError
from rave_runtime.files.appended import AppendedFile
from rave_runtime.files.atomic import write_atomically
from rave_runtime.files.entries import ANY_SIZE, Entry, is_done, is_ours, line_of, parse_entries, read_entries
from rave_runtime.files.location import Location, RemoteFile
from rave_runtime.files.regular import open_regular
from rave_runtime.files.windows import patiently

JOURNAL_NAME: Final = ".rave-run.jsonl"

PIECE_S: Final = 5.0
"""How often a run into an object store writes a new piece; a killed run repeats what came later."""

_PIECE_MARK: Final = ".piece-"
_READ_ATTEMPTS: Final = 5


class Journal(ABC):
    """The journal of an output folder. Threads may share it.

    Args:
        folder: the folder of the results.
        entries: those of all its journals, the oldest first.
    """

    def __init__(self, folder: Location, entries: Iterable[Entry]) -> None:
        self.folder: Final = folder
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[Entry, ...]] = {}
        self._new_entries: dict[str, Entry] = {}
        self._has_warned = False
        for entry in entries:
            self._remember(entry)

    def find(self, name: str) -> tuple[Entry, ...]:
        """Returns the entries of the result of that name, the newest last."""
        return self._entries.get(name, ())

    def is_done(self, name: str, key: str) -> bool:
        """Tells whether that result is there, made from the same photograph in the same way."""
        return is_done(self.find(name), key, self.folder)

    def is_ours(self, name: str) -> bool:
        """Tells whether the file of that name in the folder is still as a run of rave-run wrote it."""
        if is_ours(self.find(name), self.folder / name):
            return True
        with self._lock:  # another run may have written it since
            try:
                for entry in self._read_others():  # all are kept: an unchanged file is read once
                    if entry not in self.find(entry.name):
                        self._remember(entry)
            except (OSError, RaveError):
                return False
        return is_ours(self.find(name), self.folder / name)

    def claim(self, name: str, size: int, digest: str) -> None:
        """Records, just before a result is written, that a file with these bytes is this run's."""
        self._store(Entry(name, "", size, digest))

    @abstractmethod
    def claim_all(self, names: Iterable[str]) -> None:
        """Records that the files of these names, none of which exists yet, will be this run's."""

    def add(self, name: str, key: str, size: int, digest: str = "") -> None:
        """Records a result that has been written. Trouble with the journal does not spoil the result."""
        entry = Entry(name, key, size, digest)
        self._new_entries[name] = entry
        self._entries.pop(name, None)  # else they grow with a file that comes again each second
        self._store(entry)

    def close(self) -> None:
        """Rewrites this run's journal in order of names, with what other runs added meanwhile."""
        with self._lock:
            try:
                entries = list(self._read())
                results = {entry.name: entry for entry in entries if entry.key} | self._new_entries
                # Claims of a killed run for results that this run has not made again.
                claims = {entry.name: entry for entry in entries if entry.name not in results}
                results |= {name: entry for name, entry in claims.items() if self._holds(name)}
                if results or isinstance(self.folder, Path):
                    self._rewrite("".join(line_of(results[name]) for name in sorted(results)))
                self._drop_claims()
            except (OSError, RaveError) as error:
                self._warn(error)

    def _remember(self, entry: Entry) -> None:
        known = self._entries.get(entry.name, ())
        self._entries[entry.name] = (*(other for other in known if other != entry), entry)

    def _store(self, entry: Entry) -> None:
        with self._lock:
            self._remember(entry)
            try:
                self._append(entry)
            except OSError as error:
                self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            reason = getattr(error, "strerror", None) or error
            warnings.warn(
                f"the journal of {self.folder} cannot be written ({reason}): --skip-existing will do these "
                "photographs again, and --overwrite always will be needed to replace them",
                stacklevel=4,
            )

    def _holds(self, name: str) -> bool:
        """Tells whether a local folder holds a file of that name; a store is not asked, to save requests."""
        return isinstance(self.folder, Path) and os.path.lexists(self.folder / name)

    @abstractmethod
    def _drop_claims(self) -> None:
        """Removes what `claim_all` stored: every file that was written has an entry now."""

    @abstractmethod
    def _append(self, entry: Entry) -> None:
        """Adds an entry to the stored journal, at once or with later ones."""

    @abstractmethod
    def _read(self) -> Iterable[Entry]:
        """Returns the entries that this run's journal holds now."""

    @abstractmethod
    def _read_others(self) -> Iterable[Entry]:
        """Returns the entries of the folder's journals, at least of those that changed since last time."""

    @abstractmethod
    def _rewrite(self, text: str) -> None:
        """Replaces the stored journal by this text. On this machine an empty journal is deleted."""


class FolderJournal(Journal):
    """The journal of a folder of this machine, to which lines are appended one by one."""

    def __init__(self, folder: Path, part: str = "") -> None:
        self._place = folder
        self._file = folder / _journal_name(part)
        self._claims = self._file.with_suffix(".claims.jsonl")
        self._lines = AppendedFile(self._file)
        self._states: dict[Path, tuple[int, str, int]] = {}
        super().__init__(folder, self._read_others())

    def claim_all(self, names: Iterable[str]) -> None:
        """See `Journal.claim_all`."""
        claims = [Entry(name, "", ANY_SIZE) for name in names]
        with self._lock:
            for entry in claims:
                self._remember(entry)
            try:
                with contextlib.closing(AppendedFile(self._claims)) as claimed:
                    claimed.append("".join(map(line_of, claims)))
            except OSError as error:
                self._warn(error)

    def _append(self, entry: Entry) -> None:
        self._lines.append(line_of(entry))

    def _read(self) -> Iterable[Entry]:
        return [*read_entries(self._claims), *read_entries(self._file)]

    def _read_others(self) -> Iterable[Entry]:
        # The newest file comes last and counts: older runs may have made a result in another way.
        states = {file: _state(file) for file in self._place.glob(".rave-run*.jsonl")}
        changed = [
            file for file in sorted(states, key=states.__getitem__) if states[file] != self._states.get(file)
        ]
        self._states = states
        return [entry for file in changed for entry in read_entries(file)]

    def _rewrite(self, text: str) -> None:
        self._lines.close()
        if os.path.lexists(self._file):
            with open_regular(self._file, follow=False):
                pass  # a link or a pipe is refused, as when a line is added
        try:
            write_atomically(self._file, text.encode()) if text else self._file.unlink(missing_ok=True)
        except (OSError, PhotoError):  # Windows lets nobody replace what another run has open
            if not set(parse_entries(text)) <= set(self._read()):
                raise

    def _drop_claims(self) -> None:
        patiently(lambda: self._claims.unlink(missing_ok=True))


class RemoteJournal(Journal):
    """The journal of an object store: pieces while a run goes on, one file when it has ended."""

    def __init__(self, folder: RemoteFile, part: str = "") -> None:
        self._folder = folder
        self._file = folder / _journal_name(part)
        self._stem = self._file.name.removesuffix(".jsonl") + _PIECE_MARK
        self._run = uuid.uuid4().hex[:8]
        self._pieces: list[str] = []
        self._pending: list[Entry] = []
        self._piece_time_s = time.monotonic()
        earlier: list[Entry] = []
        for name, entries in _read_all(folder).items():
            earlier += entries
            if name.startswith(self._stem):
                self._pieces.append(name)
        super().__init__(folder, earlier)

    def claim(self, name: str, size: int, digest: str) -> None:
        """Does nothing: a request for each photograph would cost too much; see `claim_all`."""

    def claim_all(self, names: Iterable[str]) -> None:
        """See `Journal.claim_all`."""
        claims = [Entry(name, "", ANY_SIZE) for name in names]
        with self._lock:
            for entry in claims:
                self._remember(entry)
            self._pending += claims
            self._write_piece()

    def _append(self, entry: Entry) -> None:
        self._pending.append(entry)
        if time.monotonic() - self._piece_time_s >= PIECE_S:
            self._write_piece()

    def _write_piece(self) -> None:
        name = f"{self._stem}{self._run}-{len(self._pieces):06d}.jsonl"
        self._piece_time_s = time.monotonic()
        if self._pending:
            try:
                (self._folder / name).write("".join(map(line_of, self._pending)).encode())
            except PhotoError:
                return  # the photograph is written; the next piece tells of it as well
            self._pieces.append(name)
            self._pending.clear()

    def _read(self) -> Iterable[Entry]:
        for name, entries in _read_all(self._folder).items():
            if name == self._file.name or name.startswith(self._stem):
                yield from entries

    def _read_others(self) -> Iterable[Entry]:
        for entries in _read_all(self._folder).values():
            yield from entries

    def _drop_claims(self) -> None:
        """Does nothing: claims are in pieces, which go when the journal is rewritten."""

    def _rewrite(self, text: str) -> None:
        self._file.write(text.encode())
        for name in self._pieces:
            with contextlib.suppress(PhotoError):  # a piece that stays repeats what the journal says
                (self._folder / name).remove()
        self._pieces.clear()


def open_journal(folder: Location, part: str = "") -> Journal:
    """Opens the journal of an output folder.

    Args:
        folder: the folder of the results; it need not exist.
        part: names the part of the photographs that this run takes; "" is all of them.

    Raises:
        RaveError: the folder is remote and cannot be reached.
    """
    return FolderJournal(folder, part) if isinstance(folder, Path) else RemoteJournal(folder, part)


def _journal_name(part: str) -> str:
    return f".rave-run.{part}.jsonl" if part else JOURNAL_NAME


def _state(file: Path) -> tuple[int, str, int]:
    """Returns when a file changed last, by which files are sorted, its name, and its size in bytes."""
    try:
        status = file.stat()
    except OSError:
        return 0, file.name, 0
    return status.st_mtime_ns, file.name, status.st_size


def _read_all(folder: RemoteFile) -> dict[str, list[Entry]]:
    """Returns the entries of every journal and piece of a remote folder, by file name.

    Another run may replace its pieces by its journal meanwhile: then all files are read again.
    """
    for _ in range(_READ_ATTEMPTS):
        try:
            return {
                name: parse_entries((folder / name).read().decode("utf-8", "replace"))
                for name in folder.matching(".rave-run*.jsonl")
            }
        except PhotoError:
            continue
    raise UsageError(f"the journals in {folder} cannot be read")
