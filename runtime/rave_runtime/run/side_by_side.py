"""Working on many photographs at once: workers make results, other threads wait until the disk keeps them.

Telling a disk to keep a file takes it 0.3 to 30 ms, in which a worker could do a small photograph. Where
it is quick, workers wait themselves, since handing over takes time as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import Final, NamedTuple

from rave_runtime.backends.limits import startable_threads
from rave_runtime.run.interrupt import deferred_interrupt
from rave_runtime.run.jobs import Job
from rave_runtime.run.results import Result, Written

_DISK_THREADS: Final = 4
"""Threads that wait for disks: several files together take one hardly longer than one of them."""

_SPARE_THREADS: Final = 16
"""Threads that must be left beside those: the libraries of some formats and providers start their own."""

_SLOW_S: Final = 0.002
"""Mean time to finish a result from which on threads for disks do it, a few times what handing over takes."""

_FIRST_S: Final = 0.01
"""What that mean begins with: a disk is slow until it has shown to be quick."""

_NEWEST_SHARE: Final = 0.1
"""How much the newest result counts in the mean."""

_MOST_WAITING: Final = 8
"""Results that wait for a disk before no further photograph is begun. Their bytes are in temporary files."""


class _News(NamedTuple):
    """What a thread tells the run.

    Attributes:
        result: a result, or an error that ends the run; None where a result waits for the disk now.
        frees_worker: whether a worker can take another photograph.
    """

    result: Result | BaseException | None
    frees_worker: bool = True


class SideBySide:
    """The threads of a run.

    Args:
        make: enhances one photograph, up to a temporary file. What it raises ends the run.
        finish: waits until the disk keeps a result, and records it. What it raises ends the run.
        cancelled: when it is set, no further photograph is begun.
        interrupted: is set when the run ends early, so that photographs in work end after their tile.
    """

    def __init__(
        self,
        make: Callable[[Job], Result | Written],
        finish: Callable[[Written], Result],
        cancelled: threading.Event,
        interrupted: threading.Event,
    ) -> None:
        self._make = make
        self._finish = finish
        self._cancelled = cancelled
        self._interrupted = interrupted
        self._news: SimpleQueue[_News] = SimpleQueue()
        self._finishing_s = _FIRST_S  # threads change it without a lock: it need not be exact

    def run(self, jobs: Iterator[Job], most_workers: int) -> Generator[Result]:
        """Yields results as they are there.

        If an error or an interrupt ends the run, results that are done are yielded before it is raised.

        Args:
            jobs: taken as workers come free.
            most_workers: how many photographs are in work at a time; fewer where the system allows no more
                threads. Without any, the calling thread works.
        """
        wanted = most_workers + _DISK_THREADS + _SPARE_THREADS
        startable = startable_threads(wanted)
        workers = min(startable, most_workers)
        ending: BaseException | None = None
        with (
            ThreadPoolExecutor(_DISK_THREADS, "rave-disk") as disk,
            ThreadPoolExecutor(max(workers, 1), "rave") as pool,
        ):
            try:
                has_disk_threads = startable == wanted and _started(disk, _DISK_THREADS)
                if workers:
                    yield from self._run(jobs, pool, workers, disk if has_disk_threads else None)
                else:
                    yield from self._run_alone(jobs)
            except GeneratorExit:
                self._interrupted.set()
                raise
            except BaseException as error:
                self._interrupted.set()  # tiles in work are finished, photographs are not
                ending = error
            finally:
                self._cancelled.set()
                pool.shutdown(wait=True)
                disk.shutdown(wait=True)
        if ending is not None:
            while not self._news.empty():
                result = self._news.get().result
                if isinstance(result, Result) and result.status != "failed":
                    yield result
            raise ending

    def _run(
        self, jobs: Iterator[Job], pool: ThreadPoolExecutor, workers: int, disk: ThreadPoolExecutor | None
    ) -> Iterator[Result]:
        busy = 0  # photographs that workers have
        unfinished = 0  # those, and those whose results wait for the disk
        while True:
            if not self._cancelled.is_set():
                # One more than there are workers, so that none of them waits for this thread.
                room = min(workers + 1 - busy, workers + 1 + _MOST_WAITING - unfinished)
                for job in islice(jobs, room):
                    with deferred_interrupt():
                        pool.submit(self._work, job, disk)
                        busy += 1
                        unfinished += 1
            if not unfinished:
                return
            latest = self._news.get()
            busy -= latest.frees_worker
            if latest.result is None:
                continue
            unfinished -= 1
            if isinstance(latest.result, BaseException):
                raise latest.result
            yield latest.result

    def _run_alone(self, jobs: Iterator[Job]) -> Iterator[Result]:
        for job in jobs:
            if self._cancelled.is_set():
                return
            made = self._make(job)
            yield self._finish(made) if isinstance(made, Written) else made

    def _work(self, job: Job, disk: ThreadPoolExecutor | None) -> None:
        """Makes one result in a worker's thread, and lets a thread for disks finish it."""
        try:
            made = self._make(job)
            if isinstance(made, Written):
                is_slow = made.file is not None and self._finishing_s > _SLOW_S
                if is_slow and disk is not None and self._hand_over(made, disk):
                    return
                made = self._finish_timed(made)
            self._news.put(_News(made))
        except BaseException as error:
            self._news.put(_News(error))

    def _hand_over(self, written: Written, disk: ThreadPoolExecutor) -> bool:
        """Gives a result to a thread for disks; tells whether that was possible."""
        try:
            disk.submit(self._finish_later, written)
        except RuntimeError:  # the interpreter is ending; the threads run already, so nothing was queued
            return False
        self._news.put(_News(None))
        return True

    def _finish_later(self, written: Written) -> None:
        try:
            self._news.put(_News(self._finish_timed(written), frees_worker=False))
        except BaseException as error:
            self._news.put(_News(error, frees_worker=False))

    def _finish_timed(self, written: Written) -> Result:
        started_s = time.perf_counter()
        result = self._finish(written)
        self._finishing_s += _NEWEST_SHARE * (time.perf_counter() - started_s - self._finishing_s)
        return result


def _started(pool: ThreadPoolExecutor, count: int) -> bool:
    """Starts all threads of a pool; tells whether the system allowed it.

    A pool that starts a thread later may have queued the work when the system refuses, and then says that it
    has not.
    """
    all_submitted = threading.Event()
    try:
        with deferred_interrupt():
            for _ in range(count):
                pool.submit(all_submitted.wait)
    except RuntimeError:
        return False
    finally:
        all_submitted.set()
    return True
