"""The actors of a cluster and what is given to whom: the only place that knows what a lost one means.

The driver hands out chunks of photographs, two to an actor so that none waits, long enough that handing
out costs little. A worker may die at any time. What it had begun is done again, each photograph alone:
one that dies once more with its worker is the one that killed it, and is named and left out. A machine
that went away, or could not be reached, blames nobody.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from rave_runtime import __version__
from rave_runtime.batch import Result
from rave_runtime.cluster_worker import Answer, Program, Task
from rave_runtime.enhancer import Setup
from rave_runtime.errors import DeviceError, RaveError, UsageError
from rave_runtime.folder import Job, name_inside
from rave_runtime.journal import Journal

CHUNK_S: Final = 2.0
"""How long a chunk should take: a thousand actors then ask the driver for 500 chunks a second."""

MAX_CHUNK: Final = 64

_AHEAD: Final = 2
"""Chunks at an actor: one in work, one waiting there."""

_STRIKES: Final = 2
"""A photograph whose worker died of itself so often is left out."""

_LOSSES: Final = 6
"""So often, at most, is a photograph tried again whose worker was lost for any reason."""

_PLACEMENT_TIMEOUT_S: Final = 120.0
"""So long the cluster may take to find room for a worker when there is none."""

_RESTART_PAUSE_S: Final = 5.0
"""Between attempts to replace a worker that could not start."""


@dataclass
class _Chunk:
    jobs: list[Job]
    alone: bool
    given: float


@dataclass
class _Actor:
    handle: Any
    name: str
    node: str = ""
    size: int = 1
    chunks: dict[Any, _Chunk] = field(default_factory=dict)

    @property
    def is_alone(self) -> bool:
        return any(chunk.alone for chunk in self.chunks.values())


@dataclass
class _Work:
    """What is still to be done.

    Attributes:
        fresh: photographs that no worker has had.
        again: those whose worker was lost before it began with them.
        suspects: those that a lost worker had begun; each goes to a worker alone.
        strikes: how often a worker died of itself while it had that photograph alone, or first.
        losses: how often its worker was lost for any reason.
        left: how many have no result.
    """

    fresh: Iterator[Job]
    left: int
    again: deque[Job] = field(default_factory=deque)
    suspects: deque[Job] = field(default_factory=deque)
    strikes: dict[Job, int] = field(default_factory=dict)
    losses: dict[Job, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What a pool is for.

    Attributes:
        actors: how many.
        workers: photographs that each has in work at a time.
        device: as on the command line.
        precision: likewise.
        journal: of the results.
    """

    actors: int
    workers: int
    device: str
    precision: str
    journal: Journal | None


class Pool:
    """Actors that enhance photographs; see `open_pool`."""

    def __init__(self, ray: Any, remote_worker: Any, arguments: tuple[Any, ...], run: Run) -> None:
        self._ray = ray
        self._remote_worker = remote_worker
        self._arguments = arguments
        self._run = run
        self._journal = run.journal
        self._actors: list[_Actor] = []
        self._placing: dict[Any, _Actor] = {}
        self._placed: list[_Actor] = []
        self._preparing: dict[Any, _Actor] = {}
        self._restarts: list[float] = []
        self._started = 0
        self._setup: Setup | None = None
        self._program: Program | None = None
        self._shared_with: set[str] = set()
        self._seen_at = time.monotonic()

    @property
    def setup(self) -> Setup:
        """What its workers compute with, known when the first is there."""
        assert self._setup is not None
        return self._setup

    def start(self) -> None:
        """Asks for actors and waits for the first, whose device and precision all others take.

        Raises:
            RaveError: the model cannot be used on the cluster.
            UsageError: the cluster has no room, or its workers cannot start.
        """
        for _ in range(self._run.actors):
            self._start_actor()
        self._seen_at = time.monotonic()
        while self._setup is None:
            self._advance(timeout_s=0.2)

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Yields each photograph's result, in no particular order.

        Raises:
            UsageError: every worker is gone and no new one finds room; or OUTPUT is not the same
                folder for a worker as for this process.
        """
        listed = list(jobs)
        work = _Work(iter(listed), len(listed))
        try:
            while work.left:
                self._hand_out(work)
                waiting = {ref: actor for actor in self._actors for ref in actor.chunks}
                done = self._wait([*waiting, *self._placing, *self._preparing])
                self._advance(timeout_s=0)
                for ref in done:
                    if ref in waiting and ref in waiting[ref].chunks:
                        for result in self._take(waiting[ref], ref, work):
                            work.left -= 1
                            yield result
        finally:
            if self._journal is not None:
                self._journal.close()

    def stop(self) -> None:
        """Ends all actors; what they had in work is lost, what they had written is whole."""
        starting = [*self._placing.values(), *self._placed, *self._preparing.values()]
        for actor in [*self._actors, *starting]:
            self._kill(actor)
        self._actors.clear()
        self._placing.clear()
        self._placed.clear()
        self._preparing.clear()

    def _hand_out(self, work: _Work) -> None:
        # No chunk so large that the last ones leave others with nothing to do.
        most = max(1, min(MAX_CHUNK, work.left // (4 * max(1, len(self._actors)))))
        for actor in self._actors:
            while len(actor.chunks) < _AHEAD and not actor.is_alone:
                if work.suspects:
                    if actor.chunks:
                        break  # it will be idle soon, and then takes a suspect
                    self._give(actor, [work.suspects.popleft()], alone=True)
                    break
                size = max(min(actor.size, most), self._run.workers)
                jobs = [work.again.popleft() for _ in range(min(len(work.again), size))]
                jobs += islice(work.fresh, size - len(jobs))
                if not jobs:
                    break
                self._give(actor, jobs, alone=False)

    def _give(self, actor: _Actor, jobs: list[Job], alone: bool) -> None:
        tasks = []
        for job in jobs:
            known = None
            if self._journal is not None:
                known = self._journal.find(name_inside(self._journal.folder, job.target))
            tasks.append(Task(job, known))
        actor.chunks[actor.handle.enhance.remote(tasks)] = _Chunk(jobs, alone, time.monotonic())

    def _take(self, actor: _Actor, ref: Any, work: _Work) -> Iterator[Result]:
        """The results of a chunk, or what its worker's end means for its photographs."""
        from ray.exceptions import ObjectLostError, RayError, RayTaskError

        try:
            answers: list[Answer] = self._ray.get(ref)
        except RayTaskError as error:  # a fault of ours: it must not end a run of millions
            chunk = actor.chunks.pop(ref)
            if chunk.alone:
                yield Result(
                    chunk.jobs[0], "failed", f"its worker failed: {_cause(error)}", worker=actor.name
                )
            else:
                work.suspects.extend(chunk.jobs)
            return
        except ObjectLostError:  # done, but the answer went down with its machine
            work.again.extend(actor.chunks.pop(ref).jobs)
            return
        except RayError as error:
            yield from self._bury(actor, error, work)
            return
        chunk = actor.chunks.pop(ref)
        now = time.monotonic()
        self._adapt(actor, chunk, answers, now)
        for other in actor.chunks.values():
            other.given = now
        self._check_shared(actor, answers)
        for answer in answers:
            if answer.entry is not None and self._journal is not None:
                self._journal.add(answer.entry.name, answer.entry.key, answer.entry.size)
            yield answer.result

    @staticmethod
    def _adapt(actor: _Actor, chunk: _Chunk, answers: list[Answer], now: float) -> None:
        """Chunks of `CHUNK_S`, growing at most twofold; what was skipped or failed promises nothing."""
        done = sum(answer.result.status == "done" for answer in answers)
        if done and not chunk.alone:
            wanted = done * CHUNK_S / max(now - chunk.given, 1e-3)
            actor.size = max(1, min(round(wanted), 2 * len(chunk.jobs), MAX_CHUNK))

    def _check_shared(self, actor: _Actor, answers: list[Answer]) -> None:
        """What the first worker of each machine wrote must be there for this process."""
        if self._journal is None or actor.node in self._shared_with:
            return
        for answer in answers:
            if answer.entry is not None:
                if not answer.entry.is_in(self._journal.folder):
                    raise UsageError(
                        f"{self._journal.folder} is not the same folder on every machine of the cluster: "
                        "give one that all share, or a URL"
                    )
                self._shared_with.add(actor.node)
                return

    def _bury(self, actor: _Actor, error: Exception, work: _Work) -> Iterator[Result]:
        """A worker is lost: its chunks go elsewhere, and a new worker is asked for."""
        self._actors.remove(actor)
        self._kill(actor)  # one that is only out of reach must not write beside its successor
        of_itself = self._died_of_itself(actor, error)
        chunks, actor.chunks = list(actor.chunks.values()), {}
        for index, chunk in enumerate(chunks):
            if index > 0:  # actors work in order: only the first chunk was begun
                work.again.extend(chunk.jobs)
                continue
            for job in chunk.jobs:
                work.losses[job] = work.losses.get(job, 0) + 1
                work.strikes[job] = work.strikes.get(job, 0) + of_itself
                if work.strikes[job] < _STRIKES and work.losses[job] < _LOSSES:
                    work.suspects.append(job)
                    continue
                reason = f"ended its worker {work.losses[job]} times and was left out ({_cause(error)})"
                yield Result(job, "failed", reason, worker=actor.name)
        self._start_actor()

    def _died_of_itself(self, actor: _Actor, error: Exception) -> bool:
        """Whether a worker's process ended while its machine went on."""
        from ray.exceptions import ActorUnavailableError

        if isinstance(error, ActorUnavailableError):
            return False  # its machine may be dying, which the cluster notices later
        return any(found["NodeID"] == actor.node and found["Alive"] for found in self._ray.nodes())

    def _kill(self, actor: _Actor) -> None:
        with contextlib.suppress(Exception):
            self._ray.kill(actor.handle)

    def _start_actor(self) -> None:
        self._started += 1
        handle = self._remote_worker.remote(*self._arguments)
        actor = _Actor(handle, f"worker-{self._started}", size=self._run.workers)
        self._placing[handle.place.remote()] = actor

    def _advance(self, timeout_s: float) -> None:
        """Brings starting actors a step on: placed on a machine, prepared, at work."""
        now = time.monotonic()
        for _ in [due for due in self._restarts if due <= now]:
            self._start_actor()
        self._restarts = [due for due in self._restarts if due > now]
        for actor in self._placed if self._setup is not None else self._placed[:1]:
            device, precision = self._run.device, self._run.precision
            if self._setup is not None:
                device, precision = self._setup.device, self._setup.precision
            elif self._preparing:
                break  # the first decides for all
            self._preparing[actor.handle.prepare.remote(actor.name, device, precision)] = actor
        self._placed = [actor for actor in self._placed if actor not in self._preparing.values()]
        if self._actors or self._preparing or self._placed:
            self._seen_at = now
        elif now - self._seen_at > _PLACEMENT_TIMEOUT_S:
            raise UsageError(
                f"the cluster found no room for a worker in {_PLACEMENT_TIMEOUT_S:.0f} s: it is busy, has "
                "fewer processors than --workers, or lost its machines; --skip-existing resumes"
            )
        starting = [*self._placing, *self._preparing]
        if not starting:
            return
        done, _ = self._ray.wait(starting, num_returns=len(starting), timeout=timeout_s)
        for ref in done:
            if ref in self._placing:
                self._on_placed(ref, self._placing.pop(ref))
            else:
                self._on_prepared(ref, self._preparing.pop(ref))

    def _on_placed(self, ref: Any, actor: _Actor) -> None:
        from ray.exceptions import RayError

        try:
            actor.node = self._ray.get(ref)
        except RayError as error:
            self._give_up(actor, error)
            return
        self._placed.append(actor)

    def _on_prepared(self, ref: Any, actor: _Actor) -> None:
        from ray.exceptions import RayError

        try:
            setup, program = self._ray.get(ref)
        except RayError as error:
            self._give_up(actor, error)
            return
        if self._program is None:
            self._setup, self._program = setup, program
        if program != self._program:
            self._give_up(actor, DeviceError(f"it would run {program}, others {self._program}"))
            return
        self._actors.append(actor)

    def _give_up(self, actor: _Actor, error: Exception) -> None:
        """A worker that could not start: the reason where none ever did, else another attempt later."""
        self._kill(actor)
        if self._setup is None:
            cause = getattr(error, "cause", None)
            if isinstance(cause, RaveError):
                raise cause from None
            raise UsageError(
                f"workers cannot start on the cluster: {_cause(error)}; each of its machines needs "
                f"rave-backlit {__version__}"
            ) from error
        warnings.warn(
            f"a worker on node {actor.node[:8] or '?'} could not start: {_cause(error)}", stacklevel=2
        )
        self._restarts.append(time.monotonic() + _RESTART_PAUSE_S)

    def _wait(self, refs: list[Any]) -> list[Any]:
        if not refs:
            time.sleep(0.2)
            return []
        done, _ = self._ray.wait(refs, num_returns=1, timeout=1.0)
        if done and len(refs) > 1:
            done, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return list(done)


def _cause(error: Any) -> str:
    cause = getattr(error, "cause", None)
    return first_line(cause if isinstance(cause, BaseException) else error)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
