"""Windows of several photographs in one call: what keeps a GPU busy where one photograph cannot.

The pooled context is an input per window, so a batch may mix windows of any photographs, as long as they
have one shape. It needs neither a thread nor a clock: while the network works for one caller, others queue,
and the next to run takes the oldest of the queue together with all that fit into its call. A single caller
never waits.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.backends.network import Image, LoadedNetwork
from rave_runtime.bundle import NetworkFacts

_Call = Literal["pool", "illuminate", "illuminate_whole"]


@dataclass(eq=False)
class _Request:
    """One caller's windows, and what became of them."""

    call: _Call
    arrays: tuple[NDArray[Any], ...]
    done: threading.Event = field(default_factory=threading.Event)
    result: Array | None = None
    error: Exception | None = None

    @property
    def windows(self) -> int:
        return len(self.arrays[0])

    @property
    def shape(self) -> tuple[object, ...]:
        """Requests may share a call where all of this is equal."""
        return (self.call, *((array.shape[1:], array.dtype) for array in self.arrays))


class GatheringNetwork:
    """Puts the calls of several threads together into calls of another network: see `Network`.

    Args:
        network: what runs them, one call at a time.
        max_windows: windows in one call; a request with more runs as it is.
    """

    def __init__(self, network: LoadedNetwork, max_windows: int) -> None:
        self._network: Final = network
        self._max_windows: Final = max_windows
        self._queue: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._busy = False

    @property
    def facts(self) -> NetworkFacts:
        """See `Network.facts`."""
        return self._network.facts

    def prepare(self, *, whole: bool) -> None:
        """See `LoadedNetwork.prepare`."""
        self._network.prepare(whole=whole)

    def pool(self, images: Image, pool_rows: Array, pool_cols: Array) -> Array:
        """See `Network.pool`."""
        return self._ask(_Request("pool", (images, pool_rows, pool_cols)))

    def illuminate(self, images: Image, pooled: Array, rows: Array, cols: Array) -> Array:
        """See `Network.illuminate`."""
        return self._ask(_Request("illuminate", (images, pooled, rows, cols)))

    def illuminate_whole(
        self, images: Image, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array
    ) -> Array:
        """See `Network.illuminate_whole`."""
        return self._ask(_Request("illuminate_whole", (images, pool_rows, pool_cols, rows, cols)))

    def _ask(self, request: _Request) -> Array:
        """Queues a request, runs groups while nobody else does, and returns the request's result."""
        with self._changed:
            self._queue.append(request)
            self._changed.wait_for(lambda: request.done.is_set() or not self._busy)
            group: list[_Request] = []
            if not request.done.is_set():
                self._busy = True
                group = self._take_group()
        while group:
            try:
                self._run(group)
            finally:
                with self._changed:
                    for member in group:
                        member.done.set()
                    # Another's windows may have gone first: then the next group, until ours is done.
                    group = [] if request.done.is_set() else self._take_group()
                    self._busy = bool(group)
                    self._changed.notify_all()
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def _take_group(self) -> list[_Request]:
        """The oldest request and those behind it that fit into its call."""
        first = self._queue.popleft()
        group, windows = [first], first.windows
        for other in list(self._queue):
            if other.shape == first.shape and windows + other.windows <= self._max_windows:
                self._queue.remove(other)
                group.append(other)
                windows += other.windows
        return group

    def _run(self, group: list[_Request]) -> None:
        """Runs the requests of a group in one call and gives each its part of the result, or its error."""
        try:
            joined = [
                np.concatenate(parts) if len(parts) > 1 else parts[0]
                for parts in zip(*(request.arrays for request in group), strict=True)
            ]
            result: Array = getattr(self._network, group[0].call)(*joined)
        except Exception as error:
            if len(group) == 1:
                group[0].error = error
                return
            for request in group:  # what was too much together may be possible alone
                self._run([request])
            return
        ends = np.cumsum([request.windows for request in group])
        for request, part in zip(group, np.split(result, ends[:-1]), strict=True):
            request.result = part
