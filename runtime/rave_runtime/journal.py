"""What a folder of results was made from, so that a run can be resumed.

Each line of `.rave-run.jsonl` in the output folder names a result and a key of everything that made
it: the photograph's bytes, the model, the options. A result counts as done only if its key is the
same now and the file is there with the size it had. Lines are appended while a run goes on and sorted
when it ends, so a resumed run leaves the same journal as an undisturbed one.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

JOURNAL_NAME: Final = ".rave-run.jsonl"


@dataclass(frozen=True)
class Entry:
    """One result: its name inside the output folder, its key, its size in bytes."""

    name: str
    key: str
    size: int


class Journal:
    """The journal of an output folder. Safe to share by threads.

    Args:
        folder: of the results; made when the first entry is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self._file = folder / JOURNAL_NAME
        self._lock = threading.Lock()
        self._entries = {entry.name: entry for entry in _read(self._file)}

    def is_done(self, name: str, key: str) -> bool:
        """Whether that result is there, made from the same photograph in the same way."""
        entry = self._entries.get(name)
        if entry is None or entry.key != key:
            return False
        try:
            return (self.folder / name).stat().st_size == entry.size
        except OSError:
            return False

    def add(self, name: str, key: str, size: int) -> None:
        """Records a result that has been written."""
        entry = Entry(name, key, size)
        with self._lock:
            self._entries[name] = entry
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(_line(entry))

    def close(self) -> None:
        """Rewrites the journal in order of names."""
        with self._lock:
            if not self._entries:
                return
            partial = self._file.with_name(JOURNAL_NAME + ".rave-partial")
            lines = (_line(self._entries[name]) for name in sorted(self._entries))
            partial.write_text("".join(lines), encoding="utf-8")
            partial.replace(self._file)


def result_key(content: bytes, settings: str) -> str:
    """A key of a photograph's bytes and everything else that decides its result."""
    digest = hashlib.sha256(settings.encode())
    digest.update(b"\0")
    digest.update(content)
    return digest.hexdigest()


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry)) + "\n"


def _read(file: Path) -> list[Entry]:
    """Entries of a journal; a line cut short by a crash, or not ours, is left out."""
    try:
        lines = file.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []
    entries = []
    for line in lines:
        try:
            entries.append(Entry(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return entries
