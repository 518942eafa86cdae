"""Runs tasks in threads, with limits on how many run and wait, and for how long.

A task whose client has gone is told to stop. Everything but the tasks themselves happens in the event loop's
thread, so nothing needs a lock. Each task gets a new thread: if it dies, only one request fails.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from rave_runtime.serve.problems import RefusedError

Answer = TypeVar("Answer")

IsStopped = Callable[[], bool]
"""Tells a task whether it is to stop."""


class WorkQueue:
    """Runs tasks in threads, a limited number at a time, in the order in which they came.

    Args:
        workers: tasks in work at a time.
        max_waiting: requests that may wait for one of them; further ones are refused at once.
        seconds: how long a task may wait and run; then its request is refused, and it is told to stop.
    """

    def __init__(self, workers: int, max_waiting: int, seconds: float) -> None:
        self.workers: Final = workers
        self._free = workers
        self._max_waiting: Final = max_waiting
        self._seconds: Final = seconds
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._limits: set[asyncio.Timeout] = set()
        self._abandoned: dict[object, float] = {}
        self._end: float | None = None

    @property
    def waiting(self) -> int:
        """How many tasks wait for a worker."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many tasks are in work."""
        return self.workers - self._free

    def is_stuck(self, now: float) -> bool:
        """Whether every worker has been running a task without a client for longer than the time limit.

        Args:
            now: the time by the event loop's clock, in seconds.
        """
        late = [since for since in self._abandoned.values() if now - since > self._seconds]
        return len(late) >= self.workers

    def refuse_when_full(self) -> None:
        """Refuses a request at once if there is no room, before its body is read.

        Raises:
            RefusedError: 429, or 503 while the service ends.
        """
        if self._end is not None:
            raise _ending()
        if self._free <= 0 and len(self._waiting) >= self._max_waiting:
            raise RefusedError(
                429,
                f"{self.running} photographs are in work and {self.waiting} wait: try again",
                max(1, round((self.waiting + 1) * 0.5 / self.workers)),
            )

    def drain(self, seconds: float) -> None:
        """Takes no more tasks, and gives those that wait or run at most this many seconds."""
        self._end = asyncio.get_running_loop().time() + seconds
        for limit in self._limits:
            when = limit.when()
            limit.reschedule(self._end if when is None else min(when, self._end))

    async def run(
        self, task: Callable[[IsStopped], Answer], *, patient: bool = False
    ) -> tuple[Answer, float]:
        """Runs a task in a thread when its turn comes.

        Cancelling this coroutine frees its place in the queue, or tells the task to stop.

        Args:
            task: called in a thread with a function that says whether it is to stop.
            patient: whether the task may wait even if the queue is full, for callers that limit their number.

        Returns:
            What the task returned, and the seconds for which it had waited.

        Raises:
            RefusedError: 429 when too many wait, 503 when it took too long or the service ends.
        """
        if not patient:
            self.refuse_when_full()
        loop = asyncio.get_running_loop()
        start = loop.time()
        end = start + self._seconds
        try:
            async with asyncio.timeout_at(end if self._end is None else min(end, self._end)) as limit:
                self._limits.add(limit)
                try:
                    await self._take_place()
                    waited = loop.time() - start
                    return await self._run(task), waited
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            if self._end is not None:
                raise _ending() from None
            raise RefusedError(503, f"it took longer than {self._seconds:g} seconds: try again", 5) from None

    async def _take_place(self) -> None:
        """Takes a free worker, or waits in the queue for one."""
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it got a worker just now: the next one gets it
                self._give_place()
            else:
                self._waiting.remove(turn)
            raise

    def _give_place(self) -> None:
        """Gives a worker to the first in the queue, or back to the free ones."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    async def _run(self, task: Callable[[IsStopped], Answer]) -> Answer:
        """Runs a task in a new thread, and tells it to stop if this coroutine is cancelled."""
        loop = asyncio.get_running_loop()
        stop = threading.Event()
        outcome: asyncio.Future[Answer] = loop.create_future()

        def finish(answer: Any, error: BaseException | None) -> None:
            self._abandoned.pop(outcome, None)
            self._give_place()
            if outcome.cancelled():
                return
            if error is None:
                outcome.set_result(answer)
            elif isinstance(error, Exception):
                outcome.set_exception(error)
            else:  # something ended the thread
                outcome.set_exception(RuntimeError(f"the thread was ended by {type(error).__name__}"))

        def work() -> None:
            answer: Any = None
            error: BaseException | None = None
            try:
                answer = task(stop.is_set)
            except BaseException as problem:
                error = problem
            loop.call_soon_threadsafe(finish, answer, error)

        try:
            threading.Thread(target=work, name="rave-work", daemon=True).start()
        except RuntimeError:
            self._give_place()
            raise RefusedError(503, "the system gives this service no further thread: try again", 5) from None
        try:
            return await outcome
        except asyncio.CancelledError:
            stop.set()
            if outcome.cancelled():
                self._abandoned[outcome] = loop.time()
            raise


def _ending() -> RefusedError:
    return RefusedError(503, "the service is ending: send it to another one, or again later", 5)


class ByteLedger:
    """Counts the bytes of all bodies and results that are in memory.

    Args:
        total: the most bytes of bodies that may be in memory.
    """

    def __init__(self, total: int) -> None:
        self._total: Final = total
        self.held = 0

    def take(self, count: int) -> None:
        """Counts further bytes.

        Raises:
            RefusedError: 429, with these bytes the total would be exceeded.
        """
        if self.held + count > self._total:
            raise RefusedError(429, "too many bytes are on their way to this service: try again", 2)
        self.held += count

    def take_anyway(self, count: int) -> None:
        """Counts the bytes of a result, even beyond the total; the next bodies are then refused."""
        self.held += count

    def give(self, count: int) -> None:
        """Subtracts bytes that are not in memory any more."""
        self.held -= count
