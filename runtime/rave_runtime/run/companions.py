"""Copies of the files that belong to a photograph: edits beside it, and the film of a Live Photo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from rave_runtime.errors import PhotoError
from rave_runtime.files.atomic import write_atomically
from rave_runtime.files.entries import ResultJournal, digest_of
from rave_runtime.files.location import Location, name_inside
from rave_runtime.files.places import is_free
from rave_runtime.files.regular import read_regular
from rave_runtime.photos.xmp import orientation_in_xmp, upright_xmp
from rave_runtime.run.inputs import companions_of
from rave_runtime.run.jobs import Job
from rave_runtime.run.one_photo import EnhancedPhoto
from rave_runtime.run.overwriting import is_foreign

LARGEST_BYTES: Final = 256 << 20
"""Largest companion that is copied. A Live Photo lasts three seconds: a larger film is another one."""

_KEY: Final = "copy"
"""Key of companions in the journal; the key of a result is a hash of what it was made from."""


def copy_companions(
    job: Job, journal: ResultJournal | None, photo: EnhancedPhoto | None, *, overwrite: bool
) -> tuple[str, ...]:
    """Copies the files that belong to a photograph, each with its times.

    The XMP beside a photograph that was turned upright is turned with it, or else programs that read it
    would turn the result once more.

    What these files are is not checked, so a link is followed only to where the user's own links lead: into
    the folder that was given, or to the file that belongs to the photograph where a link to that leads. A
    link of a stranger could otherwise bring any file of this machine among the results.

    Args:
        job: the photograph with its companions.
        journal: the journal of the results, which records the copies.
        photo: the result; None for a film.
        overwrite: whether files that no run of rave-run wrote are replaced.

    Returns:
        What a user should know, a sentence for each file that was not copied or not turned.
    """
    notes = []
    for source, target in job.companions:
        try:
            reason = _copy(job, source, target, journal, photo, overwrite)
        except PhotoError as error:
            reason = str(error)
        if reason:
            notes.append(f"its {source.name} {reason}")
    return tuple(notes)


def _copy(
    job: Job,
    source: Location,
    target: Location,
    journal: ResultJournal | None,
    photo: EnhancedPhoto | None,
    overwrite: bool,
) -> str | None:
    """Copies one file, and returns what a user should know: why it was not copied, or not turned."""
    file = note = None
    if not isinstance(source, Path):
        content = source.read(LARGEST_BYTES + 1)
    else:
        file = Path(os.path.realpath(source))
        if source.is_symlink() and not _may_follow(file, job):
            return "was not copied: it is a link to a file outside the folder of the photographs"
        try:
            if file.stat().st_size > LARGEST_BYTES:
                return "was not copied: it is too large for a Live Photo's film"
            content = read_regular(file, follow=False)
        except OSError as error:
            return f"was not copied: {error.strerror or error}"
    if len(content) > LARGEST_BYTES:
        return "was not copied: it is too large for a Live Photo's film"
    if photo is not None and photo.orientation != 1 and source.suffix.lower() == ".xmp":
        content, note = _turned(content, photo)
    if not is_free(target):
        if _holds(target, content):
            return note
        if not overwrite and is_foreign(target, journal):
            return f"was not copied, since {target} is there and rave-run did not write it"
    digest = digest_of(content)
    if journal is not None:
        name = name_inside(journal.folder, target)
        journal.claim(name, len(content), digest)
    write_atomically(target, content, like=file, attributes_of=file)
    if journal is not None:
        journal.add(name, _KEY, len(content), digest)
    return note


def _turned(xmp: bytes, photo: EnhancedPhoto) -> tuple[bytes, str | None]:
    """Turns the XMP beside a photograph as its pixels were turned; the note says why it could not be."""
    stated = orientation_in_xmp(xmp)
    if stated not in (None, 1, photo.orientation):
        return xmp, f"was not turned with the picture: it states another orientation ({stated})"
    packet = upright_xmp(xmp, photo.width_px, photo.height_px, photo.orientation)
    if packet is None:
        return xmp, "was not turned with the picture: it is damaged"
    return packet, None


def _may_follow(file: Path, job: Job) -> bool:
    """Tells whether a link to a file, whose own path has no links, may be followed."""
    assert isinstance(job.source, Path)
    folder = job.source.parent if job.folder is None else job.folder
    if file.is_relative_to(os.path.realpath(folder)):
        return True
    photograph = Path(os.path.realpath(job.source))
    return file.parent == photograph.parent and file.name in companions_of(photograph)


def _holds(place: Location, content: bytes) -> bool:
    try:
        if not isinstance(place, Path):
            return place.size() == len(content)
        return place.stat().st_size == len(content) and read_regular(place) == content
    except OSError:
        return False
