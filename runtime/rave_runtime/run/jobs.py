"""Which files are photographs, and where the result of each goes."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rave_runtime.errors import UsageError
from rave_runtime.files.location import Location, RemoteFile
from rave_runtime.photos.formats import (
    READ_ENDINGS,
    UNREADABLE_ENDINGS,
    format_of_ending,
    output_format,
    require_format,
    usual_ending,
)


@dataclass(frozen=True)
class Job:
    """One photograph to enhance.

    Attributes:
        source: file to read.
        target: file to write.
        name: of the source, relative to the folder that was given.
    """

    source: Location
    target: Location
    name: str


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of all photographs, by a hash of their names alone.

    A photograph so is in the same part on every machine, whatever else is added or removed.

    Attributes:
        index: from 1 to `count`.
        count: at least 1.
    """

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"

    def holds(self, name: str) -> bool:
        """Whether a photograph of that name, relative to the folder, is in this part."""
        digest = hashlib.sha256(name.replace(os.sep, "/").encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1


def parse_shard(text: str) -> Shard:
    """A part written as `2/8`.

    Raises:
        UsageError: it is not written so, or there is no such part.
    """
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UsageError(f"--shard {text} is no part: give I/N, from 1/N to N/N")
    return Shard(int(index), int(count))


def plan_jobs(
    source: Location,
    output: Location,
    format: str | None = None,
    allow_empty: bool = False,
    shard: Shard | None = None,
) -> list[Job]:
    """The photographs under `source` and where each goes.

    Args:
        source: a photograph, or a folder that is walked recursively (links to folders are followed
            once, and never into the output); hidden files and files with other endings are left
            alone. A folder inside it that cannot be listed becomes a job, which will fail with the
            reason.
        output: for a folder, the folder that mirrors its tree; for a file, a file name, or a folder
            if it is one or has no known ending.
        format: the name of a written format; None keeps each photograph's own.
        allow_empty: a folder without photographs gives no jobs instead of an error.
        shard: which part of the photographs; None is all. A part may be empty.

    Returns:
        Jobs in order of their names.

    Warns:
        UserWarning: a folder also holds pictures of kinds that cannot be read, such as a camera's raw files.

    Raises:
        UsageError: the source is missing or holds no photograph; the output is the source or inside
            it; two photographs would be written to one file, or a result over a photograph.
    """
    if not source.exists():
        raise UsageError(f"{source} does not exist: give a photograph or a folder of photographs")
    if source.is_dir():
        _refuse_nesting(source, output)
        names = sorted(_names_below(source, output))
        names, others = _sort_out(names)
        jobs = [Job(source / name, output / _target_name(name, format), name) for name in names]
        if others and not allow_empty:
            kinds = ", ".join(sorted({Path(name).suffix.lower() for name in others}))
            many = "1 picture" if len(others) == 1 else f"{len(others)} pictures"
            warnings.warn(f"{many} in {source} cannot be read ({kinds}): develop or convert", stacklevel=2)
        if not jobs and not allow_empty:
            raise UsageError(f"{source} holds no photograph ({', '.join(READ_ENDINGS)})")
    else:
        into = output.is_dir() or output.suffix.lower() not in READ_ENDINGS
        target = output / _target_name(source.name, format) if into else output
        if not into:
            require_format(output, format)
        elif output.exists() and not output.is_dir():
            raise UsageError(
                f"{output} is there and no folder, nor has it the name of a photograph: choose another OUTPUT"
            )
        jobs = [Job(source, target, source.name)]
    _refuse_collisions(jobs)
    _refuse_overwriting(jobs)
    return [job for job in jobs if shard is None or shard.holds(job.name)]


def _refuse_nesting(source: Location, output: Location) -> None:
    if isinstance(source, Path) and isinstance(output, Path):
        if output.exists() and not output.is_dir():
            raise UsageError(f"{output} is a file: for a folder of photographs OUTPUT must be a folder")
        inner, outer = output.resolve(), source.resolve()
        same, nested = inner == outer, outer in inner.parents
    else:
        same = _key_of(output) == _key_of(source)
        nested = _key_of(output).startswith(f"{_key_of(source)}/")
    if same:
        raise UsageError(
            f"{output} is INPUT itself, whose photographs would be replaced: choose another OUTPUT"
        )
    if nested:
        raise UsageError(
            f"{output} is inside {source}: its results would be read as photographs next time; "
            "choose a folder elsewhere"
        )


def _names_below(source: Location, output: Location) -> Iterator[str]:
    """Names of photographs, and of other pictures, relative to the source."""
    if isinstance(source, RemoteFile):
        for name in source.names():
            if _is_shown(name) and _is_picture(name):
                if os.sep != "/" and isinstance(output, Path) and (os.sep in name or ":" in name):
                    raise UsageError(f"{source / name} cannot be a file's name on this machine: rename it")
                yield name
        return
    identity = _identity(output) if isinstance(output, Path) else None
    yield from (str(path.relative_to(source)) for path in _walk(source, identity))


def _is_picture(name: str) -> bool:
    ending = Path(name).suffix.lower()
    return ending in READ_ENDINGS or ending in UNREADABLE_ENDINGS


def _sort_out(names: list[str]) -> tuple[list[str], list[str]]:
    """Names of photographs (and of folders that cannot be listed), and those of other pictures."""
    others = {name for name in names if Path(name).suffix.lower() in UNREADABLE_ENDINGS}
    return [name for name in names if name not in others], sorted(others)


def _is_shown(name: str) -> bool:
    return not any(part.startswith(".") for part in name.split("/"))


def _walk(folder: Path, output: tuple[int, int] | None) -> Iterator[Path]:
    """Pictures below a folder, by ending, and folders below it that cannot be listed."""
    seen = set() if output is None else {output}
    unreadable: list[Path] = []

    def note(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise UsageError(f"{folder} cannot be listed: {error.strerror or error}")
        unreadable.append(Path(error.filename))

    for root, folders, files in os.walk(folder, onerror=note, followlinks=True):
        here = _identity(Path(root))
        if here is None or here in seen:
            folders.clear()
            continue
        seen.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if _is_picture(name) and not name.startswith("."):
                yield Path(root) / name
    yield from unreadable


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells whether two paths lead to one file: its device and number there; None where none is."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _key_of(place: Location) -> str:
    return os.path.normcase(place) if isinstance(place, Path) else place.key


def _identity_of(place: Location) -> tuple[int, int] | str | None:
    return _identity(place) if isinstance(place, Path) else place.key


def _target_name(name: str, format: str | None) -> Path:
    path = Path(name)
    own = format_of_ending(path.suffix) or "PNG"
    written = output_format(own, format)
    return path if written == own else path.with_suffix(usual_ending(written))


def _refuse_collisions(jobs: list[Job]) -> None:
    targets: dict[str, list[str]] = defaultdict(list)
    for job in jobs:
        targets[_key_of(job.target)].append(job.name)
    for target, names in targets.items():
        if len(names) > 1:
            raise UsageError(f"{' and '.join(names)} would both be written to {target}: rename one")


def _refuse_overwriting(jobs: list[Job]) -> None:
    """Such as where the input lies inside the output."""
    sources = {_identity_of(job.source): job for job in jobs}
    for job in jobs:
        found = _identity_of(job.target)
        if found is not None and found in sources:
            raise UsageError(
                f"{job.target} is the photograph {sources[found].name} itself: choose another OUTPUT"
            )
