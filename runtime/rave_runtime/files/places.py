"""What can be asked of a place, whether it is a path of this machine or lies in a store."""

from __future__ import annotations

import os
from pathlib import Path

from rave_runtime.files.location import Location, RemoteFile

Identity = tuple[int, int] | str
"""What tells one file from another: device and number, or a text where there is no number."""


def exists(place: Location) -> bool:
    """Tells whether a place exists; one that may not be looked at counts too: reading gives the reason."""
    try:
        return place.exists() or (isinstance(place, Path) and _is_barred(place))
    except OSError:
        return True


def _is_barred(path: Path) -> bool:
    """Tells whether a path may not be looked at; from Python 3.14 on, `Path.exists` calls it absent."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def is_folder(place: Location) -> bool:
    """Tells whether a place is a folder that is there and may be looked at."""
    try:
        return place.is_dir()
    except OSError:
        return False


def is_no_folder(place: Location) -> bool:
    """Tells whether something other than a folder is there, as far as permissions let us see."""
    try:
        return place.exists() and not place.is_dir()
    except OSError:
        return False


def is_free(place: Location) -> bool:
    """Tells whether no file, folder, link or pipe has this name.

    Raises:
        PhotoError: a store does not tell.
    """
    return place.is_free() if isinstance(place, RemoteFile) else not os.path.lexists(place)


def identity_of(place: Location) -> Identity | None:
    """Returns a value that is the same for two places that are one file; None where a path leads to none."""
    if isinstance(place, RemoteFile):
        return place.key
    try:
        status = os.stat(place)
    except (OSError, ValueError):
        return None
    if not status.st_ino:  # some network drives of Windows number no files
        return key_of(real_path(place))
    return status.st_dev, status.st_ino


def key_of(place: Location) -> str:
    """Returns a text that is the same for two names of one place, whether it exists or not."""
    return os.path.normcase(place) if isinstance(place, Path) else place.key


def base_name(folder: Location) -> str:
    """Returns the name of a folder, also of one that is given as `.` or by a link."""
    return folder.name if isinstance(folder, RemoteFile) else real_path(folder).name


def real_path(path: Path) -> Path:
    """Returns a path without links, as far as it exists; links that lead to themselves stay."""
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError for such links


def is_same(first: Location, second: Location) -> bool:
    """Tells whether two folders are one, links followed."""
    if isinstance(first, Path) and isinstance(second, Path):
        known = identity_of(first)  # macOS keeps the letters that a name is written with
        return real_path(first) == real_path(second) or (known is not None and known == identity_of(second))
    return key_of(first) == key_of(second)


def is_inside(inner: Location, outer: Location) -> bool:
    """Tells whether a folder lies inside another one, links followed."""
    if isinstance(inner, Path) and isinstance(outer, Path):
        above, known = real_path(inner).parents, identity_of(outer)
        return real_path(outer) in above or (known is not None and known in map(identity_of, above))
    return key_of(inner).startswith(f"{key_of(outer)}/")


def absolute(place: Location) -> Location:
    """Returns a place that means the same after the current folder has changed."""
    return place.absolute() if isinstance(place, Path) else place
