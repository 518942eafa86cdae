"""What `rave-run` does, without the parsing and printing around it."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from rave_runtime.batch import Batch, Result, ResultJournal, WriteOptions
from rave_runtime.encode import WRITABLE, Encoded, encode_photo, output_format
from rave_runtime.enhancer import Enhancer, Setup
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.folder import Job, is_written_into, parse_shard, plan_jobs, remove_abandoned
from rave_runtime.journal import Journal, open_journal
from rave_runtime.logbook import WriteLine, open_log
from rave_runtime.memory import DEFAULT_LIMIT_MIB, MemoryBudget, choose_tile_size, most_workers
from rave_runtime.network import usable_processors
from rave_runtime.photo import DEFAULT_MAX_MEGAPIXELS, SUFFIXES, read_photo
from rave_runtime.progress import show_progress
from rave_runtime.remote import Location

WATCH_INTERVAL_S: Final = 1.0
"""How often a watched folder is looked at. A file is taken when it was the same at two looks."""


@dataclass(frozen=True)
class RunOptions:
    """The options of `rave-run`, as its help describes them."""

    model: Path | None = None
    strength: float = 1.0
    working_size: int | Literal["recommended"] | None = "recommended"
    tile_size: int | None = None
    precision: str = "auto"
    device: str = "auto"
    format: str | None = None
    quality: int | None = None
    skip_existing: bool = False
    log: Path | None = None
    report: Path | None = None
    memory_limit_mib: int = DEFAULT_LIMIT_MIB
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
    workers: int | None = None
    shard: str | None = None
    cluster: str | None = None
    actors: int | None = None

    @property
    def pillow_format(self) -> str | None:
        """The format as Pillow names it.

        Raises:
            UsageError: it is not written here.
        """
        if self.format is None:
            return None
        name = self.format.upper().lstrip(".")
        name = {"JPG": "JPEG", "TIF": "TIFF", "HEIC": "HEIF"}.get(name, name)
        if name not in WRITABLE:
            raise UsageError(f"--format {self.format} is unknown: give one of {', '.join(WRITABLE).lower()}")
        return name


def run_folder(source: Location, output: Location, options: RunOptions) -> list[Result]:
    """Enhances a photograph or a folder, with a progress bar, log and report if wanted.

    Returns:
        A result for each photograph, in order of names.

    Raises:
        RaveError: nothing could be begun: see `plan_jobs`, `Enhancer` and `rave_runtime.cluster`.
        OSError: the log or the report cannot be written.
    """
    shard = None if options.shard is None else parse_shard(options.shard)
    for name, file in (("--log", options.log), ("--report", options.report)):
        if file is not None and file.suffix.lower() in SUFFIXES:
            raise UsageError(f"{name} {file} has the name of a photograph: choose another")
    if options.report is not None:
        _require_writable("--report", options.report)
    if options.skip_existing and not source.is_dir() and source.exists():
        raise UsageError("--skip-existing is for folders, whose results it remembers: leave it out")
    if options.cluster is not None:  # workers have working folders of their own
        source, output = (
            place.absolute() if isinstance(place, Path) else place for place in (source, output)
        )
    jobs = plan_jobs(source, output, options.pillow_format, shard=shard)
    journal = None
    if source.is_dir():
        remove_abandoned(output)
        journal = open_journal(output, str(shard or ""))
    with (
        _open_runner(options, journal, len(jobs)) as runner,
        open_log(options.log, runner.setup) as write_line,
    ):
        first = output / ".probe" if source.is_dir() else jobs[0].target if jobs else output
        if jobs and isinstance(first, Path):
            _require_writable("OUTPUT", first)
        results = show_progress(_each(runner.run(jobs), write_line), len(jobs))
    if options.report is not None:
        from rave_runtime.report import write_report

        try:
            write_report(options.report, results, runner.setup)
        except PhotoError as error:  # the photographs are done all the same, and are what was wanted
            warnings.warn(f"the report {error}", stacklevel=2)
    return results


def _require_writable(name: str, file: Path) -> None:
    """Before hours of work.

    Raises:
        UsageError: a file cannot be made there.
    """
    if file.is_dir():
        raise UsageError(f"{name} {file} is a folder: name the file to write")
    if is_written_into(file):
        return
    probe = file.with_name(f".{os.getpid()}.rave-partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"{name} {file} cannot be written: {error.strerror or error}") from error


def run_watch(source: Location, output: Location, options: RunOptions) -> Iterator[Result]:
    """Enhances what is in a folder and whatever is put there, until interrupted.

    Raises:
        RaveError: as `run_folder`.
    """
    if not (isinstance(source, Path) and isinstance(output, Path) and source.is_dir()):
        raise UsageError(f"{source} is not a folder: --watch needs one of this machine, as OUTPUT too")
    if options.cluster is not None or options.shard is not None:
        raise UsageError("--watch works on one machine, with all photographs: no --cluster, no --shard")
    if options.report is not None:
        raise UsageError("--watch never ends, so there is no moment for a --report: use --log")
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
                yield from _each(batch.run(settled), write_line)
                batch.cancelled.clear()
            finished.update((job, now[job]) for job in settled)
            seen = now
            time.sleep(WATCH_INTERVAL_S)


def run_stream(content: bytes, options: RunOptions, format: str | None = None) -> Encoded:
    """Enhances one photograph from bytes to bytes.

    Args:
        content: of a file.
        options: of the run; those for many photographs do not matter.
        format: that the output's name asks for, where `options` ask for none.

    Returns:
        The new file's bytes, and what a user should know of it.

    Raises:
        RaveError: it cannot be read, enhanced or written.
    """
    wanted = options.pillow_format or format
    photo = read_photo(content, options.max_megapixels)
    enhancer = _make_enhancer(options, 1, usable_processors())
    format_ = output_format(photo.format, wanted)
    encoded = encode_photo(photo, enhancer.enhance_photo(photo), format_, options.quality)
    return Encoded(encoded.content, photo.warnings + encoded.warnings)


def run_doctor(options: RunOptions) -> str:
    """What is installed, what would be used, and why, as lines of text."""
    from rave_runtime.doctor import diagnose

    return diagnose(lambda: _make_enhancer(options, 1, usable_processors()))


class Runner(Protocol):
    """What takes photographs from files to files: a batch of this process, or a cluster's workers."""

    @property
    def setup(self) -> Setup:
        """What it computes with."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Yields a result for each job, when it is there."""


def make_batch(
    options: RunOptions, journal: ResultJournal | None, jobs: int, processors: int | None = None
) -> Batch:
    """The batch that these options describe.

    Args:
        options: of the run.
        journal: of the results, if there is one.
        jobs: how many photographs there are, so that no more workers are made.
        processors: to use; None is all that there are.

    Raises:
        RaveError: as `Enhancer`.
    """
    processors = processors or usable_processors()
    workers = options.workers or max(1, min(processors, jobs, most_workers(options.memory_limit_mib)))
    return Batch(
        _make_enhancer(options, workers, max(1, processors // workers)),
        WriteOptions(options.pillow_format, options.quality, options.max_megapixels),
        workers,
        MemoryBudget(options.memory_limit_mib * 2**20),
        journal,
        options.skip_existing,
    )


@contextlib.contextmanager
def _open_runner(options: RunOptions, journal: Journal | None, jobs: int) -> Iterator[Runner]:
    if options.cluster is None:
        yield make_batch(options, journal, jobs)
        return
    from rave_runtime.cluster import open_pool

    with open_pool(options, options.cluster, journal, jobs) as pool:
        yield pool


def _make_enhancer(options: RunOptions, workers: int, threads: int) -> Enhancer:
    tile_size = options.tile_size
    if tile_size is None:
        tile_size = choose_tile_size(options.memory_limit_mib, workers)
    return Enhancer(
        options.model,
        precision=options.precision,
        device=options.device,
        working_size=options.working_size,
        tile_size=tile_size,
        strength=options.strength,
        threads=threads,
    )


def _jobs_now(source: Location, output: Location, options: RunOptions) -> list[Job]:
    return plan_jobs(source, output, options.pillow_format, allow_empty=True)


def _state(path: Location) -> tuple[int, int] | None:
    """Size and time of change; None where the file has gone."""
    if not isinstance(path, Path):
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _each(results: Iterator[Result], write_line: WriteLine) -> Iterator[Result]:
    for result in results:
        write_line(result)
        yield result
