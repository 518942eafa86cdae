"""A file to which lines are appended; it stays open, since opening one takes longer than writing a line."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from rave_runtime.files.atomic import make_folder, write_all
from rave_runtime.files.regular import open_regular


class AppendedFile:
    """A file of lines, made with its folder when the first one is appended.

    Threads must not share it without a lock.

    Args:
        path: the file. A link, a pipe or a file with several names is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._opened = contextlib.ExitStack()
        self._descriptor: int | None = None

    def append(self, text: str) -> None:
        """Appends text, at once. A file that was removed or replaced meanwhile is made or opened anew.

        Raises:
            OSError: it cannot be written.
        """
        try:
            if self._descriptor is None or not os.fstat(self._descriptor).st_nlink:
                self.close()
                make_folder(self.path.parent)
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                self._descriptor = self._opened.enter_context(open_regular(self.path, flags, follow=False))
                text = missing_line_end(self.path) + text
            write_all(self._descriptor, text.encode())
        except OSError:
            self.close()  # it is opened anew for the next text: a network drive may have come back by then
            raise

    def close(self) -> None:
        """Closes the file: while it is open, Windows lets nobody replace or remove it."""
        self._descriptor = None
        self._opened.close()


def missing_line_end(file: Path) -> str:
    """Returns a line break where a full disk or a killed run has cut a file's last line short; else nothing.

    What is appended without it would be a part of that line, and lost with it.
    """
    with contextlib.suppress(OSError), open_regular(file) as descriptor:
        if os.lseek(descriptor, 0, os.SEEK_END):
            os.lseek(descriptor, -1, os.SEEK_END)
            return "" if os.read(descriptor, 1) == b"\n" else "\n"
    return ""
