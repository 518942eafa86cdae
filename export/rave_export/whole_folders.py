"""Makes folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rave_export.errors import ExportError, InputError
from rave_runtime.files.windows import patiently

_READ_BYTES: Final = 1 << 16
"""How much of a file is searched for the words by which a folder is recognised."""


@dataclass(frozen=True)
class Kind:
    """A kind of folder that this program makes, and by what it is recognised.

    Attributes:
        title: the kind for messages, such as "a bundle".
        mark: name of a file in each such folder.
        words: words near the beginning of that file; folders of others may hold a file of its name, too.
    """

    title: str
    mark: str
    words: str

    def is_kind_of(self, folder: Path) -> bool:
        """Whether a folder is of this kind."""
        try:
            with (folder / self.mark).open("rb") as stream:
                return self.words.encode() in stream.read(_READ_BYTES)
        except OSError:
            return False


def check_replaceable(target: Path, force: bool, kind: Kind) -> None:
    """Refuses a target that exists, unless it may be replaced and is a folder of the expected kind.

    Args:
        target: folder to make.
        force: whether it may be replaced.
        kind: the kind of folder that is made.

    Raises:
        InputError: the target is a link, or exists and `force` is false, or is of another kind.
    """
    if target.is_symlink():
        raise InputError(f"{target} is a link: name the folder itself, or another output folder")
    if not target.exists():
        return
    if os.path.ismount(target):
        raise InputError(
            f"{target} is where a disk or volume is mounted, so it cannot be replaced: name a folder in it"
        )
    if not force:
        raise InputError(f"{target} exists: choose another output folder, or give --force to replace it")
    if target.resolve() == Path.cwd():
        raise InputError(f"{target} is the current folder, which cannot be replaced: run this from elsewhere")
    empty = target.is_dir() and not any(target.iterdir())
    if not empty and not kind.is_kind_of(target):
        raise InputError(
            f"{target} is not {kind.title}, so --force does not replace it: choose another output folder"
        )


def require_makeable(target: Path) -> None:
    """Refuses a target whose folder could not be made, before minutes of work; leaves nothing behind.

    Raises:
        InputError: nothing can be written there.
    """
    there = next(parent for parent in target.absolute().parents if parent.exists())
    probe = there / f".{target.name}.{secrets.token_hex(4)}.partial"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise InputError(f"{target} cannot be made: {error.strerror}") from error


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yields a folder to fill, moved to `target` when the block ends well and removed when it does not.

    A folder that is at `target` is moved aside first and removed last, so that it is there whole if the move
    fails. One that comes during the block is another's, and stays.

    Raises:
        InputError: the folder cannot be made.
        ExportError: it cannot be moved, something is at `target` that was not, or the block raised an
            OSError.
    """
    was_there = target.exists()
    partial = target.parent / f".{target.name}.{secrets.token_hex(4)}.partial"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
    except OSError as error:
        raise InputError(f"{target} cannot be made: {error.strerror}") from error
    earlier = partial.with_suffix(".earlier")
    try:
        yield partial
        if target.exists():
            if not was_there:
                raise ExportError(
                    f"{target} was made by another program in the meantime: choose another output folder"
                )
            patiently(lambda: target.rename(earlier))
        patiently(lambda: partial.rename(target))
    except OSError as error:
        advice = ": free some space and export again" if error.errno == errno.ENOSPC else ""
        raise ExportError(f"{target} cannot be written ({error.strerror or error}){advice}") from error
    finally:
        if not target.exists() and earlier.exists():
            patiently(lambda: earlier.rename(target))
        for folder in (partial, earlier):
            shutil.rmtree(folder, ignore_errors=True)
