"""What a run would do, without doing it: which photographs, where to, and which of them are backlit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import RaveError
from rave_runtime.files.entries import result_key
from rave_runtime.files.location import name_inside
from rave_runtime.files.places import is_free
from rave_runtime.films.containers import is_film
from rave_runtime.films.marking import read_film_mark
from rave_runtime.light.score import BACKLIT_SCORE
from rave_runtime.photos.codecs.opening import read_by_codec
from rave_runtime.photos.colour import as_seen
from rave_runtime.photos.metadata.mark import read_mark
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_file, read_photo
from rave_runtime.run.jobs import Job
from rave_runtime.run.journal import Journal
from rave_runtime.run.options import RunOptions
from rave_runtime.run.overwriting import is_foreign
from rave_runtime.run.results import settings_of

Fate = Literal["enhanced", "copied", "skipped", "failed"]
"""What would become of a photograph."""


def preview_jobs(
    jobs: Iterable[Job], options: RunOptions, enhancer: Enhancer, journal: Journal | None
) -> Iterator[tuple[str, Fate]]:
    """Tells what would become of each photograph.

    Args:
        jobs: the jobs of the run.
        options: the options of the run.
        enhancer: the enhancer of the run.
        journal: the journal of the results, if there is one.

    Yields:
        For each photograph a sentence without its full stop, and what would become of it.
    """
    settings = settings_of(enhancer, options)
    for job in jobs:
        try:
            if is_film(job.source.name):
                yield _film_sentence(job, options, journal)
                continue
            content = read_file(job.source, options.max_megapixels)
            if options.skip_existing and journal is not None:
                name, key = name_inside(journal.folder, job.target), result_key(content, settings)
                if journal.is_done(name, key):
                    yield f"{job.name} would be skipped: {job.target} is up to date", "skipped"
                    continue
            photo = _read_quickly(content, options.max_megapixels)
            score = enhancer.backlit_score(as_seen(photo.pixels, None), photo.icc_profile)
            if not options.overwrites and is_foreign(job.target, journal):
                text = f"{job.name} would be left out: {job.target} is there and rave-run did not write it"
                yield text, "failed"
                continue
            place = f"{job.target}" if is_free(job.target) else f"{job.target}, replacing it"
            if (mark := read_mark(photo.xmp)) is not None and not options.again:
                yield f"{job.name} was enhanced before, by {mark}, and would be copied to {place}", "copied"
                continue
            kind = "backlit" if score >= (options.least_score or BACKLIT_SCORE) else "not backlit"
            text = f"{job.name} is {kind} (score {score:.2f} of 1) and would"
            if score < options.least_score:
                yield f"{text} be copied to {place}", "copied"
            else:
                yield f"{text} go to {place}", "enhanced"
        except RaveError as problem:
            yield f"{job.name} {problem}", "failed"


def _film_sentence(job: Job, options: RunOptions, journal: Journal | None) -> tuple[str, Fate]:
    if not options.overwrites and is_foreign(job.target, journal):
        return f"{job.name} would be left out: {job.target} is there and rave-run did not write it", "failed"
    place = f"{job.target}" if is_free(job.target) else f"{job.target}, replacing it"
    mark = read_film_mark(job.source) if isinstance(job.source, Path) and not options.again else None
    if mark is not None:
        return f"{job.name} was enhanced before, by {mark}, and would be copied to {place}", "copied"
    unless = ", unless that is up to date" if options.skip_existing else ""
    return f"{job.name} is a film and would go to {place}{unless}", "enhanced"


def _read_quickly(content: bytes, max_megapixels: float) -> Photo:
    """Reads a photograph for its score only: raw files are developed at half their width and height."""
    return read_by_codec(content, max_megapixels, is_draft=True) or read_photo(content, max_megapixels)
