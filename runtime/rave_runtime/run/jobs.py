"""Which files are photographs, and where the result of each goes."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rave_runtime.errors import UsageError
from rave_runtime.files.location import Location, RemoteFile
from rave_runtime.files.places import (
    Identity,
    base_name,
    exists,
    identity_of,
    is_folder,
    is_inside,
    is_no_folder,
    is_same,
)
from rave_runtime.films.containers import can_read_films, ending_of_film_result, is_film, is_film_file
from rave_runtime.photos.formats import (
    KNOWN_ENDINGS,
    USUAL_ENDINGS,
    ending_of_result,
    format_of_ending,
    output_format,
    require_format,
)
from rave_runtime.run.inputs import (
    FoundFile,
    Selection,
    companion_target,
    companions_of,
    find_photographs,
    is_unreadable_kind,
    require_name,
    sentences_on_unreadable,
)
from rave_runtime.run.overwriting import find_clashes, listed_names


@dataclass(frozen=True)
class Job:
    """One photograph to enhance.

    Attributes:
        source: file to read.
        target: file to write.
        name: the source's name, relative to the folder that was given.
        companions: files that belong to the photograph, each with the place of its copy.
        folder: the folder of this machine that was given; None where a file or a store was.
    """

    source: Location
    target: Location
    name: str
    companions: tuple[tuple[Location, Location], ...] = field(default=(), compare=False)
    folder: Path | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of all photographs, chosen by a hash of their names alone.

    A photograph is therefore in the same part on every machine, whatever else is added or removed.

    Attributes:
        index: a number from 1 to `count`.
        count: at least 1.
    """

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"

    def holds(self, name: str) -> bool:
        """Tells whether a photograph of that name, relative to the folder, is in this part."""
        digest = hashlib.sha256(name.replace(os.sep, "/").encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1


class Naming(NamedTuple):
    """How a result is named after its photograph.

    Attributes:
        format: the name of a written format; None keeps each photograph's own.
        suffix: what is put behind the stem of the name, such as `_bright`.
        companions: whether files that belong to a photograph are copied along.
    """

    format: str | None = None
    suffix: str = ""
    companions: bool = True

    def name_of(self, name: str) -> Path:
        """Returns the result's name, relative to the output, without `..` and leading slashes."""
        path = Path(name)
        if is_film(name):
            return path.with_name(path.stem + self.suffix + ending_of_film_result(path.suffix))
        if path.anchor or os.pardir in path.parts:
            path = Path(*(part for part in path.parts if part not in (path.anchor, os.pardir)))
        own = format_of_ending(path.suffix)
        ending = path.suffix  # stays where the name tells no format: the content decides then
        if own is not None or self.format is not None:
            ending = ending_of_result(path.name, output_format(own or "PNG", self.format))
        return path.with_name(path.stem + self.suffix + ending)


def parse_shard(text: str) -> Shard:
    """Parses a part written as `2/8`.

    Raises:
        UsageError: the text is written otherwise, or names a part that does not exist.
    """
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UsageError(f"--shard {text} cannot be read: give I/N, from 1/N to N/N")
    return Shard(int(index), int(count))


def plan_jobs(
    source: Location | Sequence[Location],
    output: Location,
    allow_empty: bool = False,
    shard: Shard | None = None,
    selection: Selection | None = None,
    naming: Naming | None = None,
    leave_out: Callable[[str], None] | None = None,
) -> list[Job]:
    """Plans which photographs under `source` to enhance, and where each result goes.

    Args:
        source: a photograph, or a folder that is searched (see `find_photographs`), or several of either. A
            folder inside it that cannot be listed becomes a job, which will fail with the reason.
        output: where results go: for a folder, the folder that mirrors its tree; for a file, a file name, or
            a folder if it is one or has no known ending; for several, a folder that gets a subfolder for each
            given folder.
        allow_empty: a folder without photographs gives no jobs instead of an error.
        shard: which part of the photographs; None is all. A part may be empty.
        selection: which names count; None is all.
        naming: how results are named; None names them like their photographs.
        leave_out: is told of photographs that would be written to one file, which are left out then; None
            makes that an error.

    Returns:
        Jobs in order of their names.

    Warns:
        UserWarning: a folder also holds pictures of kinds that cannot be read, such as a camera's raw files.

    Raises:
        UsageError: a source is missing or holds no photograph; the output is the source or inside
            it; two photographs would be written to one file, or a result over a photograph.
    """
    sources = [source] if isinstance(source, (Path, RemoteFile)) else list(source)
    naming = naming or Naming()
    selection = selection or Selection()
    for place in sources:
        if not exists(place):
            raise UsageError(f"{place} does not exist: give a photograph or a folder of photographs")
    if len(sources) > 1:
        _require_folder(output, sources)
    jobs: dict[tuple[Identity | Location, Location], Job] = {}
    for place in sources:
        prefix = "" if len(sources) == 1 else base_name(place)
        new_jobs = (
            _jobs_below(place, output, prefix, naming, selection, allow_empty)
            if is_folder(place)
            else _job_of(place, output, naming, several=len(sources) > 1)
        )
        for job in new_jobs:
            source_key = identity_of(job.source) if len(sources) > 1 else None
            jobs.setdefault((source_key or job.source, job.target), job)
    planned = sorted(jobs.values(), key=lambda job: job.name)
    clashing: set[Job] = set()
    for clash in find_clashes(planned, output):
        if leave_out is None:
            raise UsageError(clash.text)
        leave_out(clash.text)
        clashing.update(clash.jobs)
    planned = [job for job in planned if job not in clashing]
    _refuse_overwriting(planned)
    return [job for job in planned if shard is None or shard.holds(job.name)]


def _jobs_below(
    source: Location, output: Location, prefix: str, naming: Naming, selection: Selection, allow_empty: bool
) -> Iterator[Job]:
    """Yields the jobs of a folder, in no particular order."""
    if prefix and isinstance(source, RemoteFile) and isinstance(output, Path):
        require_name(source, prefix)
    is_beside = _refuse_nesting(source, output, naming.suffix)
    unreadable_names: set[str] = set()
    count = films = 0
    into = output / prefix if prefix else output
    libraries: set[str] = set()
    for file in find_photographs(source, output, libraries):
        if is_unreadable_kind(file.name):
            unreadable_names.add(file.name)
        elif is_film(file.name) and not can_read_films():
            films += isinstance(source, Path) and is_film_file(source / file.name)
        elif isinstance(source, Path) and is_film(file.name) and not is_film_file(source / file.name):
            continue
        elif selection.takes(file.name) and not (is_beside and Path(file.name).stem.endswith(naming.suffix)):
            count += 1
            yield _make_job(source, into, file, naming, prefix)
    for text in sentences_on_unreadable(source, unreadable_names) if not allow_empty else ():
        warnings.warn(text, stacklevel=3)
    if libraries and not allow_empty:
        text = f"{source}: {listed_names(sorted(libraries))} left alone, as photo managers' libraries"
        warnings.warn(f"{text}: export the photographs first, or name the folder as INPUT", stacklevel=3)
    if films and not allow_empty:
        many = "1 film" if films == 1 else f"{films} films"
        warnings.warn(f"{many} in {source} left out: pip install 'rave-backlit[video]'", stacklevel=3)
    if not count and not allow_empty:
        if selection != Selection():
            raise UsageError(f"{source} holds no photograph that --include and --exclude leave")
        usual = ", ".join(USUAL_ENDINGS)
        raise UsageError(f"{source} holds no photograph, by the endings of its files, such as {usual}")


def _make_job(source: Location, into: Location, file: FoundFile, naming: Naming, prefix: str) -> Job:
    target = naming.name_of(file.name)
    name = f"{prefix}{os.sep}{file.name}" if prefix else file.name
    companions = [
        (source / companion, into / companion_target(companion, file.name, target))
        for companion in (file.companions if naming.companions else ())
    ]
    folder = source if isinstance(source, Path) else None
    return Job(source / file.name, into / target, name, tuple(companions), folder)


def _job_of(source: Location, output: Location, naming: Naming, several: bool) -> Iterator[Job]:
    """Yields the job of one file."""
    into = several or is_folder(output) or output.suffix.lower() not in KNOWN_ENDINGS
    if into and isinstance(source, RemoteFile) and isinstance(output, Path):
        require_name(source, source.name)
    target = output / naming.name_of(source.name) if into else output
    if not into:
        require_format(output, naming.format)
    elif is_no_folder(output):
        raise UsageError(
            f"{output} exists and is neither a folder nor named like a photograph: choose another OUTPUT"
        )
    companions: list[tuple[Location, Location]] = []
    if naming.companions and isinstance(source, Path) and isinstance(target, Path):
        for name in companions_of(source):
            beside = target.parent / companion_target(name, source.name, Path(target.name))
            companions.append((source.parent / name, beside))
    yield Job(source, target, source.name, tuple(companions))


def _require_folder(output: Location, sources: Sequence[Location]) -> None:
    is_file = is_no_folder(output)
    has_name = output.suffix.lower() in KNOWN_ENDINGS or is_film(base_name(output))
    if is_file or (not is_folder(output) and has_name):
        what = "a film" if is_film(base_name(output)) else "a photograph"
        raise UsageError(
            f"{output} is {'a file' if is_file else f'the name of {what}'}: for {len(sources)} inputs "
            "the last argument must be the folder of the results, such as rave-run *.jpg enhanced/"
        )


def _refuse_nesting(source: Location, output: Location, suffix: str) -> bool:
    """Refuses results inside the source; tells whether they go beside it, which needs a suffix."""
    if isinstance(source, Path) and isinstance(output, Path) and is_no_folder(output):
        raise UsageError(f"{output} is a file: for a folder of photographs OUTPUT must be a folder")
    same, nested = is_same(output, source), is_inside(output, source)
    if same and not suffix:
        raise UsageError(
            f"{output} is INPUT itself, whose photographs would be replaced: choose another OUTPUT, or give "
            "--suffix _bright"
        )
    if nested:
        raise UsageError(
            f"{output} is inside {source}: its results would be read as photographs next time; "
            "choose a folder elsewhere"
        )
    return same


def _refuse_overwriting(jobs: list[Job]) -> None:
    """Refuses results in the place of photographs, such as where the input lies inside the output."""
    sources = {identity_of(job.source): job for job in jobs}
    for job in jobs:
        identity = identity_of(job.target)
        if identity is not None and identity in sources:
            raise UsageError(
                f"{job.target} is the photograph {sources[identity].name} itself: choose another OUTPUT"
            )
