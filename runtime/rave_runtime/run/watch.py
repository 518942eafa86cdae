"""Watching a folder: photographs that are put into it are enhanced."""

from __future__ import annotations

import contextlib
import math
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Final

from rave_runtime.backends.limits import usable_processors
from rave_runtime.errors import UsageError
from rave_runtime.files.entries import Entry
from rave_runtime.files.location import Location
from rave_runtime.files.partials import remove_abandoned
from rave_runtime.files.places import identity_of, is_folder
from rave_runtime.films.containers import is_film
from rave_runtime.run.batch import make_batch
from rave_runtime.run.interrupt import was_interrupted
from rave_runtime.run.jobs import Job, plan_jobs
from rave_runtime.run.journal import FolderJournal
from rave_runtime.run.log import LOG_MARK, Log, write_each
from rave_runtime.run.options import RunOptions
from rave_runtime.run.overwriting import require_own_text
from rave_runtime.run.results import Result

State = tuple[int, int]
"""A file's size in bytes and time of change in nanoseconds."""

_RELIST_S: Final = 60.0
"""The folder is listed at least this often, for file systems that keep no times of folders."""

_CLOCK_TICK_S: Final = 3.0
"""The longest tick of a file system's clock (2 s on FAT), and a little more."""

_RETRY_S: Final = 60.0
"""Time after which what failed is tried again, such as on a full disk; it doubles with each failure."""

_LEAST_LINES: Final = 1000
"""Lines that a journal gets before it is rewritten."""

WATCH_INTERVAL_S: Final = 1.0
"""Time between two looks at a watched folder. A photograph is enhanced when two looks find it unchanged."""

_FILM_REST_S: Final = 30.0
"""Time since its last change after which a film is enhanced. Cameras write films in pieces, seconds
apart, and one that is read too early is enhanced once more, from its beginning, after each piece."""


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
        wrong = output if isinstance(source, Path) and is_folder(source) else source
        raise UsageError(
            f"{wrong} is not a folder of this machine: --watch needs one as INPUT and one as OUTPUT"
        )
    options.check("watch")
    remove_abandoned(output)
    journal = _LastingJournal(output)
    batch = make_batch(options, journal, usable_processors())
    files = _Files()
    last_problem = ""
    clashes: set[str] = set()
    told_clashes: set[str] = set()
    folders = _Folders(source)
    if not options.overwrites:
        require_own_text("--log", options.log, LOG_MARK)
    with contextlib.ExitStack() as at_the_end:
        log = at_the_end.enter_context(contextlib.closing(Log(options.log, batch.setup)))
        at_the_end.callback(journal.finish)
        begun()
        while True:
            if was_interrupted():  # Python only prints what is raised while it forgets a thread
                raise KeyboardInterrupt
            try:
                if folders.may_have_changed():
                    files.watch(
                        plan_jobs(
                            source,
                            output,
                            allow_empty=True,
                            selection=options.selection,
                            naming=options.naming,
                            leave_out=clashes.add,
                        )
                    )
                    for text in sorted(clashes - told_clashes):
                        warnings.warn(f"{text}; neither is taken", stacklevel=2)
                    told_clashes, clashes = clashes, set()
            except UsageError as problem:  # such as an input that has gone
                if str(problem) != last_problem:
                    last_problem = str(problem)
                    warnings.warn(f"nothing is taken from {source}: {last_problem}", stacklevel=2)
                folders.forget()
                time.sleep(WATCH_INTERVAL_S)
                continue
            settled = files.take_settled()
            if settled:
                for result in write_each(batch.run(settled), log):
                    files.note(result)
                    yield result
                batch.cancelled.clear()
            time.sleep(WATCH_INTERVAL_S)


class _LastingJournal(FolderJournal):
    """The journal of a run without an end, rewritten only when more was added than it has results.

    Rewriting it after each photograph that arrives would take longer with every photograph.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._added = 0

    def _append(self, entry: Entry) -> None:
        super()._append(entry)
        self._added += 1

    def close(self) -> None:
        """See `Journal.close`; mostly the file is only closed, which Windows wants for other runs."""
        if self._added > max(_LEAST_LINES, len(self._entries)):
            self._added = 0
            super().close()
        with self._lock:
            self._lines.close()

    def finish(self) -> None:
        """Rewrites the journal at the end of the run."""
        super().close()


class _Files:
    """Tells which files are complete and new, by comparing two looks. A look costs one `stat` a file.

    What failed is tried again, less and less often: a disk may have been full, or a file locked.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        """The watched photographs by their files, as are all that follow."""
        self._seen: dict[str, State | None] = {}
        self._taken: dict[str, State | None] = {}
        self._retries: dict[str, tuple[float, float]] = {}
        """When a failed photograph is tried again, and how many seconds it waits for that."""

    def watch(self, jobs: list[Job]) -> None:
        """Replaces the watched files; what is known of files that stay among them is kept."""
        self._jobs = {str(job.source): job for job in jobs if isinstance(job.source, Path)}
        known: tuple[dict[str, Any], ...] = (self._seen, self._taken, self._retries)
        for facts in known:
            for file in facts.keys() - self._jobs.keys():
                del facts[file]

    def note(self, result: Result) -> None:
        """Takes note of what became of a file that was taken."""
        file = str(result.job.source)
        _, waited_s = self._retries.pop(file, (0.0, _RETRY_S / 2))
        if result.status == "failed":
            self._retries[file] = time.monotonic() + 2 * waited_s, 2 * waited_s

    def take_settled(self) -> list[Job]:
        """Looks at all files; returns those unchanged since the last look and not yet taken in this state.

        Films must also rest. Those that failed are among them when their time has come.
        """
        now_s = time.monotonic()
        for file in [file for file, (at_s, _) in self._retries.items() if at_s <= now_s]:
            self._taken.pop(file, None)
        settled = []
        for file, job in self._jobs.items():
            state, seen = _state(file), self._seen.get(file)
            self._seen[file] = state
            is_new = state is not None and seen == state != self._taken.get(file)
            if is_new and not (is_film(file) and _changed_lately(state)):
                self._taken[file] = state
                settled.append(job)
        return settled


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
        """Tells whether the folder must be listed again; if so, later calls compare with its times of now."""
        now = time.monotonic()
        if now - self._listed_at < _RELIST_S and not self._have_changed():
            return False
        self._listed_at = now
        self._times = dict(_times_below(self._root))
        return True

    def forget(self) -> None:
        """Makes the next look list the folder again."""
        self._listed_at = -math.inf

    def _have_changed(self) -> bool:
        recent_ns = time.time_ns() - int(_CLOCK_TICK_S * 1e9)
        return any(
            (changed := _time_of(folder)) != before or changed > recent_ns
            for folder, before in self._times.items()
        )


def _times_below(root: Path) -> Iterator[tuple[str, int]]:
    """Yields a folder and those below it with the times of their last changes; follows links once."""
    seen = set()
    to_visit = [str(root)]
    while to_visit:  # not os.walk, which calls itself for each level
        folder = to_visit.pop()
        try:
            time_ns = os.stat(folder).st_mtime_ns
            identity = identity_of(Path(folder))
            if identity in seen:
                continue
            seen.add(identity)
            with os.scandir(folder) as entries:
                to_visit += [entry.path for entry in entries if _leads_to_folder(entry)]
        except OSError:
            continue
        yield folder, time_ns


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _time_of(folder: str) -> int:
    """Returns when a folder's entries changed last, in nanoseconds; -1 if it has gone."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return -1


def _changed_lately(state: State | None) -> bool:
    """Tells whether a file changed less than a film's rest ago. Clocks of other machines may be ahead."""
    return state is not None and abs(time.time() - state[1] / 1e9) < _FILM_REST_S


def _state(file: str) -> State | None:
    """Returns a file's size and time of change; None where it has gone."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
