"""Makes folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from rave_export.errors import ExportError, InputError


def check_replaceable(target: Path, force: bool, mark: str, kind: str) -> None:
    """Refuses a target that exists, unless it may be replaced and is a folder of the expected kind.

    Args:
        target: folder to make.
        force: whether it may be replaced.
        mark: name of the file by which a folder of that kind is recognised.
        kind: the kind for messages, such as "a bundle".

    Raises:
        InputError: the target is a link, or exists and `force` is false, or is of another kind.
    """
    if target.is_symlink():
        raise InputError(f"{target} is a link: name the folder itself, or another output folder")
    if not target.exists():
        return
    if not force:
        raise InputError(f"{target} exists: choose another output folder, or give --force to replace it")
    empty = target.is_dir() and not any(target.iterdir())
    if not empty and not (target / mark).is_file():
        raise InputError(
            f"{target} is not {kind}, so --force does not replace it: choose another output folder"
        )


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yields a folder to fill, moved to `target` when the block ends well and removed when it does not.

    A folder that is at `target` stays whole until the new one can take its place.

    Raises:
        ExportError: the folder cannot be made or moved, or the block raised an OSError.
    """
    partial, old = (
        target.parent / f".{target.name}.{secrets.token_hex(4)}.{end}" for end in ("partial", "old")
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
    except OSError as error:
        raise ExportError(f"{target} cannot be made: {error.strerror}") from error
    try:
        yield partial
        try:
            if target.exists():
                target.rename(old)
            partial.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
    except OSError as error:
        advice = ": free some space and export again" if error.errno == errno.ENOSPC else ""
        raise ExportError(f"{target} cannot be written ({error.strerror or error}){advice}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if target.exists():  # else the old folder could not be put back
            shutil.rmtree(old, ignore_errors=True)
