"""Checks of the places that a user named: whether a file can be written there, before and after the work."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.files.atomic import is_stream_name, is_written_into, require_writable
from rave_runtime.files.location import Location, RemoteFile, parse_location
from rave_runtime.files.places import Identity, base_name, exists, identity_of, is_folder
from rave_runtime.films.containers import is_film
from rave_runtime.photos.formats import KNOWN_ENDINGS, WRITTEN_FORMATS, usual_ending
from rave_runtime.run.jobs import Job
from rave_runtime.run.journal import Journal
from rave_runtime.run.options import RunOptions
from rave_runtime.run.overwriting import is_foreign

Ask = Callable[[str], bool]
"""Asks the user a question; True is yes."""

_ENDING: Final = re.compile(r"\.[a-z][a-z0-9]{1,4}")
"""What looks like a file's ending, unlike that of `2026.11` or `v1.0-final`."""


def listed(source: Location | Sequence[Location]) -> list[Location]:
    """Returns the places of one input or several."""
    return [source] if isinstance(source, (Path, RemoteFile)) else list(source)


def require_folder_name(sources: Sequence[Location], output: str) -> None:
    """Refuses a new OUTPUT for one photograph that has the ending of no format: it may be mistyped.

    Args:
        sources: the inputs.
        output: the output as it was given; with a slash at its end it is a folder, whatever its name.

    Raises:
        UsageError: the message says which endings there are, and how to name a folder.
    """
    name = output.replace(os.sep, "/").rpartition("/")[2]
    ending = Path(name).suffix.lower()
    if len(sources) > 1 or ending in KNOWN_ENDINGS or not _ENDING.fullmatch(ending):
        return
    place = parse_location(output)
    if exists(place) or is_folder(sources[0]):
        return
    usual = ", ".join(map(usual_ending, WRITTEN_FORMATS))
    what = "is the name of a film" if is_film(name) else f"ends in {ending}, which no photograph's name does"
    source = base_name(sources[0])
    if is_film(name) and Path(source).suffix.lower() not in KNOWN_ENDINGS:  # as .h264 of cameras
        raise UsageError(f"{output} {what}, and {source} is not: give --film if it is a film nevertheless")
    raise UsageError(f"{output} {what}: name a file that ends in one of {usual}, or a folder as {output}/")


def require_open_streams(source: str, output: str) -> None:
    """Refuses standard input or output (-) that whoever started the program has closed.

    Raises:
        UsageError: it is closed.
    """
    for name, stream, used in (("input", sys.stdin, source), ("output", sys.stdout, output)):
        if stream is None and used == "-":
            raise UsageError(f"standard {name} is closed")


def most_private(source: Location | Sequence[Location]) -> Path | None:
    """Returns the folder of the photographs; of several folders, the one that the fewest users may read."""
    places = [place for place in listed(source) if isinstance(place, Path)]
    folders = [place if place.is_dir() else place.absolute().parent for place in places]
    return min((folder for folder in folders if folder.is_dir()), key=_count_permissions, default=None)


def _count_permissions(folder: Path) -> int:
    """Counts the permissions that a folder gives to its group and to all others."""
    return (folder.stat().st_mode & 0o077).bit_count()


def require_writable_file(name: str, file: Path, like: Path | None) -> None:
    """Refuses a file that cannot be written, before hours of work.

    Args:
        name: the option or argument that names the file, for messages.
        file: the file; its folder is made if it is missing.
        like: a folder; a new folder gets no permission that this one lacks.

    Raises:
        UsageError: a file cannot be made there.
    """
    if is_folder(file):
        raise UsageError(f"{name} {file} is a folder: name the file to write")
    if not is_written_into(file):
        require_writable_folder(name, file, file.parent, like)
    elif file.exists() and not os.access(file, os.W_OK):  # opening a pipe would wait for its reader
        raise UsageError(f"{name} {file} cannot be written: this user may not write into it")


def require_same_place(report: Path, folder: Identity | None) -> None:
    """Refuses a report in whose place, or in the place of whose folder, a link was put during the run.

    Raises:
        PhotoError: it would be written elsewhere.
    """
    if folder not in (None, identity_of(report.parent)):
        raise PhotoError(f"cannot be written to {report}: another folder is in the place of its folder now")
    if report.is_symlink() and not is_stream_name(report):
        raise PhotoError(f"cannot be written to {report}: it is a symbolic link now")


def require_writable_folder(name: str, place: Path, folder: Path, like: Path | None) -> None:
    """Refuses a folder in which no file can be made; `place` is the file or folder that the user named."""
    try:
        require_writable(folder, like)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{name} {place} cannot be written: {reason}") from error


def check_single(job: Job, journal: Journal | None, options: RunOptions) -> None:
    """Refuses to replace a file by the result of a single photograph, before the model is loaded.

    Raises:
        UsageError: the file exists and no run of rave-run wrote it.
    """
    if options.overwrites or (isinstance(job.target, Path) and is_written_into(job.target)):
        return
    if is_foreign(job.target, journal):
        raise UsageError(
            f"{job.target} is there and rave-run did not write it: choose another OUTPUT (for several "
            "photographs a folder, such as rave-run *.jpg enhanced/), or give --overwrite always"
        )


def may_replace(jobs: list[Job], journal: Journal | None, ask: Ask | None) -> bool:
    """Asks the user whether files that rave-run did not write may be replaced; False if there are none."""
    foreign = [job.target for job in jobs if is_foreign(job.target, journal)]
    if not foreign or ask is None:
        return False
    many = f"{len(foreign)} files, such as {foreign[0]}, are" if len(foreign) > 1 else f"{foreign[0]} is"
    return ask(f"{many} there and rave-run did not write {'them' if len(foreign) > 1 else 'it'}. Replace?")
