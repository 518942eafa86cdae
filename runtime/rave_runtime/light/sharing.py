"""Rows of one photograph shared among threads: numpy and the compiled passes let go of Python's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final, TypeVar

from numpy.typing import NDArray

T = TypeVar("T")

_LEAST_PX: Final = 2_000_000
"""Photographs with fewer pixels are not shared: to start threads for them takes longer than it saves."""


def threads_for(image: NDArray[Any], threads: int) -> int:
    """How many of some threads an image, [h, w, c], is worth."""
    return threads if image.shape[0] * image.shape[1] >= _LEAST_PX else 1


def share(work: Callable[[Sequence[T]], None], parts: Sequence[T], threads: int) -> None:
    """Does some work on all parts, neighbours in one thread.

    Args:
        work: is called with some parts, once a thread.
        parts: of a photograph.
        threads: how many to use, the calling one among them, at least 1.

    Raises:
        Exception: what the work raises.
    """
    threads = min(threads, len(parts))
    if threads <= 1:
        work(parts)
        return
    ends = [len(parts) * i // threads for i in range(threads + 1)]
    groups = [parts[start:stop] for start, stop in pairwise(ends)]
    with ThreadPoolExecutor(threads - 1, "rave-rows") as pool:
        others = []
        while len(groups) > 1:
            try:
                others.append(pool.submit(work, groups[-1]))
            except RuntimeError:  # the system lets no further thread start
                break
            groups.pop()
        for group in groups:
            work(group)
        for other in others:
            other.result()
