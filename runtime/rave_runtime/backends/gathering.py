"""Puts windows of several photographs into one call, since one photograph alone cannot keep a GPU busy.

Each window brings its own pooled context as an input, so a batch may mix windows of different photographs,
as long as they have the same shape. Neither a thread nor a timer is needed: while the network works for one
caller, the others queue; the next call takes the oldest request of the queue together with all others that
fit. A single caller never waits.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.backends.network import Call, LoadedNetwork, NetworkAround


@dataclass(eq=False)
class _Request:
    """One caller's windows, and their result or error once they are done."""

    call: Call
    arrays: tuple[NDArray[Any], ...]
    done: threading.Event = field(default_factory=threading.Event)
    result: Array | None = None
    error: Exception | None = None

    @property
    def windows(self) -> int:
        return len(self.arrays[0])

    @property
    def shape(self) -> tuple[object, ...]:
        """The kind of the request; requests of equal kinds may share a call."""
        return (self.call, *((array.shape[1:], array.dtype) for array in self.arrays))


class GatheringNetwork(NetworkAround):
    """Puts the calls of several threads together into calls of another network: see `Network`.

    Args:
        network: the network that runs them, one call at a time.
        max_windows: most windows in one call; a request with more of them runs alone.
    """

    def __init__(self, network: LoadedNetwork, max_windows: int) -> None:
        super().__init__(network)
        self._max_windows: Final = max_windows
        self._queue: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._busy = False

    def call(self, name: Call, *arrays: NDArray[Any]) -> Array:
        """Queues a request, runs queued requests if no other thread does, and returns its result."""
        request = _Request(name, arrays)
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
                    # Older requests of other callers come first: this thread goes on until its own is done.
                    group = [] if request.done.is_set() else self._take_group()
                    self._busy = bool(group)
                    self._changed.notify_all()
        if request.error is not None:
            raise request.error
        assert request.result is not None
        return request.result

    def _take_group(self) -> list[_Request]:
        """Takes the oldest request from the queue, and those behind it that fit into its call."""
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
            arguments = [
                np.concatenate(parts) if len(parts) > 1 else parts[0]
                for parts in zip(*(request.arrays for request in group), strict=True)
            ]
            result: Array = getattr(self.network, group[0].call)(*arguments)
        except Exception as error:
            if len(group) == 1:
                group[0].error = error
                return
            for request in group:  # each may succeed alone, for instance where memory was short
                self._run([request])
            return
        ends = np.cumsum([request.windows for request in group])
        for request, part in zip(group, np.split(result, ends[:-1]), strict=True):
            request.result = part
