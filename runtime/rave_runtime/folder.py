"""Which files are photographs, where each goes, and writing so that a file is whole or absent."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rave_runtime.encode import WRITABLE, output_format
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.photo import SUFFIXES


@dataclass(frozen=True)
class Job:
    """One photograph to enhance.

    Attributes:
        source: file to read.
        target: file to write.
        name: of the source, relative to the folder that was given.
    """

    source: Path
    target: Path
    name: str


def plan_jobs(source: Path, output: Path, format: str | None = None, allow_empty: bool = False) -> list[Job]:
    """The photographs under `source` and where each goes.

    Args:
        source: a photograph, or a folder that is walked recursively (links to folders are followed
            once, and never into the output); hidden files and files with other endings are left
            alone. A folder inside it that cannot be listed becomes a job, which will fail with the
            reason.
        output: for a folder, the folder that mirrors its tree; for a file, a file name, or a folder
            if it is one or has no known ending.
        format: a name in `rave_runtime.encode.WRITABLE`; None keeps each photograph's own.
        allow_empty: a folder without photographs gives no jobs instead of an error.

    Returns:
        Jobs in order of their names.

    Raises:
        UsageError: the source is missing or holds no photograph; the output is the source or inside
            it; two photographs would be written to one file, or a result over a photograph.
    """
    if not source.exists():
        raise UsageError(f"{source} does not exist: give a photograph or a folder of photographs")
    if source.is_dir():
        if output.exists() and not output.is_dir():
            raise UsageError(f"{output} is a file: for a folder of photographs OUTPUT must be a folder")
        inner, outer = output.resolve(), source.resolve()
        if inner == outer or outer in inner.parents:
            raise UsageError(
                f"{output} is inside {source}: its results would be read as photographs next time; "
                "choose a folder elsewhere"
            )
        names = sorted(str(path.relative_to(source)) for path in _walk(source, _identity(output)))
        jobs = [Job(source / name, output / _target_name(name, format), name) for name in names]
        if not jobs and not allow_empty:
            raise UsageError(f"{source} holds no photograph ({', '.join(SUFFIXES)})")
    else:
        into = output.is_dir() or output.suffix.lower() not in SUFFIXES
        target = output / _target_name(source.name, format) if into else output
        jobs = [Job(source, target, source.name)]
    _refuse_collisions(jobs)
    _refuse_overwriting(jobs)
    return jobs


def write_atomically(target: Path, content: bytes) -> None:
    """Writes a file that is there whole or not at all.

    The temporary name depends on the target alone, so a run that was killed leaves nothing that the
    next run does not replace.

    Raises:
        PhotoError: the folder cannot be made or the file not written, such as on a full disk.
    """
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]  # fits wherever the target's fits
    partial = target.with_name(f".{name}.rave-partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise PhotoError(
            f"cannot be written to {target}: {getattr(error, 'strerror', None) or error}"
        ) from error


def format_of(target: Path) -> str | None:
    """The format that a file name asks for, None where it asks for none that is written."""
    name = SUFFIXES.get(target.suffix.lower())
    return name if name in WRITABLE else None


def _walk(folder: Path, output: tuple[int, int] | None) -> Iterator[Path]:
    """Photographs below a folder, by ending, and folders below it that cannot be listed."""
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
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(root) / name
    yield from unreadable


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells whether two paths lead to one file: its device and number there; None where none is."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _target_name(name: str, format: str | None) -> Path:
    path = Path(name)
    own = SUFFIXES.get(path.suffix.lower(), "PNG")
    written = output_format(own, format)
    return path if written == own else path.with_suffix(WRITABLE[written])


def _refuse_collisions(jobs: list[Job]) -> None:
    targets: dict[str, list[str]] = defaultdict(list)
    for job in jobs:
        targets[os.path.normcase(job.target)].append(job.name)
    for target, names in targets.items():
        if len(names) > 1:
            raise UsageError(f"{' and '.join(names)} would both be written to {target}: rename one")


def _refuse_overwriting(jobs: list[Job]) -> None:
    """Such as where the input lies inside the output."""
    sources = {_identity(job.source): job for job in jobs}
    for job in jobs:
        found = _identity(job.target)
        if found is not None and found in sources:
            raise UsageError(
                f"{job.target} is the photograph {sources[found].name} itself: choose another OUTPUT"
            )
