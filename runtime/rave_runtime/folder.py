"""Which files are photographs, where each goes, and writing so that a file is whole or absent."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import stat
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rave_runtime.encode import WRITABLE, output_format
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.photo import SUFFIXES
from rave_runtime.remote import Location, RemoteFile

_SYSTEM_NAMES: Final = ("/dev", "/dev/fd", "/proc/self/fd")
"""Folders whose entries stand for streams; where one is a file, only its name in here tells so."""

_OTHER_PICTURES: Final = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".mrw", ".nef", ".nrw", ".orf", ".pef"),
    *(".raf", ".raw", ".rw2", ".srw", ".x3f", ".exr", ".hdr", ".jxl", ".psd"),
)
"""Endings of pictures, of cameras most of them, that are not read: nobody expects them to be passed over."""


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
        format: a name in `rave_runtime.encode.WRITABLE`; None keeps each photograph's own.
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
            raise UsageError(f"{source} holds no photograph ({', '.join(SUFFIXES)})")
    else:
        into = output.is_dir() or output.suffix.lower() not in SUFFIXES
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


def write_atomically(target: Location, content: bytes, like: Location | None = None) -> None:
    """Writes a file that is there whole or not at all.

    A pipe or a device, such as /dev/null, is written into instead of being replaced, and so is whatever
    /dev/stdout and its like stand for. The temporary name depends on the target and the process, so that
    two runs into one folder never write one file; `remove_abandoned` takes away what a killed run left.

    Args:
        target: to make or replace.
        content: all of it.
        like: a file whose result this is: who may not read that may not read this.

    Raises:
        PhotoError: the folder cannot be made or the file not written, such as on a full disk.
    """
    if isinstance(target, RemoteFile):
        target.write(content)
        return
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]  # fits wherever the target's fits
    try:
        if is_written_into(target):
            target.write_bytes(content)
            return
        partial = target.with_name(f".{name}.{_this_host()}-{os.getpid()}.rave-partial")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if isinstance(like, Path):
                _narrow_mode(partial, like)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise PhotoError(
            f"cannot be written to {target}: {getattr(error, 'strerror', None) or error}"
        ) from error


def _narrow_mode(file: Path, like: Path) -> None:
    """Takes from a file the permissions that another lacks, but its owner's to write it."""
    with contextlib.suppress(OSError):  # the other has gone, or the file system knows no permissions
        own, other = (stat.S_IMODE(place.stat().st_mode) for place in (file, like))
        if (narrow := own & (other | stat.S_IWUSR)) != own:
            file.chmod(narrow)


def is_written_into(target: Path) -> bool:
    """Whether a path is a pipe or a device, or one of the system's names for them, and not to be replaced."""
    if target.is_dir():
        return False
    return str(target.absolute().parent) in _SYSTEM_NAMES or (target.exists() and not target.is_file())


def remove_abandoned(folder: Location) -> None:
    """Removes temporary files that processes of this machine left anywhere in a folder when they died."""
    if not isinstance(folder, Path):
        return
    for place, _, names in os.walk(folder):
        for name in names:
            parts = name.split(".")
            if len(parts) == 4 and parts[3] == "rave-partial":
                host, _, process = parts[2].partition("-")
                if host == _this_host() and not _is_alive(process):
                    with contextlib.suppress(OSError):
                        (Path(place) / name).unlink()


@functools.cache
def _this_host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_alive(process: str) -> bool:
    if os.name != "posix":
        return True  # elsewhere, asking so would end it
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except OSError:
        return True
    return True


def name_inside(folder: Location, target: Location) -> str:
    """A result's name inside the folder of all results."""
    if isinstance(folder, RemoteFile) and isinstance(target, RemoteFile):
        return target.relative_to(folder)
    return str(Path(str(target)).relative_to(str(folder)))


def require_format(target: Location, format: str | None) -> str | None:
    """The format that a file's name and `--format` ask for together.

    Args:
        target: file to write.
        format: a name in `rave_runtime.encode.WRITABLE`, or None.

    Raises:
        UsageError: the name asks for a format that is not written, or for another one.
    """
    named = format_of(target)
    if target.suffix and named is None:
        raise UsageError(f"{target.name} asks for a format that is not written: {', '.join(_written())}")
    if format is not None and named not in (None, format):
        raise UsageError(f"{target.name} is the name of another format than --format {format.lower()}")
    return format or named


def _written() -> list[str]:
    return [suffix for suffix, name in SUFFIXES.items() if name in WRITABLE]


def format_of(target: Location) -> str | None:
    """The format that a file name asks for, None where it asks for none that is written."""
    name = SUFFIXES.get(target.suffix.lower())
    return name if name in WRITABLE else None


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
    return ending in SUFFIXES or ending in _OTHER_PICTURES


def _sort_out(names: list[str]) -> tuple[list[str], list[str]]:
    """Names of photographs (and of folders that cannot be listed), and those of other pictures."""
    others = {name for name in names if Path(name).suffix.lower() in _OTHER_PICTURES}
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
    own = SUFFIXES.get(path.suffix.lower(), "PNG")
    written = output_format(own, format)
    return path if written == own else path.with_suffix(WRITABLE[written])


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
