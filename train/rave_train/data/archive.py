"""A photographer's archive: folders in folders, and one name for each scene of all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rave_train.data.pairs import plain_name
from rave_train.data.photographs import plain_entries

_MOST_NAME_BYTES: Final = 200
"""Longest name of a scene; file systems take 255 bytes, and endings come behind it."""


def find_folders(archive: Path) -> Iterator[Path]:
    """Yields a folder and all folders in it, each before those in it, sorted by name.

    Links to folders are not followed, since they may lead round, nor are folders that systems keep for
    themselves looked into.
    """
    yield archive
    for entry in plain_entries(archive):
        if entry.is_dir() and not entry.is_symlink():
            yield from find_folders(entry)


class SceneNames:
    """Gives scenes of an archive names that differ, even where capitals do not count.

    Args:
        archive: the top of the archive.
    """

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._taken: set[str] = set()

    def name(self, photograph: Path) -> str:
        """A name made of the folders below the archive and the photograph's own name, such as day1_IMG_7."""
        below = photograph.relative_to(self._archive)
        name = "_".join([*below.parent.parts, below.stem])
        while len(os.fsencode(name)) > _MOST_NAME_BYTES:
            name = name[1:]
        unique, number = name, 1
        while plain_name(Path(f"{unique}.png")) in self._taken:
            number += 1
            unique = f"{name}-{number}"
        self._taken.add(plain_name(Path(f"{unique}.png")))
        return unique
