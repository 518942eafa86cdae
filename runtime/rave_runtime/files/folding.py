"""Names that mean one file on some file systems: APFS, exFAT and SMB shares ignore case or accent forms."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from pathlib import Path
from typing import Final

from rave_runtime.files.location import Location, RemoteFile
from rave_runtime.files.windows import patiently

_EXACT_PROTOCOLS: Final = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory", "http", "https"}
)
"""Protocols of stores in which different names always mean different files."""

_COMPOSED, _DECOMPOSED = "\u00e9", "e\u0301"


def folded(name: str) -> str:
    """Returns a form that is the same for names that differ only in case or in forms of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def folds_names(folder: Location) -> bool:
    """Tells whether names in a folder that differ only in case or in forms of accents mean one file.

    Args:
        folder: the folder. If it does not exist, the nearest one above it is tested. The test makes
            short-lived files. A store of an unknown protocol counts as one on which such names mean one file.
    """
    if isinstance(folder, RemoteFile):
        return folder.protocol not in _EXACT_PROTOCOLS
    here = folder.absolute()
    while not os.path.isdir(here) and here.parent != here:
        here = here.parent
    stem = f".rave-{os.urandom(8).hex()}-"
    pairs = ((f"{stem}a", f"{stem}A"), (f"{stem}{_COMPOSED}", f"{stem}{_DECOMPOSED}"))
    return any(_is_one(here / first, here / second) for first, second in pairs)


def _is_one(first: Path, second: Path) -> bool:
    try:
        first.touch(exist_ok=False)
    except (OSError, ValueError):
        return False  # nothing can be written there, which is said elsewhere
    try:
        return os.path.lexists(second)
    finally:
        with contextlib.suppress(OSError):
            patiently(first.unlink)
