"""A folder for what takes long to make and can be made again, such as compiled graphs.

`RAVE_CACHE_DIR` names the folder; where it is set and empty, nothing is kept. No error of the folder ends a
run: it only costs the time to make the content again.
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
    """Returns the bytes that were kept under a key; None where they are missing or damaged."""
    folder = cache_folder()
    if folder is None:
        return None
    file = folder / _name_of(key)
    content = read_own(file)
    if content is None:
        return None
    digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    with contextlib.suppress(OSError):
        os.utime(file)
    return payload


def keep(key: str, content: bytes) -> None:
    """Keeps bytes under a key that names everything they depend on; the entries unused for longest go."""
    folder = cache_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError, PhotoError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(folder / _name_of(key), hashlib.sha256(content).digest() + content)
        # Under some umasks the group could write to the file, and `read_own` would then refuse it.
        (folder / _name_of(key)).chmod(0o600)
        # Entries are found by their ending: the user's folder may hold other files as well.
        entries = sorted(folder.glob(f"*{_ENDING}"), key=lambda file: file.stat().st_mtime)
        for file in entries[:-_MOST_ENTRIES]:
            file.unlink(missing_ok=True)


def _name_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32] + _ENDING
