"""Patterns such as `*.jpg`, for shells that do not expand them and for object stores."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from rave_runtime.errors import UsageError
from rave_runtime.files.location import Location, RemoteFile, parse_location
from rave_runtime.files.places import exists


def parse_inputs(texts: Sequence[str]) -> list[Location]:
    """Returns the places that paths, URLs and patterns name.

    Args:
        texts: each names a place or, where nothing has that name, is a pattern: `*`, `?` and `[a-z]`
            stand for parts of a name, and `**` in a path for any folders.

    Returns:
        The places in the order of the texts, and those of a pattern in order of their names.

    Raises:
        UsageError: nothing fits a pattern, or a store cannot be reached.
    """
    return [place for text in texts for place in _places(text)]


def _places(text: str) -> list[Location]:
    place = parse_location(text)
    if isinstance(place, RemoteFile):
        return _matching_objects(place) if "*" in text and not place.exists() else [place]
    if not glob.has_magic(text) or exists(place):
        return [place]
    matches: list[Location] = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
    if not matches:
        raise UsageError(
            f"{text} does not exist, and as a pattern it matches no file: give a photograph or a folder"
        )
    return matches


def _matching_objects(pattern: RemoteFile) -> list[Location]:
    head, star, tail = pattern.url.partition("*")
    url, _, start = head.rpartition("/")
    if url.endswith(("/", ":")) or not url:
        raise UsageError(f"{pattern} has a pattern in place of a bucket or host: name one")
    folder = RemoteFile(url)
    fitting = start + star + tail
    names = sorted(name for name in folder.names() if fnmatchcase(name, fitting))
    if not _has_hidden_part(fitting):  # as patterns of paths do
        names = [name for name in names if not _has_hidden_part(name)]
    if "**" not in pattern.url:
        depth = fitting.count("/")
        names = [name for name in names if name.count("/") == depth]
    if not names:
        raise UsageError(
            f"{pattern} does not exist, and as a pattern it matches no file: give a photograph or folder"
        )
    return [folder / name for name in names]


def _has_hidden_part(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
