"""Copies of the files that belong to a photograph: edits beside it, and the film of a Live Photo."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rave_runtime.errors import PhotoError
from rave_runtime.files.atomic import copy_atomically, write_atomically
from rave_runtime.files.entries import ResultJournal, digest_of
from rave_runtime.files.location import Location, name_inside
from rave_runtime.files.places import is_free
from rave_runtime.files.regular import read_regular
from rave_runtime.run.overwriting import is_foreign

LARGEST_BYTES: Final = 256 << 20
"""Largest companion that is copied. A Live Photo lasts three seconds: a larger film is another one."""

_KEY: Final = "copy"
"""Key of companions in the journal; the key of a result is a hash of what it was made from."""


def copy_companions(
    companions: tuple[tuple[Location, Location], ...], journal: ResultJournal | None, *, overwrite: bool
) -> tuple[str, ...]:
    """Copies files that belong to a photograph, each with its times.

    Args:
        companions: each file with the place of its copy.
        journal: the journal of the results, which records the copies.
        overwrite: whether files that no run of rave-run wrote are replaced.

    Returns:
        What a user should know, a sentence for each file that was not copied.
    """
    notes = []
    for source, target in companions:
        try:
            reason = _copy(source, target, journal, overwrite)
        except PhotoError as error:
            reason = str(error)
        if reason:
            notes.append(f"its {source.name} {reason}")
    return tuple(notes)


def _copy(source: Location, target: Location, journal: ResultJournal | None, overwrite: bool) -> str | None:
    """Copies one file, or gives the reason why not."""
    if not isinstance(source, Path):
        content = source.read(LARGEST_BYTES + 1)
    else:
        try:
            if source.stat().st_size > LARGEST_BYTES:
                return "was not copied: it is too large for a Live Photo's film"
            content = read_regular(source)
        except OSError as error:
            return f"was not copied: {error.strerror or error}"
    if len(content) > LARGEST_BYTES:
        return "was not copied: it is too large for a Live Photo's film"
    if not is_free(target):
        if _holds(target, content):
            return None
        if not overwrite and is_foreign(target, journal):
            return f"was not copied, since {target} is there and rave-run did not write it"
    digest = digest_of(content)
    if journal is not None:
        name = name_inside(journal.folder, target)
        journal.claim(name, len(content), digest)
    if isinstance(source, Path) and isinstance(target, Path):
        copy_atomically(source, target)
    elif isinstance(target, Path):
        write_atomically(target, content)
    else:
        target.write(content)
    if journal is not None:
        journal.add(name, _KEY, len(content), digest)
    return None


def _holds(place: Location, content: bytes) -> bool:
    try:
        if not isinstance(place, Path):
            return place.size() == len(content)
        return place.stat().st_size == len(content) and read_regular(place) == content
    except OSError:
        return False
