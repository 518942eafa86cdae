"""What a folder of results was made from, so that a run can be resumed.

Each line of `.rave-run.jsonl` in the output folder names a result and a key of everything that made
it: the photograph's bytes, the model, the options. A result counts as done only if its key is the
same now and the file is there with the size it had. Lines are appended while a run goes on and sorted
when it ends, so a resumed run leaves the same journal as an undisturbed one.

Several runs may share an output folder, each with a part of the photographs: each writes a journal of
its own (`.rave-run.2-of-8.jsonl`) and reads those of all. An object store cannot append: there a run
leaves pieces, which it replaces by its one journal in the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
import uuid
import warnings
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rave_runtime.errors import PhotoError, RaveError, UsageError
from rave_runtime.files.atomic import write_atomically
from rave_runtime.files.location import Location, RemoteFile

JOURNAL_NAME: Final = ".rave-run.jsonl"

PIECE_S: Final = 5.0
"""How often a run into an object store makes a new piece: what it did since is done again."""

_PIECE_MARK: Final = ".piece-"

_READ_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class Entry:
    """One result: its name inside the output folder, its key, its size in bytes."""

    name: str
    key: str
    size: int

    def is_in(self, folder: Location) -> bool:
        """Whether the folder holds that file with that size."""
        place = folder / self.name
        if isinstance(place, RemoteFile):
            return place.size() == self.size
        try:
            return place.stat().st_size == self.size
        except OSError:
            return False


class Journal(ABC):
    """The journal of an output folder. Safe to share by threads.

    Args:
        folder: of the results.
        entries: of all its journals.
    """

    def __init__(self, folder: Location, entries: dict[str, Entry]) -> None:
        self.folder: Final = folder
        self._lock = threading.Lock()
        self._entries = entries
        self._added: dict[str, Entry] = {}
        self._warned = False

    def find(self, name: str) -> Entry | None:
        """What is known of a result of that name."""
        return self._entries.get(name)

    def is_done(self, name: str, key: str) -> bool:
        """Whether that result is there, made from the same photograph in the same way."""
        entry = self._entries.get(name)
        return entry is not None and entry.key == key and entry.is_in(self.folder)

    def add(self, name: str, key: str, size: int) -> None:
        """Records a result that has been written. A journal that cannot be is no fault of the result."""
        entry = Entry(name, key, size)
        with self._lock:
            self._entries[name] = self._added[name] = entry
            try:
                self._append(entry)
            except OSError as error:
                self._warn(error)

    def close(self) -> None:
        """Rewrites this run's journal in order of names, with what other runs added meanwhile."""
        with self._lock:
            try:
                entries = self._read() | self._added
                if entries:
                    self._rewrite("".join(_line(entries[name]) for name in sorted(entries)))
            except (OSError, RaveError) as error:
                self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = getattr(error, "strerror", None) or error
            warnings.warn(
                f"the journal of {self.folder} cannot be written ({reason}): --skip-existing will do these "
                "photographs again",
                stacklevel=3,
            )

    @abstractmethod
    def _append(self, entry: Entry) -> None:
        """Makes one more entry last."""

    @abstractmethod
    def _read(self) -> dict[str, Entry]:
        """What this run's journal holds now."""

    @abstractmethod
    def _rewrite(self, text: str) -> None:
        """Makes the journal hold this and nothing else."""


class FolderJournal(Journal):
    """The journal of a folder of this machine, a line at a time."""

    def __init__(self, folder: Path, part: str = "") -> None:
        self._file = folder / _journal_name(part)
        entries: dict[str, Entry] = {}
        # The newest knows best: an older run may have made the same result in another way.
        for file in sorted(folder.glob(".rave-run*.jsonl"), key=_changed):
            entries |= _read_file(file)
        super().__init__(folder, entries)

    def _append(self, entry: Entry) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(_line(entry))

    def _read(self) -> dict[str, Entry]:
        return _read_file(self._file)

    def _rewrite(self, text: str) -> None:
        write_atomically(self._file, text.encode())


class RemoteJournal(Journal):
    """The journal of an object store: pieces while a run goes on, one file when it has ended."""

    def __init__(self, folder: RemoteFile, part: str = "") -> None:
        self._folder = folder
        self._file = folder / _journal_name(part)
        self._stem = self._file.name.removesuffix(".jsonl") + _PIECE_MARK
        self._run = uuid.uuid4().hex[:8]
        self._pieces: list[str] = []
        self._waiting: list[Entry] = []
        self._written = time.monotonic()
        entries: dict[str, Entry] = {}
        for name, found in _read_all(folder).items():
            entries |= found
            if name.startswith(self._stem):
                self._pieces.append(name)
        super().__init__(folder, entries)

    def _append(self, entry: Entry) -> None:
        self._waiting.append(entry)
        if time.monotonic() - self._written >= PIECE_S:
            name = f"{self._stem}{self._run}-{len(self._pieces):06d}.jsonl"
            self._written = time.monotonic()
            try:
                (self._folder / name).write("".join(map(_line, self._waiting)).encode())
            except PhotoError:
                return  # the photograph is written; the next piece tells of it as well
            self._pieces.append(name)
            self._waiting.clear()

    def _read(self) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for name, found in _read_all(self._folder).items():
            if name == self._file.name or name.startswith(self._stem):
                entries |= found
        return entries

    def _rewrite(self, text: str) -> None:
        self._file.write(text.encode())
        for name in self._pieces:
            with contextlib.suppress(PhotoError):  # what stays says nothing that is wrong
                (self._folder / name).remove()
        self._pieces.clear()


def open_journal(folder: Location, part: str = "") -> Journal:
    """The journal of an output folder.

    Args:
        folder: of the results; it need not exist.
        part: names the part of the photographs that this run takes; "" is all of them.

    Raises:
        RaveError: the folder is remote and cannot be reached.
    """
    return FolderJournal(folder, part) if isinstance(folder, Path) else RemoteJournal(folder, part)


def result_key(content: bytes, settings: str) -> str:
    """A key of a photograph's bytes and everything else that decides its result."""
    digest = hashlib.sha256(settings.encode())
    digest.update(b"\0")
    digest.update(content)
    return digest.hexdigest()


def _journal_name(part: str) -> str:
    return f".rave-run.{part}.jsonl" if part else JOURNAL_NAME


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry)) + "\n"


def _read_file(file: Path) -> dict[str, Entry]:
    try:
        return _parse(file.read_text("utf-8", errors="replace"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"the journal {file} cannot be read: {error.strerror or error}") from error


def _changed(file: Path) -> tuple[int, str]:
    try:
        return file.stat().st_mtime_ns, file.name
    except OSError:
        return 0, file.name


def _read_all(folder: RemoteFile) -> dict[str, dict[str, Entry]]:
    """Every journal and piece of a remote folder, by name.

    Another run may replace its pieces by its journal meanwhile: then all is read again.
    """
    for _ in range(_READ_ATTEMPTS):
        try:
            return {
                name: _parse((folder / name).read().decode("utf-8", "replace"))
                for name in folder.matching(".rave-run*.jsonl")
            }
        except PhotoError:
            continue
    raise UsageError(f"the journals in {folder} cannot be read")


def _parse(text: str) -> dict[str, Entry]:
    """Entries of a journal; a line cut short by a crash, or not ours, is left out."""
    entries = {}
    for line in text.splitlines():
        try:
            entry = Entry(**json.loads(line))
        except (ValueError, TypeError):
            continue
        entries[entry.name] = entry
    return entries
