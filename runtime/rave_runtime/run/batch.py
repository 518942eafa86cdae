"""Enhancing many photographs: each worker reads one, estimates its light, divides by it and writes it.

On a CPU there are as many workers as processors, and the network runs on one thread in each: decoding and
encoding then overlap with inference, and the number of workers bounds the memory. Other threads
wait for the disk that keeps the results.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from rave_runtime.backends.devices import Setup
from rave_runtime.backends.limits import usable_processors
from rave_runtime.backends.stopping import StoppableNetwork
from rave_runtime.bundle import Bundle
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import BundleError
from rave_runtime.files.atomic import begin_writing
from rave_runtime.files.entries import ResultJournal, digest_of, result_key
from rave_runtime.files.location import name_inside
from rave_runtime.films.containers import is_film
from rave_runtime.photos.formats import format_of_ending, is_one_format, written_format_of
from rave_runtime.photos.reading import read_file
from rave_runtime.run.companions import copy_companions
from rave_runtime.run.jobs import Job
from rave_runtime.run.memory import MemoryBudget, Need, estimate_need, memory_for_one_mib, most_workers
from rave_runtime.run.one_photo import enhance_content
from rave_runtime.run.options import RunOptions, make_enhancer
from rave_runtime.run.overwriting import require_replaceable
from rave_runtime.run.results import Result, Status, Written, failed_result, settings_of
from rave_runtime.run.side_by_side import SideBySide


class Batch:
    """Enhances photographs from files into files.

    Args:
        enhancer: shared by all workers.
        options: how results are written, and whether those that are up to date are left out.
        workers: photographs in work at a time.
        budget: the memory for photographs; None sets no limit.
        journal: the journal of the output folder, so that a run can be resumed; None keeps none.
    """

    def __init__(
        self,
        enhancer: Enhancer,
        options: RunOptions | None = None,
        workers: int = 1,
        budget: MemoryBudget | None = None,
        journal: ResultJournal | None = None,
    ) -> None:
        self.cancelled = threading.Event()
        self._interrupted = threading.Event()
        self._enhancer = copy.copy(enhancer)  # a copy, since others may use this one
        self._enhancer.network = StoppableNetwork(enhancer.network, self._interrupted.is_set)
        self._options = options or RunOptions()
        self._workers = workers
        self._budget = budget
        self._journal = journal
        self._loading = threading.Lock()

    @property
    def setup(self) -> Setup:
        """The device, precision and working size that the run uses."""
        return self._enhancer.setup

    @property
    def settings(self) -> str:
        """Everything that decides a result besides the photograph."""
        return settings_of(self._enhancer, self._options)

    def warm_up(self) -> None:
        """Loads all that the first photographs would wait for; the model's files may then be deleted."""
        for depth in (np.uint8, np.uint16):
            self._enhancer.enhance(np.zeros((32, 32, 3), depth))

    def run(self, jobs: Iterable[Job]) -> Generator[Result]:
        """Enhances photographs side by side and yields each result as soon as it is there.

        Jobs are taken as workers come free. After `cancelled` is set, those in work are finished and no
        other is begun. If the generator is closed early, they end after their tile and are not written, but
        results that wait for the disk are. Two jobs with the same target must not be in one run.

        Raises:
            BundleError: the model is damaged, so that no photograph can be enhanced.
        """
        try:
            work = SideBySide(self._make, self._finish, self.cancelled, self._interrupted)
            yield from work.run(iter(jobs), self._workers)
        finally:
            if self._journal is not None:
                self._journal.close()

    def _finish(self, written: Written) -> Result:
        """Puts a result that is written into its place, and records it."""
        result = written.result
        try:
            if written.file is not None:
                written.file.complete()
            if self._journal is not None:
                self._journal.add(*written.entry)
        except Exception as error:
            return failed_result(result.job, error, written.start_s)
        return replace(result, seconds=time.perf_counter() - written.start_s)

    def _make(self, job: Job) -> Result | Written:
        """Enhances and writes one photograph; what remains is to finish it."""
        if self.cancelled.is_set():
            return Result(job, "failed", "was not begun: the run was interrupted")
        start_s = time.perf_counter()
        try:
            if is_film(job.source.name):
                with contextlib.nullcontext() if self._budget is None else self._budget.reserve(Need(0)):
                    return self._enhance_film(job, start_s)  # alone: it takes all processors
            limit_megapixels = self._options.max_megapixels
            content = None if isinstance(job.source, Path) else read_file(job.source, limit_megapixels)
            if self._budget is None:
                return self._enhance_file(job, content, start_s, limit_megapixels)
            header = job.source if isinstance(job.source, Path) else content or b""
            written_format = self._options.format_name or written_format_of(job.target)
            need = estimate_need(header, self._enhancer.working_size_px, written_format)
            if (need.megapixels or 0) > limit_megapixels:  # the reader refuses it
                need = Need(0, megapixels=need.megapixels)
            with self._budget.reserve(need):
                limit_megapixels = min(limit_megapixels, self._budget.max_megapixels(need))
                return self._enhance_file(job, content, start_s, limit_megapixels)
        except BundleError:
            raise
        except Exception as error:
            return failed_result(job, error, start_s)

    def _enhance_film(self, job: Job, start_s: float) -> Result:
        from rave_runtime.films.filing import file_film  # only films wait for it

        journal, options = self._journal, self._options
        film = file_film(job.source, job.target, self._enhancer, options, journal)
        if film is None:
            return Result(job, "skipped", seconds=time.perf_counter() - start_s)
        notes = *film.warnings, *copy_companions(job, journal, None, overwrite=options.overwrites)
        status: Status = "copied" if film.is_unchanged else "done"
        size = film.width_px, film.height_px
        return Result(job, status, None, notes, *size, film.seconds, enhanced_before=film.enhanced_before)

    def _enhance_file(
        self, job: Job, content: bytes | None, start_s: float, max_megapixels: float
    ) -> Result | Written:
        """Enhances and writes one photograph that is in work; errors are raised, not put into the result."""
        options = self._options
        name = key = digest = ""
        if self._journal is not None:
            name = name_inside(self._journal.folder, job.target)
            if not options.overwrites:
                require_replaceable(job.target, self._journal)
        if content is None:
            content = read_file(job.source, options.max_megapixels)
        if self._journal is not None:
            key = result_key(content, self.settings)
            if options.skip_existing and self._journal.is_done(name, key):
                return Result(job, "skipped", seconds=time.perf_counter() - start_s)
        self._load_beside()
        photo = enhance_content(
            self._enhancer,
            content,
            format=options.format_name or written_format_of(job.target),
            quality=options.quality,
            max_megapixels=max_megapixels,
            least_score=options.least_score,
            # Under another format's ending a copy would be misnamed: it is written in the one asked for.
            may_copy=is_one_format(job.source.suffix.lower(), job.target.suffix.lower()),
            keeps_name=options.format is None,
            again=options.again,
            hdr=options.hdr,
        )
        del content
        notes = photo.warnings + copy_companions(job, self._journal, photo, overwrite=options.overwrites)
        if self._journal is not None:
            if not options.overwrites and isinstance(job.target, Path):  # a file may have come meanwhile
                require_replaceable(job.target, self._journal)
            digest = digest_of(photo.content)
            self._journal.claim(name, len(photo.content), digest)
        attributes = job.source if options.keep_times else None
        is_misnamed = options.format is None and format_of_ending(job.source.suffix) != photo.source_format
        if is_misnamed and photo.format != photo.source_format:
            notes += (f"is {photo.source_format} in spite of its name, and was written as {photo.format}",)
        status: Status = "copied" if photo.is_unchanged else "done"
        size = photo.width_px, photo.height_px
        result = Result(job, status, None, notes, *size, 0.0, "", photo.backlit, photo.enhanced_before)
        file = begin_writing(job.target, photo.content, like=job.source, attributes_of=attributes)
        return Written(result, start_s, file, (name, key, len(photo.content), digest))

    def _load_beside(self) -> None:
        """Loads the graphs once, in a thread beside the first photographs' decoding."""
        if not self._loading.acquire(blocking=False):  # never released: one load is enough
            return
        with contextlib.suppress(RuntimeError):  # no thread can start: the first photograph loads
            threading.Thread(target=self._load, name="rave-load").start()

    def _load(self) -> None:
        with contextlib.suppress(Exception):  # the first photograph that needs the graph tells
            self._enhancer.prepare()


def make_batch(
    options: RunOptions,
    journal: ResultJournal | None,
    jobs: int,
    processors: int | None = None,
    model: Bundle | None = None,
) -> Batch:
    """Makes the batch that these options describe.

    Args:
        options: the options of the run.
        journal: the journal of the results, if there is one.
        jobs: how many photographs there are, so that no more workers are made.
        processors: how many processors to use; None is all that there are.
        model: replaces the options' model; None keeps that.

    Raises:
        RaveError: as `Enhancer`.
    """
    processors = processors or usable_processors()
    workers = options.workers or max(1, min(processors, jobs, most_workers(options.limit_mib)))
    # A limit from the user holds for every photograph; otherwise a large one may be worked on alone.
    alone_mib = options.memory_limit_mib or memory_for_one_mib()
    return Batch(
        make_enhancer(options, workers, max(1, processors // workers), model),
        options,
        workers,
        MemoryBudget(options.limit_mib * 2**20, alone_mib * 2**20),
        journal,
    )
