"""Gives photographs to the actors of a cluster, and decides what happens to those of a lost actor.

The driver gives each actor two chunks of photographs, so that none waits; chunks are large enough that
handing them out costs little. A worker may die at any time. The photographs that it had begun are then
suspects, and each is tried again alone: if the next worker dies too, the photograph is reported as failed
and left out. Where a machine was lost or could not be reached, no photograph is blamed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from rave_runtime.backends.devices import Setup
from rave_runtime.cluster.crew import Actor, Chunk, Crew, cause_of
from rave_runtime.cluster.worker import Answer, Task
from rave_runtime.errors import UsageError
from rave_runtime.files.entries import Entry
from rave_runtime.files.location import name_inside
from rave_runtime.run.jobs import Job
from rave_runtime.run.journal import Journal
from rave_runtime.run.overwriting import claim_free
from rave_runtime.run.results import Result

CHUNK_S: Final = 2.0
"""How long a chunk should take: a thousand actors then ask the driver for 500 chunks a second."""

MAX_CHUNK: Final = 64
"""Most photographs in a chunk."""

_AHEAD: Final = 2
"""How many chunks an actor has: one in work, one waiting."""

_STRIKES: Final = 2
"""A photograph is left out after this many of its workers died while their machines went on."""

_LOSSES: Final = 6
"""Most retries of a photograph whose worker was lost, whatever the cause."""


@dataclass
class _Work:
    """What is still to be done.

    Attributes:
        fresh: photographs that no worker has had.
        unfinished: how many photographs have no result yet.
        again: photographs whose worker was lost before it began with them.
        suspects: photographs that a lost worker had begun; each goes to a worker alone.
        strikes: by photograph, how often its worker died while its machine went on.
        losses: by photograph, how often its worker was lost for any reason.
    """

    fresh: Iterator[Job]
    unfinished: int
    again: deque[Job] = field(default_factory=deque)
    suspects: deque[Job] = field(default_factory=deque)
    strikes: dict[Job, int] = field(default_factory=dict)
    losses: dict[Job, int] = field(default_factory=dict)


class Pool:
    """Actors that enhance photographs; see `open_pool`.

    Args:
        ray: the module.
        crew: the actors, of which at least one is ready.
        workers: photographs that each actor has in work at a time.
        journal: the journal of the results.
        chunk_photographs: how many photographs a worker gets at a time; None adapts it so that a chunk takes
            `CHUNK_S`.
    """

    def __init__(
        self,
        ray: Any,
        crew: Crew,
        workers: int,
        journal: Journal | None,
        chunk_photographs: int | None = None,
    ) -> None:
        self._ray = ray
        self._crew = crew
        self._workers = workers
        self._journal = journal
        self._chunk_photographs = chunk_photographs
        self._shared_with: set[str] = set()

    @property
    def setup(self) -> Setup:
        """The device and precision of its workers."""
        assert self._crew.setup is not None
        return self._crew.setup

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Yields each photograph's result, in no particular order.

        Raises:
            UsageError: every worker is gone and no new one finds room; or OUTPUT is not the same
                folder for a worker as for this process.
        """
        job_list = list(jobs)
        if self._journal is not None:
            claim_free(self._journal, job_list)
        work = _Work(iter(job_list), len(job_list))
        try:
            while work.unfinished:
                self._hand_out(work)
                actors = {ref: actor for actor in self._crew.actors for ref in actor.chunks}
                ready = self._wait([*actors, *self._crew.starting()])
                self._crew.advance(timeout_s=0)
                for ref in ready:
                    if ref in actors and ref in actors[ref].chunks:
                        for result in self._take(actors[ref], ref, work):
                            work.unfinished -= 1
                            yield result
        finally:
            if self._journal is not None:
                self._journal.close()

    def _hand_out(self, work: _Work) -> None:
        """Gives every actor chunks of photographs until each has one in work and one waiting."""
        # Towards the end chunks become smaller, so that all actors finish at about the same time.
        max_size = max(1, min(MAX_CHUNK, work.unfinished // (4 * max(1, len(self._crew.actors)))))
        for actor in self._crew.actors:
            while len(actor.chunks) < _AHEAD and not actor.is_alone:
                if work.suspects:
                    if actor.chunks:
                        break  # it will be idle soon, and then takes a suspect
                    self._give(actor, [work.suspects.popleft()], alone=True)
                    break
                size = max(min(self._chunk_photographs or actor.size, max_size), self._workers)
                jobs = [work.again.popleft() for _ in range(min(len(work.again), size))]
                jobs += islice(work.fresh, size - len(jobs))
                if not jobs:
                    break
                self._give(actor, jobs, alone=False)

    def _give(self, actor: Actor, jobs: list[Job], alone: bool) -> None:
        """Gives a chunk to an actor, with the journal's entries of its results and companions."""
        tasks = []
        for job in jobs:
            entries: tuple[Entry, ...] = ()
            if self._journal is not None:
                for place in (job.target, *(copy for _, copy in job.companions)):
                    entries += self._journal.find(name_inside(self._journal.folder, place))
            tasks.append(Task(job, entries))
        actor.chunks[actor.handle.enhance.remote(tasks)] = Chunk(jobs, alone, time.monotonic())

    def _take(self, actor: Actor, ref: Any, work: _Work) -> Iterator[Result]:
        """Yields the results of a chunk; if its worker or answer was lost, plans another attempt."""
        from ray.exceptions import ObjectLostError, RayError, RayTaskError

        try:
            answers: list[Answer] = self._ray.get(ref)
        except RayTaskError as error:  # a bug of rave-run's: it must not end a run of millions
            chunk = actor.chunks.pop(ref)
            if chunk.alone:
                yield Result(
                    chunk.jobs[0], "failed", f"its worker failed: {cause_of(error)}", worker=actor.name
                )
            else:
                work.suspects.extend(chunk.jobs)
            return
        except ObjectLostError:  # the work is done, but the answer was lost with its machine
            work.again.extend(actor.chunks.pop(ref).jobs)
            return
        except RayError as error:
            yield from self._bury(actor, error, work)
            return
        chunk = actor.chunks.pop(ref)
        now = time.monotonic()
        self._adapt(actor, chunk, answers, now)
        for other in actor.chunks.values():
            other.given_at_s = now
        self._check_shared(actor, answers)
        for answer in answers:
            if self._journal is not None:
                for entry in filter(None, (*answer.companions, answer.entry)):
                    self._journal.add(entry.name, entry.key, entry.size, entry.digest)
            yield answer.result

    @staticmethod
    def _adapt(actor: Actor, chunk: Chunk, answers: list[Answer], now: float) -> None:
        """Sets the size of an actor's next chunk so that it takes `CHUNK_S`, at most twice the last size.

        Photographs that were skipped or failed say nothing about the time of the next ones.
        """
        finished = sum(answer.result.status in ("done", "copied") for answer in answers)
        if finished and not chunk.alone:
            size = finished * CHUNK_S / max(now - chunk.given_at_s, 1e-3)
            actor.size = max(1, min(round(size), 2 * len(chunk.jobs), MAX_CHUNK))

    def _check_shared(self, actor: Actor, answers: list[Answer]) -> None:
        """Checks that this process sees what the first worker of each machine wrote.

        Raises:
            UsageError: the output is another folder on that machine.
        """
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

    def _bury(self, actor: Actor, error: Exception, work: _Work) -> Iterator[Result]:
        """Replaces a lost worker and plans its photographs anew; yields the failures of those left out."""
        is_strike = self._process_died(actor, error)
        self._crew.replace(actor)
        chunks, actor.chunks = list(actor.chunks.values()), {}
        for index, chunk in enumerate(chunks):
            if index > 0:  # actors work in order: only the first chunk was begun
                work.again.extend(chunk.jobs)
                continue
            for job in chunk.jobs:
                work.losses[job] = work.losses.get(job, 0) + 1
                work.strikes[job] = work.strikes.get(job, 0) + is_strike
                if work.strikes[job] < _STRIKES and work.losses[job] < _LOSSES:
                    work.suspects.append(job)
                    continue
                reason = f"ended its worker {work.losses[job]} times and was left out ({cause_of(error)})"
                yield Result(job, "failed", reason, worker=actor.name)

    def _process_died(self, actor: Actor, error: Exception) -> bool:
        """Whether a worker's process ended while its machine went on."""
        from ray.exceptions import ActorUnavailableError

        if isinstance(error, ActorUnavailableError):
            return False  # its machine may be dying, which the cluster notices later
        return any(node["NodeID"] == actor.node and node["Alive"] for node in self._ray.nodes())

    def _wait(self, refs: list[Any]) -> list[Any]:
        """Waits up to a second for an answer, and returns the references of all that have come."""
        if not refs:
            time.sleep(0.2)
            return []
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=1.0)
        if ready and len(refs) > 1:
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return list(ready)
