"""No file is replaced that no run of rave-run wrote, unless the user says so, and no result by another."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.files.entries import ResultJournal
from rave_runtime.files.folding import folded, folds_names
from rave_runtime.files.location import Location, name_inside
from rave_runtime.files.places import is_free, key_of

if TYPE_CHECKING:
    from rave_runtime.run.jobs import Job
    from rave_runtime.run.journal import Journal

_HEAD_BYTES: Final = 1024


def is_foreign(place: Location, journal: ResultJournal | None) -> bool:
    """Tells whether a file is there that no run of rave-run wrote. Folders do not count: none is replaced.

    Raises:
        PhotoError: a store does not tell.
    """
    if is_free(place) or (isinstance(place, Path) and os.path.isdir(place) and not os.path.islink(place)):
        return False
    return journal is None or not journal.is_ours(name_inside(journal.folder, place))


def require_replaceable(place: Location, journal: ResultJournal | None) -> None:
    """Refuses to replace a file that no run of rave-run wrote.

    Raises:
        PhotoError: such a file is there, or a store does not tell.
    """
    if is_foreign(place, journal):
        raise PhotoError(
            f"was not enhanced, since {place} is there and rave-run did not write it: choose another OUTPUT, "
            "or give --overwrite always to replace such files"
        )


def require_own_text(option: str, file: Path | None, mark: bytes) -> None:
    """Refuses to write a log or a report into a file that holds something else.

    Args:
        option: names the file in the message.
        file: its path. None, standard output (`-`), pipes and devices are not checked.
        mark: bytes near the beginning of every such file that rave-run writes.

    Raises:
        UsageError: another file is there.
    """
    if file is None or str(file) == "-" or not file.is_file():
        return
    with file.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if head and mark not in head:
        raise UsageError(
            f"{option} {file} is there and rave-run did not write it: choose another name, "
            "or give --overwrite always"
        )


def claim_free(journal: Journal, jobs: Iterable[Job]) -> None:
    """Records in a journal that the results of these jobs, where none is there yet, will be this run's.

    This is for runs whose results are written by other processes, or into a store: they cannot record each
    result just before it is written, and may be killed just after.
    """
    names = (name_inside(journal.folder, job.target) for job in jobs)
    if isinstance(journal.folder, Path):
        folder = journal.folder
        journal.claim_all([name for name in names if not os.path.lexists(folder / name)])
        return
    existing_names = set(journal.folder.names()) if journal.folder.is_dir() else set()
    journal.claim_all([name for name in names if name not in existing_names])


class Clash(NamedTuple):
    """Photographs whose results would be one file, and a sentence that says so."""

    text: str
    jobs: Sequence[Job]


def find_clashes(jobs: Sequence[Job], output: Location) -> Iterator[Clash]:
    """Finds jobs whose results would be written to one file.

    Args:
        jobs: the jobs of a run.
        output: where their results go; on its disk, names may be one that differ in letters only.
    """
    for group in _groups(jobs, key_of):
        names = [job.name for job in group]
        if len(set(names)) < len(names):
            names = [str(job.source) for job in group]
            remedy = "rename one, or enhance them into separate folders"
        else:
            remedy = "rename one, or --exclude one kind"
        yield Clash(f"{listed_names(names)} would both be written to {group[0].target}: {remedy}", group)
    for group in _groups(jobs, lambda place: folded(key_of(place))):
        if len({key_of(job.target) for job in group}) > 1 and folds_names(output):
            text = f"{listed_names([job.name for job in group])} would both be written to {group[0].target}"
            text += ", since that disk does not distinguish capitals or forms of accents"
            yield Clash(f"{text}: rename one, or choose an OUTPUT on another disk", group)


def _groups(jobs: Sequence[Job], key: Callable[[Location], str]) -> Iterator[list[Job]]:
    """Yields the jobs whose targets share a key."""
    groups: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[key(job.target)].append(job)
    yield from (group for group in groups.values() if len(group) > 1)


def listed_names(names: Sequence[str]) -> str:
    """Returns the first two names, and how many more there are."""
    return " and ".join(names[:2]) + (f" (and {len(names) - 2} more)" if len(names) > 2 else "")
