"""Shares the rows of one photograph among threads: numpy and the compiled passes release Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from threading import Thread
from typing import Any, Final, TypeVar

from numpy.typing import NDArray

T = TypeVar("T")

_LEAST_PX: Final = 2_000_000
"""Photographs with fewer pixels are not shared: starting threads would take more time than it saves."""


def threads_for(image: NDArray[Any], threads: int) -> int:
    """Returns how many threads to use for an image, [h, w, c]: `threads`, or 1 if it is small."""
    return threads if image.shape[0] * image.shape[1] >= _LEAST_PX else 1


def share(work: Callable[[Sequence[T]], None], parts: Sequence[T], threads: int) -> None:
    """Calls a function for groups of neighbouring parts, one group per thread; each part is done once.

    Args:
        work: is called with a group of parts, once in each thread.
        parts: the parts of a photograph.
        threads: how many threads to use, at least 1, the calling one included. It also does the work of
            threads that the system does not let start.

    Raises:
        Exception: what the function raised first, after all threads have ended.
    """
    threads = min(threads, len(parts))
    ends = [len(parts) * i // max(1, threads) for i in range(max(1, threads) + 1)]
    own_group, *groups = (parts[start:stop] for start, stop in pairwise(ends))
    faults: list[BaseException] = []

    def attempt(group: Sequence[T]) -> None:
        try:
            work(group)
        except BaseException as fault:
            faults.append(fault)

    running: list[Thread] = []
    for group in groups:
        thread = Thread(target=attempt, args=(group,), name="rave-rows")
        try:
            thread.start()
        except RuntimeError:  # the system lets no further thread start
            attempt(group)
        else:
            running.append(thread)
    attempt(own_group)
    for thread in running:
        thread.join()
    if faults:
        raise faults[0]
