"""A folder for what takes long to make and can be made again, such as compiled graphs.

`RAVE_CACHE_DIR` says where it is; empty, nothing is kept. Whatever goes wrong with it costs time only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Final

from rave_runtime.errors import PhotoError
from rave_runtime.files.atomic import write_atomically
from rave_runtime.files.cache_folder import cache_folder
from rave_runtime.files.regular import read_own

_MOST_ENTRIES: Final = 64
_ENDING: Final = ".rave-compiled"
_DIGEST_BYTES: Final = hashlib.sha256().digest_size


def recall(key: str) -> bytes | None:
    """What was kept under a key, if it is there and undamaged."""
    folder = cache_folder()
    if folder is None:
        return None
    file = folder / _name_of(key)
    content = read_own(file)
    if content is None:
        return None
    digest, kept = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(kept).digest() != digest:
        return None
    with contextlib.suppress(OSError):
        os.utime(file)
    return kept


def keep(key: str, content: bytes) -> None:
    """Keeps bytes under a key that names everything they depend on; the least used entries go."""
    folder = cache_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError, PhotoError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(folder / _name_of(key), hashlib.sha256(content).digest() + content)
        (folder / _name_of(key)).chmod(
            0o600
        )  # under some umasks a group might write it, and `read_own` refuse
        # By their ending: the folder may be one that holds other things as well.
        entries = sorted(folder.glob(f"*{_ENDING}"), key=lambda file: file.stat().st_mtime)
        for file in entries[:-_MOST_ENTRIES]:
            file.unlink(missing_ok=True)


def _name_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32] + _ENDING
