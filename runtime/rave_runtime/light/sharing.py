"""Rows of one photograph shared among threads: numpy and the compiled passes let go of Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from threading import Thread
from typing import Any, Final, TypeVar

from numpy.typing import NDArray

T = TypeVar("T")

_LEAST_PX: Final = 2_000_000
"""Photographs with fewer pixels are not shared: to start threads for them takes longer than it saves."""


def threads_for(image: NDArray[Any], threads: int) -> int:
    """How many of some threads an image, [h, w, c], is worth."""
    return threads if image.shape[0] * image.shape[1] >= _LEAST_PX else 1


def share(work: Callable[[Sequence[T]], None], parts: Sequence[T], threads: int) -> None:
    """Does some work on all parts, neighbours in one thread, each part once.

    Args:
        work: is called with some parts, once a thread.
        parts: of a photograph.
        threads: how many to use, the calling one among them, at least 1. Where the system lets fewer start,
            the calling one does their work.

    Raises:
        Exception: what the work raises.
    """
    threads = min(threads, len(parts))
    ends = [len(parts) * i // max(1, threads) for i in range(max(1, threads) + 1)]
    own, *groups = (parts[start:stop] for start, stop in pairwise(ends))
    faults: list[BaseException] = []

    def attempt(group: Sequence[T]) -> None:
        try:
            work(group)
        except BaseException as fault:
            faults.append(fault)

    started = []
    for group in groups:
        thread = Thread(target=attempt, args=(group,), name="rave-rows")
        try:
            thread.start()
        except RuntimeError:  # the system lets no further thread start
            attempt(group)
        else:
            started.append(thread)
    attempt(own)
    for thread in started:
        thread.join()
    if faults:
        raise faults[0]
