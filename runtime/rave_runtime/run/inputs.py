"""Finding photographs: below folders, by patterns, with the files that belong to them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from rave_runtime.errors import UsageError
from rave_runtime.files.folding import folded
from rave_runtime.files.location import Location
from rave_runtime.files.places import identity_of
from rave_runtime.files.windows import can_be_named
from rave_runtime.films.containers import UNREADABLE_FILM_ENDINGS, is_film
from rave_runtime.photos.formats import READ_ENDINGS, UNREADABLE_ENDINGS, remedy_for

SYSTEM_FOLDERS: Final = frozenset(
    {"@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot", "$recycle.bin"}
    | {"@__thumb", "@s2s", "@sharebin", "@synoeastream", "@synoresource", "#trash", "_gsdata_", "_recycle"}
    | {"recycler", "recycled", "recycle.bin", "system volume information", "lost+found", "lost.dir"}
    | {"network trash folder", "temporary items", "thevolumesettingsfolder", "$extend", "dfsrprivate"}
    | {"__macosx"}
)
"""Folders, in lower case, where network storage and operating systems keep thumbnails and deleted files."""

SYSTEM_PATTERNS: Final = ("found.[0-9][0-9][0-9]", "@gmt-*")
"""Patterns, in lower case, of more such folders: checked disks and Samba's snapshots."""

LIBRARY_ENDINGS: Final = (
    *(".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary", ".migratedaplibrary"),
    *(".lrlibrary", ".lrdata", ".cocatalog"),
)
"""Endings of the folders in which photo managers keep originals, edits and previews under names of their own.

Apple's Photos, iPhoto and Aperture, Lightroom and Capture One.
"""

COMPANION_ENDINGS: Final = (".xmp", ".aae", ".mov")
"""Files that belong to a photograph of their name: edits and ratings, Apple's edits, a Live Photo's film."""


class Selection(NamedTuple):
    """The names of photographs that a run takes.

    A pattern is written as in a shell (`*`, `?`, `[a-z]`), but its case does not matter. It fits the file's
    name, the name of a folder above it, or the whole path below INPUT, where `*` stands for
    slashes too.

    Attributes:
        include: patterns of which one must fit; none takes all.
        exclude: patterns of which none may fit.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Tells whether the run takes a photograph of that name, relative to INPUT."""
        return (not self.include or _fits(name, self.include)) and not _fits(name, self.exclude)


class FoundFile(NamedTuple):
    """A photograph below a folder, or a folder that cannot be listed.

    Attributes:
        name: relative to the folder that was searched.
        companions: names of the files that belong to it, relative to the same folder.
    """

    name: str
    companions: tuple[str, ...] = ()


def find_photographs(
    folder: Location, output: Location, libraries: set[str] | None = None
) -> Iterator[FoundFile]:
    """Yields pictures and films below a folder, by their endings, and folders inside that cannot be listed.

    Films are looked for in folders of this machine only, not in stores.

    Hidden files, `SYSTEM_FOLDERS`, photo managers' libraries and the output are left out; links to folders
    are followed once.

    Args:
        folder: the folder to search, however deep.
        output: the folder of the results, which may be inside a linked one.
        libraries: gets the names of the libraries that were left out, relative to the folder.

    Raises:
        UsageError: the folder itself cannot be listed, or a remote name cannot be a file's name here.
    """
    libraries = set() if libraries is None else libraries
    if isinstance(folder, Path):
        yield from _walk(folder, output, libraries)
        return
    by_folder: dict[str, list[str]] = {}  # a folder's name ends with a slash; a key may have several in a row
    for name in folder.names():
        if (library := _library_of(name)) is not None:
            libraries.add(library)
        elif is_shown(name):
            last = name.rpartition("/")[2]
            by_folder.setdefault(name.removesuffix(last), []).append(last)
    for parent, names in by_folder.items():
        for name, companions in _with_companions(names, films=False):
            file = FoundFile(parent + name, tuple(parent + companion for companion in companions))
            if isinstance(output, Path):
                require_name(folder / file.name, file.name)
            yield file


def companions_of(file: Location) -> tuple[str, ...]:
    """Returns the names of the files beside a local file that belong to it; none for a file in a store."""
    if not isinstance(file, Path):
        return ()
    try:
        names = os.listdir(file.parent)
    except OSError:
        return ()
    found = dict(_with_companions(names))
    if file.name in found:
        return found[file.name]
    one = [name for name in found if folded(name) == folded(file.name)]  # as the disk may take it
    return found[one[0]] if len(one) == 1 else ()


def require_name(source: Location, name: str) -> None:
    """Refuses a photograph of a store whose name no file of this machine can have.

    Raises:
        UsageError: the message names it.
    """
    if not can_be_named(name):
        raise UsageError(f"{source} cannot be a file's name on this machine: rename it")


def companion_target(companion: str, photograph: str, target: Path) -> Path:
    """Returns where a companion goes: `a.xmp` follows the stem of the result, `a.jpg.xmp` its whole name."""
    ending = os.path.splitext(companion)[1]
    whole = os.path.splitext(companion)[0].lower() == photograph.lower()
    return target.with_name((target.name if whole else target.stem) + ending)


def is_unreadable_kind(name: str) -> bool:
    """Tells whether a name is that of a picture or film of a kind that cannot be read here."""
    ending = os.path.splitext(name)[1].lower()
    return ending in UNREADABLE_ENDINGS or ending in UNREADABLE_FILM_ENDINGS


def sentences_on_unreadable(folder: Location, names: Iterable[str]) -> Iterator[str]:
    """Yields a sentence for the pictures in a folder that cannot be read here, and one for the films."""
    endings_of = {name: os.path.splitext(name)[1].lower() for name in names}
    for what, is_film_s in (("picture", False), ("film", True)):
        endings = [end for end in endings_of.values() if (end in UNREADABLE_FILM_ENDINGS) == is_film_s]
        if not endings:
            continue
        kinds = sorted(set(endings))
        are = "is of a kind" if len(endings) == 1 else "are of kinds"
        remedy = "export as MP4 from their maker's program first" if is_film_s else remedy_for(kinds)
        yield (
            f"{len(endings)} {what}{'s' * (len(endings) > 1)} in {folder} {are} that rave-run cannot read "
            f"({', '.join(kinds)}): {remedy}"
        )


def _fits(name: str, patterns: Iterable[str]) -> bool:
    path = folded(name.replace(os.sep, "/"))
    parts = path.split("/")
    for pattern in patterns:
        folded_pattern = folded(pattern.replace(os.sep, "/")).rstrip("/")
        if fnmatchcase(path, folded_pattern) or any(fnmatchcase(part, folded_pattern) for part in parts):
            return True
    return False


def _walk(folder: Path, output: Location, libraries: set[str]) -> Iterator[FoundFile]:
    """Yields the pictures and films below a folder of this machine, and enters no folder twice."""
    seen = {identity_of(output)} if isinstance(output, Path) else set()
    seen.discard(None)
    if identity_of(folder) in seen:  # results go beside the photographs
        seen.clear()
    to_visit = [""]
    while to_visit:
        here = to_visit.pop()
        path = folder / here
        identity = identity_of(path)
        if identity is None or identity in seen:
            continue
        seen.add(identity)
        try:
            with os.scandir(path) as entries:
                inner, names = _sort_entries(entries)
        except OSError as error:
            if not here:
                raise UsageError(f"{folder} cannot be listed: {error.strerror or error}") from error
            yield FoundFile(here)
            continue
        for name, companions in _with_companions(names):
            beside = tuple(os.path.join(here, companion) for companion in companions)
            yield FoundFile(os.path.join(here, name), beside)
        for name in sorted(inner, reverse=True):
            into = libraries.add if _is_library(name) else to_visit.append
            into(os.path.join(here, name))


def _sort_entries(entries: Iterable[os.DirEntry[str]]) -> tuple[list[str], list[str]]:
    """Returns the names of folders to walk into and the names of files, without hidden ones."""
    folders: list[str] = []
    files: list[str] = []
    for entry in entries:
        if is_shown(entry.name):
            try:
                is_folder = entry.is_dir()
            except OSError:
                is_folder = False
            (folders if is_folder else files).append(entry.name)
    return folders, files


def _with_companions(names: list[str], *, films: bool = True) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields pictures and films among the names of one folder, each with the names of its companions."""
    companions: dict[str, list[str]] = {}
    for name in sorted(names):
        stem, ending = os.path.splitext(name)
        if ending.lower() in COMPANION_ENDINGS:
            companions.setdefault(stem.lower(), []).append(name)
    pictures = set()
    for name in names:
        stem, ending = os.path.splitext(name)
        is_picture = ending.lower() in READ_ENDINGS or ending.lower() in UNREADABLE_ENDINGS
        if is_picture:
            pictures.add(stem.lower())
        if is_picture or is_unreadable_kind(name):
            yield name, (*companions.get(stem.lower(), ()), *companions.get(name.lower(), ()))
    for name in names if films else ():
        stem, ending = os.path.splitext(name)
        if is_film(name) and not (ending.lower() in COMPANION_ENDINGS and stem.lower() in pictures):
            beside = (*companions.get(stem.lower(), ()), *companions.get(name.lower(), ()))
            yield name, tuple(each for each in beside if stem.lower() not in pictures and not is_film(each))


def is_shown(name: str) -> bool:
    """Tells whether a name, with the folders above it, is neither hidden nor a system's own."""
    parts = PurePosixPath(name).parts if "/" in name else (name,)
    return not any(part.startswith(".") or _is_of_the_system(part.lower()) for part in parts)


def _is_library(folder: str) -> bool:
    return folder.lower().endswith(LIBRARY_ENDINGS)


def _library_of(key: str) -> str | None:
    """Returns the part of a store's key that names a photo manager's library, if one does."""
    parts = key.split("/")
    ends = (i + 1 for i, part in enumerate(parts[:-1]) if _is_library(part))
    return next(("/".join(parts[:end]) for end in ends), None)


def _is_of_the_system(part: str) -> bool:
    return part in SYSTEM_FOLDERS or any(fnmatchcase(part, pattern) for pattern in SYSTEM_PATTERNS)
