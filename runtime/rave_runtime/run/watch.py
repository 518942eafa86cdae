"""A folder that is watched: what is put into it is enhanced."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rave_runtime.backends.devices import usable_processors
from rave_runtime.errors import UsageError
from rave_runtime.files.location import Location
from rave_runtime.run.batch import Result
from rave_runtime.run.jobs import Job, plan_jobs
from rave_runtime.run.journal import open_journal
from rave_runtime.run.log import open_log, write_each
from rave_runtime.run.options import RunOptions, make_batch

WATCH_INTERVAL_S: Final = 1.0
"""How often a watched folder is looked at. A file is taken when it was the same at two looks."""


def run_watch(source: Location, output: Location, options: RunOptions) -> Iterator[Result]:
    """Enhances what is in a folder and whatever is put there, until interrupted.

    Raises:
        RaveError: as `run_folder`.
    """
    if not (isinstance(source, Path) and isinstance(output, Path) and source.is_dir()):
        raise UsageError(f"{source} is not a folder: --watch needs one of this machine, as OUTPUT too")
    options.check("watch")
    batch = make_batch(options, open_journal(output), usable_processors())
    finished: dict[Job, tuple[int, int]] = {}
    seen: dict[Job, tuple[int, int]] = {}
    told = ""
    with open_log(options.log, batch.setup) as write_line:
        while True:
            try:
                jobs = _jobs_now(source, output, options)
            except UsageError as problem:  # such as two files of one name, of which one may go again
                if str(problem) != told:
                    told = str(problem)
                    warnings.warn(f"nothing is taken from {source}: {told}", stacklevel=2)
                time.sleep(WATCH_INTERVAL_S)
                continue
            now = {job: state for job in jobs if (state := _state(job.source))}
            settled = [job for job, state in now.items() if seen.get(job) == state != finished.get(job)]
            if settled:
                yield from write_each(batch.run(settled), write_line)
                batch.cancelled.clear()
            finished.update((job, now[job]) for job in settled)
            seen = now
            time.sleep(WATCH_INTERVAL_S)


def _jobs_now(source: Location, output: Location, options: RunOptions) -> list[Job]:
    return plan_jobs(source, output, options.format_name, allow_empty=True)


def _state(path: Location) -> tuple[int, int] | None:
    """Size and time of change; None where the file has gone."""
    if not isinstance(path, Path):
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
