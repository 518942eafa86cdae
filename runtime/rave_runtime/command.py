"""What `rave-run` does, without the parsing and printing around it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from rave_runtime.batch import Batch, Result, WriteOptions
from rave_runtime.encode import WRITABLE, encode_photo, output_format
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import UsageError
from rave_runtime.folder import Job, plan_jobs
from rave_runtime.journal import Journal
from rave_runtime.logbook import WriteLine, open_log
from rave_runtime.memory import DEFAULT_LIMIT_MIB, MemoryBudget, choose_tile_size
from rave_runtime.network import usable_processors
from rave_runtime.photo import DEFAULT_MAX_MEGAPIXELS, read_photo
from rave_runtime.progress import show_progress

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


def run_folder(source: Path, output: Path, options: RunOptions) -> list[Result]:
    """Enhances a photograph or a folder, with a progress bar, log and report if wanted.

    Returns:
        A result for each photograph, in order of names.

    Raises:
        RaveError: nothing could be begun: see `plan_jobs` and `Enhancer`.
        OSError: the log or the report cannot be written.
    """
    jobs = plan_jobs(source, output, options.pillow_format)
    batch, enhancer = _prepare(output if source.is_dir() else None, options, len(jobs))
    with open_log(options.log, enhancer) as write_line:
        results = show_progress(_each(batch.run(jobs), write_line), len(jobs))
    if options.report is not None:
        from rave_runtime.report import write_report

        write_report(options.report, results, enhancer)
    return results


def run_watch(source: Path, output: Path, options: RunOptions) -> Iterator[Result]:
    """Enhances what is in a folder and whatever is put there, until interrupted.

    Raises:
        RaveError: as `run_folder`.
    """
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder: --watch needs one")
    batch, enhancer = _prepare(output, options, usable_processors())
    finished: dict[Job, tuple[int, int]] = {}
    seen: dict[Job, tuple[int, int]] = {}
    with open_log(options.log, enhancer) as write_line:
        while True:
            now = {job: state for job in _jobs_now(source, output, options) if (state := _state(job.source))}
            settled = [job for job, state in now.items() if seen.get(job) == state != finished.get(job)]
            yield from _each(batch.run(settled), write_line)
            batch.cancelled.clear()
            finished.update((job, now[job]) for job in settled)
            seen = now
            time.sleep(WATCH_INTERVAL_S)


def run_stream(content: bytes, options: RunOptions) -> bytes:
    """Enhances one photograph from bytes to bytes.

    Raises:
        RaveError: it cannot be read, enhanced or written.
    """
    wanted = options.pillow_format
    photo = read_photo(content, options.max_megapixels)
    enhancer = _make_enhancer(options, workers=1)
    format_ = output_format(photo.format, wanted)
    return encode_photo(photo, enhancer.enhance_photo(photo), format_, options.quality).content


def run_doctor(options: RunOptions) -> str:
    """What is installed, what would be used, and why, as lines of text."""
    from rave_runtime.doctor import diagnose

    return diagnose(lambda: _make_enhancer(options, workers=1))


def _prepare(folder: Path | None, options: RunOptions, jobs: int) -> tuple[Batch, Enhancer]:
    workers = options.workers or min(usable_processors(), jobs)
    enhancer = _make_enhancer(options, workers)
    batch = Batch(
        enhancer,
        WriteOptions(options.pillow_format, options.quality, options.max_megapixels),
        workers,
        MemoryBudget(options.memory_limit_mib * 2**20),
        Journal(folder) if folder is not None else None,
        options.skip_existing,
    )
    return batch, enhancer


def _make_enhancer(options: RunOptions, workers: int) -> Enhancer:
    tile_size = options.tile_size or choose_tile_size(options.memory_limit_mib, workers)
    return Enhancer(
        options.model,
        precision=options.precision,
        device=options.device,
        working_size=options.working_size,
        tile_size=tile_size,
        strength=options.strength,
        threads=max(1, usable_processors() // workers),
    )


def _jobs_now(source: Path, output: Path, options: RunOptions) -> list[Job]:
    return plan_jobs(source, output, options.pillow_format, allow_empty=True)


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of change; None where the file has gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _each(results: Iterator[Result], write_line: WriteLine) -> Iterator[Result]:
    for result in results:
        write_line(result)
        yield result
