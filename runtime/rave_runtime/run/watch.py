"""A folder that is watched: what is put into it is enhanced."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Final

from rave_runtime.backends.limits import usable_processors
from rave_runtime.errors import UsageError
from rave_runtime.files.location import Location
from rave_runtime.files.places import is_folder
from rave_runtime.run.batch import Result
from rave_runtime.run.jobs import Job, plan_jobs
from rave_runtime.run.journal import open_journal
from rave_runtime.run.log import LOG_MARK, open_log, write_each
from rave_runtime.run.options import RunOptions, make_batch
from rave_runtime.run.overwriting import require_own_text

State = tuple[int, int]
"""A file's size in bytes and time of change in nanoseconds."""

_RELIST_S: Final = 60.0
"""The folder is listed at least this often, for file systems that keep no times of folders."""

_CLOCK_TICK_S: Final = 3.0
"""The longest tick of a file system's clock (2 s on FAT), and a little more."""

WATCH_INTERVAL_S: Final = 1.0
"""How often a watched folder is looked at. A file is taken when it was the same at two looks."""


def run_watch(
    source: Location, output: Location, options: RunOptions, begun: Callable[[], None] = lambda: None
) -> Generator[Result]:
    """Enhances what is in a folder and whatever is put there, until interrupted.

    Args:
        source: the folder to watch.
        output: the folder of the results.
        options: the options of the run.
        begun: called when everything is ready and the watching begins.

    Raises:
        RaveError: as `run_folder`.
    """
    if not (isinstance(source, Path) and isinstance(output, Path) and is_folder(source)):
        raise UsageError(
            f"{source} is not a folder: --watch needs folders of this machine as INPUT and OUTPUT"
        )
    options.check("watch")
    batch = make_batch(options, open_journal(output), usable_processors())
    files = _Files()
    told = ""
    folders = _Folders(source)
    if options.overwrite != "always":
        require_own_text("--log", options.log, LOG_MARK)
    with open_log(options.log, batch.setup) as log:
        begun()
        while True:
            try:
                if folders.may_have_changed():
                    files.watch(
                        plan_jobs(
                            source,
                            output,
                            allow_empty=True,
                            selection=options.selection,
                            naming=options.naming,
                        )
                    )
            except UsageError as problem:  # such as two files of one name, of which one may go again
                if str(problem) != told:
                    told = str(problem)
                    warnings.warn(f"nothing is taken from {source}: {told}", stacklevel=2)
                folders.forget()
                time.sleep(WATCH_INTERVAL_S)
                continue
            settled = files.take_settled()
            if settled:
                yield from write_each(batch.run(settled), log)
                batch.cancelled.clear()
            time.sleep(WATCH_INTERVAL_S)


class _Files:
    """Tells which files are whole and new, by two looks. For idle files nothing but the look is done."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._names: list[str] = []
        self._seen: list[State | None] = []
        self._taken: list[State | None] = []

    def watch(self, jobs: list[Job]) -> None:
        """Looks at these from now on, and remembers what is known of those that were looked at before."""
        seen = dict(zip(self._jobs, self._seen, strict=True))
        taken = dict(zip(self._jobs, self._taken, strict=True))
        self._jobs = [job for job in jobs if isinstance(job.source, Path)]
        self._names = [str(job.source) for job in self._jobs]
        self._seen = [seen.get(job) for job in self._jobs]
        self._taken = [taken.get(job) for job in self._jobs]

    def take_settled(self) -> list[Job]:
        """Looks at all files; returns those that are as at the last look and have not been taken as such."""
        now = [_state(name) for name in self._names]
        settled = [
            i
            for i, (state, seen, taken) in enumerate(zip(now, self._seen, self._taken, strict=True))
            if state is not None and seen == state != taken
        ]
        for i in settled:
            self._taken[i] = now[i]
        self._seen = now
        return [self._jobs[i] for i in settled]


class _Folders:
    """Tells whether files may have come or gone, by the times of the folders: cheaper than listing them.

    A change that falls into the same tick of a file system's clock as the last look would be missed, so
    folders that changed a moment ago count as changed, and all are listed again now and then.

    Args:
        root: the watched folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._times: dict[str, int] = {}
        self._listed_at = -math.inf

    def may_have_changed(self) -> bool:
        """Whether the folder must be listed again; what it finds then is what it compares with next time."""
        now = time.monotonic()
        if now - self._listed_at < _RELIST_S and not self._have_changed():
            return False
        self._listed_at = now
        self._times = dict(_times_below(self._root))
        return True

    def forget(self) -> None:
        """Has the folder listed again at the next look."""
        self._listed_at = -math.inf

    def _have_changed(self) -> bool:
        recent_ns = time.time_ns() - int(_CLOCK_TICK_S * 1e9)
        return any(
            (changed := _time_of(folder)) != before or changed > recent_ns
            for folder, before in self._times.items()
        )


def _times_below(root: Path) -> Iterator[tuple[str, int]]:
    """A folder and those below it, links to folders followed once, each with the time of its last change."""
    seen = set()
    ahead = [str(root)]
    while ahead:  # by hand: os.walk calls itself for each level
        folder = ahead.pop()
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                ahead += [entry.path for entry in entries if _leads_to_folder(entry)]
        except OSError:
            continue
        yield folder, status.st_mtime_ns


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _time_of(folder: str) -> int:
    """When a folder's entries changed last, in nanoseconds; -1 if it has gone."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return -1


def _state(file: str) -> State | None:
    """Size and time of change; None where the file has gone."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
