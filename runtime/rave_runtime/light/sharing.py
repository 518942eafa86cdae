"""Shares work among threads: the rows of one photograph, or the images of a stream.

That is worth it since numpy and the compiled passes release Python's lock.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from threading import Event, Lock
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from rave_runtime.backends.limits import usable_processors
from rave_runtime.errors import UsageError

T = TypeVar("T")
R = TypeVar("R")

_LEAST_PX: Final = 2_000_000
"""Photographs with fewer pixels are not shared: waking threads would take more time than it saves."""


def count_threads(threads: float) -> int:
    """Returns how many threads a large image may use: `threads`, or all processors if that is 0.

    Raises:
        UsageError: it is not a whole number, or less than 0.
    """
    if not isinstance(threads, (int, np.integer)) or threads < 0:
        raise UsageError(f"threads is {threads!r}: a whole number is needed, 0 for all processors")
    return int(threads) or usable_processors()


def threads_for(image: NDArray[Any], threads: int) -> int:
    """Returns how many threads to use for an image, [h, w, c]: `threads`, or 1 if it is small."""
    return threads if image.shape[0] * image.shape[1] >= _LEAST_PX else 1


def share(work: Callable[[Sequence[T]], None], parts: Sequence[T], threads: int) -> None:
    """Calls a function for groups of neighbouring parts, in several threads; each part is done once.

    Args:
        work: is called with a group of parts, as many times as there are threads.
        parts: the parts of a photograph.
        threads: how many threads to use, at least 1, the calling one included. It also does the work of
            threads that are busy or that the system does not let start.

    Raises:
        Exception: what the function raised, after all threads have ended. Groups that were not begun then
            are left out.
    """
    threads = max(1, min(threads, len(parts)))
    ends = [len(parts) * i // threads for i in range(threads + 1)]
    groups = [_Group(work, parts[start:stop]) for start, stop in pairwise(ends)]
    for group in groups[1:]:
        with contextlib.suppress(RuntimeError):  # no thread can start, or Python is ending
            _helpers().submit(group.attempt)
    for group in groups:
        group.attempt()
        if group.fault is not None:
            break
    for group in groups:
        group.end()
    for group in groups:
        if group.fault is not None:
            raise group.fault


def map_in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yields a function's results for items, in order, computed by several threads.

    Args:
        function: it may be called by several threads at once.
        items: the arguments of the calls; at most `workers` of them are read ahead.
        workers: how many items are in work at a time.

    Raises:
        Exception: what the function raises, when the item's turn comes, or what the iteration of the items
            raises, after the results of all earlier items.
    """
    pending: deque[Future[R]] = deque()
    source = iter(items)
    with ThreadPoolExecutor(workers, "rave-stream") as pool:
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except BaseException:
                while pending:
                    yield pending.popleft().result()
                raise
            pending.append(pool.submit(function, item))
            if len(pending) >= workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class _Group(Generic[T]):
    """A group of parts, done by the thread that is first to attempt it.

    Attributes:
        fault: what the work raised; None if it did not.
    """

    def __init__(self, work: Callable[[Sequence[T]], None], parts: Sequence[T]) -> None:
        self.fault: BaseException | None = None
        # Taken by whoever does the work: where no thread can start, a group stays in the pool's queue.
        self._work: Callable[[], None] | None = functools.partial(work, parts)
        self._lock = Lock()
        self._ended = Event()

    def attempt(self) -> None:
        """Does the work, unless another thread has begun it."""
        work = self._take()
        if work is not None:
            try:
                work()
            except BaseException as fault:
                self.fault = fault
            finally:
                self._ended.set()

    def end(self) -> None:
        """Waits for the thread that does the work; if none has begun it, none will."""
        if self._take() is None:
            self._ended.wait()

    def _take(self) -> Callable[[], None] | None:
        with self._lock:
            work, self._work = self._work, None
        return work


@functools.cache
def _helpers() -> ThreadPoolExecutor:
    """Returns threads that are kept: to wake one takes a fifth of the time that starting one takes."""
    return ThreadPoolExecutor(os.cpu_count() or 1, "rave-rows")


if hasattr(os, "register_at_fork"):  # a child process has the pool but not its threads
    os.register_at_fork(after_in_child=_helpers.cache_clear)
