"""Works on several items of a stream at a time, with results in the stream's order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


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
