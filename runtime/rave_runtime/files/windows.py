"""What Windows does otherwise with files: other programs hold them, and some names mean no file."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

_IS_HERE: Final = os.name == "nt"

_HELD_S: Final = 2.0
"""How long to wait for a program that holds a file: virus scanners and search indexes open each new one."""

_LONGEST_PATH: Final = 259
"""Longest path, in letters, as long as nobody has allowed longer ones.

Source: Microsoft, Maximum Path Length Limitation.
"""

_EXTENDED: Final = "\\\\?\\"
"""Beginning of paths of any length, which Windows takes as they are."""

_NO_NAME: Final = re.compile(r"[\\:]|[. ]$|^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|$)", re.IGNORECASE)
"""A part of a path that means another place: a drive, a folder, a name with fewer letters or a device.

Source: Microsoft, Naming Files, Paths, and Namespaces.
"""

Answer = TypeVar("Answer")


def patiently(act: Callable[[], Answer]) -> Answer:
    """Renames or removes a file; on Windows it waits for other programs that hold it, though not for ever.

    Args:
        act: does it. On Windows it is called again while it raises PermissionError.

    Raises:
        OSError: what `act` raised in the end.
    """
    deadline = time.monotonic() + (_HELD_S if _IS_HERE else 0.0)
    while True:
        try:
            return act()
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


def can_be_named(name: str) -> bool:
    """Tells whether a store's name, with slashes, can be the name of a file on this system.

    Where Windows takes it for a device, such as `aux.jpg`, what is written would be lost without an error.
    """
    return not (_IS_HERE and any(map(_NO_NAME.search, name.split("/"))))


def unlimited(path: Path) -> Path:
    """Returns the path of a temporary file, whose name is long, in a form that Windows takes all the same."""
    full = os.path.abspath(path)
    return Path(extended(full)) if _IS_HERE and len(full) > _LONGEST_PATH else path


def extended(full: str) -> str:
    """Returns a path from a drive or a server on in the form that Windows takes at any length."""
    if full.startswith(_EXTENDED):
        return full
    return f"{_EXTENDED}UNC{full[1:]}" if full.startswith("\\\\") else _EXTENDED + full


def remark_on_length(path: Path) -> str:
    """Returns what to do about a path that Windows does not find since it is too long; "" for all others."""
    if not _IS_HERE or len(str(path.absolute())) <= _LONGEST_PATH:
        return ""
    return f": its path has more than {_LONGEST_PATH} letters, so choose an OUTPUT with a shorter one"
