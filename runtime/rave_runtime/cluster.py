"""The same run on a Ray cluster: the pipeline of one machine, in many processes.

Only this module knows Ray (extra `cluster`). Each actor is a process with a warm `Batch`; the driver
hands out chunks of photographs, two to an actor so that none waits, long enough that handing out costs
nothing. A worker may die at any time. What it had in work is done again, each photograph alone: one
that dies once more with its worker is the one that killed it, and is named and left out. A machine
that went away blames nobody.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from rave_runtime.batch import Batch, Result
from rave_runtime.command import RunOptions, make_batch
from rave_runtime.enhancer import Setup
from rave_runtime.errors import RaveError, UsageError
from rave_runtime.folder import Job, name_inside
from rave_runtime.journal import Entry, Journal
from rave_runtime.network import usable_processors
from rave_runtime.remote import Location

LOCAL: Final = "local"
"""The address that starts a cluster of this machine alone."""

CHUNK_S: Final = 2.0
"""How long a chunk should take: a thousand actors then ask the driver for 500 chunks a second."""

MAX_CHUNK: Final = 256

_AHEAD: Final = 2
"""Chunks at an actor: one in work, one waiting there."""

_STRIKES: Final = 2
"""A photograph that dies with its worker so often is left out."""

_MAX_FAILED_STARTS: Final = 3

_PLACEMENT_TIMEOUT_S: Final = 120.0
"""So long the cluster may take to find room for a first worker."""


@dataclass(frozen=True)
class Task:
    """A photograph to enhance and what the journal knows of its result."""

    job: Job
    known: Entry | None


@dataclass(frozen=True)
class Answer:
    """What became of a photograph and the journal's new entry, if there is one."""

    result: Result
    entry: Entry | None


class _CarriedJournal:
    """The journal as a worker sees it: the entries that came with its tasks, and its own."""

    def __init__(self, folder: Location) -> None:
        self.folder = folder
        self.known: dict[str, Entry] = {}
        self.added: dict[str, Entry] = {}

    def is_done(self, name: str, key: str) -> bool:
        entry = self.known.get(name)
        return entry is not None and entry.key == key and entry.is_in(self.folder)

    def add(self, name: str, key: str, size: int) -> None:
        self.added[name] = Entry(name, key, size)

    def close(self) -> None:
        """Nothing is open: the driver keeps the journal."""


class Worker:
    """What an actor runs: one process, one warm batch."""

    def __init__(
        self, options: RunOptions, model: dict[str, bytes] | None, folder: Location | None, threads: int
    ) -> None:
        self._options = options
        self._model = model
        self._journal = None if folder is None else _CarriedJournal(folder)
        self._threads = threads
        self._batch: Batch | None = None
        self._name = ""

    def prepare(self, name: str) -> tuple[Setup, str]:
        """Loads the network. Gives what it computes with, and the machine it is on.

        Raises:
            RaveError: as `Enhancer`.
        """
        import ray

        options = self._options
        if self._model is not None:
            self._folder = tempfile.TemporaryDirectory(prefix="rave-model-")
            for file, content in self._model.items():
                (Path(self._folder.name) / file).write_bytes(content)
            options = dataclasses.replace(options, model=Path(self._folder.name))
        self._batch = make_batch(options, self._journal, options.workers or 1, self._threads)
        node = str(ray.get_runtime_context().get_node_id())
        self._name = f"{node[:8]}/{name}"
        return self._batch.setup, node

    def enhance(self, tasks: list[Task]) -> list[Answer]:
        """A chunk of photographs from files to files."""
        batch, journal = self._batch, self._journal
        assert batch is not None
        if journal is not None:
            journal.known = {task.known.name: task.known for task in tasks if task.known is not None}
            journal.added = {}
        batch.cancelled.clear()
        answers = []
        for result in batch.run(task.job for task in tasks):
            entry = None
            if journal is not None:
                entry = journal.added.get(name_inside(journal.folder, result.job.target))
            answers.append(Answer(dataclasses.replace(result, worker=self._name), entry))
        return answers


@dataclass
class _Chunk:
    jobs: list[Job]
    alone: bool
    given: float


@dataclass
class _Actor:
    handle: Any
    name: str
    ready: bool = False
    node: str = ""
    size: int = 1
    chunks: dict[Any, _Chunk] = field(default_factory=dict)

    @property
    def is_alone(self) -> bool:
        return any(chunk.alone for chunk in self.chunks.values())


class Pool:
    """Actors that enhance photographs; see `open_pool`."""

    def __init__(
        self, ray: Any, remote_worker: Any, arguments: tuple[Any, ...], journal: Journal | None
    ) -> None:
        self._ray = ray
        self._remote_worker = remote_worker
        self._arguments = arguments
        self._journal = journal
        self._actors: list[_Actor] = []
        self._starting: dict[Any, _Actor] = {}
        self._started = 0
        self._failed_starts = 0
        self._setup: Setup | None = None

    @property
    def setup(self) -> Setup:
        """What its workers compute with, known when the first is there."""
        assert self._setup is not None
        return self._setup

    def start(self, count: int) -> None:
        """Asks for actors and waits for the first.

        Raises:
            RaveError: the model cannot be used on the cluster.
            UsageError: the cluster has no room, or its workers cannot start.
        """
        for _ in range(count):
            self._start_actor()
        deadline = time.monotonic() + _PLACEMENT_TIMEOUT_S
        while self._setup is None:
            self._look_at_starting(timeout_s=1.0)
            if time.monotonic() > deadline:
                raise UsageError(
                    f"the cluster found no room for a worker in {_PLACEMENT_TIMEOUT_S:.0f} s: "
                    "it is busy or has fewer processors than --workers"
                )

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Yields each photograph's result, in no particular order.

        Raises:
            UsageError: every worker is gone and no new one can start.
        """
        fresh = iter(jobs)
        again: deque[Job] = deque()
        suspects: deque[Job] = deque()
        strikes: dict[Job, int] = {}
        try:
            while True:
                self._hand_out(fresh, again, suspects)
                waiting = {ref: actor for actor in self._actors for ref in actor.chunks}
                if not waiting and not self._starting:
                    break
                if not waiting and not (again or suspects) and self._actors:
                    break  # the rest of the actors would come too late
                done = self._wait([*waiting, *self._starting])
                self._look_at_starting(timeout_s=0)
                for ref in done:
                    if ref not in waiting or ref not in waiting[ref].chunks:
                        continue
                    yield from self._take(waiting[ref], ref, again, suspects, strikes)
        finally:
            if self._journal is not None:
                self._journal.close()

    def stop(self) -> None:
        """Ends all actors; what they had in work is lost, what they had written is whole."""
        for actor in [*self._actors, *self._starting.values()]:
            with contextlib.suppress(Exception):
                self._ray.kill(actor.handle)
        self._actors.clear()
        self._starting.clear()

    def _hand_out(self, fresh: Iterator[Job], again: deque[Job], suspects: deque[Job]) -> None:
        for actor in self._actors:
            while len(actor.chunks) < _AHEAD and not actor.is_alone:
                if suspects:
                    if actor.chunks:
                        break  # it will be idle soon, and then takes a suspect
                    self._give(actor, [suspects.popleft()], alone=True)
                    break
                jobs = [again.popleft() for _ in range(min(len(again), actor.size))]
                jobs += islice(fresh, actor.size - len(jobs))
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

    def _take(
        self, actor: _Actor, ref: Any, again: deque[Job], suspects: deque[Job], strikes: dict[Job, int]
    ) -> Iterator[Result]:
        """The results of a chunk, or what its worker's end means for its photographs."""
        from ray.exceptions import RayActorError, RayTaskError

        try:
            answers: list[Answer] = self._ray.get(ref)
        except RayActorError as error:
            yield from self._bury(actor, error, again, suspects, strikes)
            return
        except RayTaskError as error:  # a fault of ours: it must not end a run of millions
            chunk = actor.chunks.pop(ref)
            for job in chunk.jobs:
                yield Result(job, "failed", f"its worker failed: {_cause(error)}", worker=actor.name)
            return
        chunk = actor.chunks.pop(ref)
        now = time.monotonic()
        for other in actor.chunks.values():
            other.given = now
        self._adapt(actor, chunk, now)
        for answer in answers:
            if answer.entry is not None and self._journal is not None:
                self._journal.add(answer.entry.name, answer.entry.key, answer.entry.size)
            yield answer.result

    @staticmethod
    def _adapt(actor: _Actor, chunk: _Chunk, now: float) -> None:
        """Chunks grow at most twofold at a time, so that one fast photograph promises nothing."""
        if not chunk.alone:
            wanted = len(chunk.jobs) * CHUNK_S / max(now - chunk.given, 1e-3)
            actor.size = max(1, min(int(wanted), 2 * len(chunk.jobs), MAX_CHUNK))

    def _bury(
        self,
        actor: _Actor,
        error: Exception,
        again: deque[Job],
        suspects: deque[Job],
        strikes: dict[Job, int],
    ) -> Iterator[Result]:
        """A worker is dead: its chunks go elsewhere, and a new worker is asked for."""
        self._actors.remove(actor)
        blameless = not self._is_alive(actor.node)
        chunks, actor.chunks = list(actor.chunks.values()), {}
        for index, chunk in enumerate(chunks):
            if blameless and chunk.alone:
                suspects.extend(chunk.jobs)
            elif blameless or index > 0:  # actors work in order: only the first chunk was begun
                again.extend(chunk.jobs)
            else:
                for job in chunk.jobs:
                    strikes[job] = strikes.get(job, 0) + 1
                    if strikes[job] < _STRIKES:
                        suspects.append(job)
                    else:
                        reason = f"ended its worker {strikes[job]} times and was left out ({_cause(error)})"
                        yield Result(job, "failed", reason, worker=actor.name)
        self._start_actor()

    def _is_alive(self, node: str) -> bool:
        return any(found["NodeID"] == node and found["Alive"] for found in self._ray.nodes())

    def _start_actor(self) -> None:
        self._started += 1
        name = f"worker-{self._started}"
        handle = self._remote_worker.remote(*self._arguments)
        actor = _Actor(handle, name)
        self._starting[handle.prepare.remote(name)] = actor

    def _look_at_starting(self, timeout_s: float) -> None:
        from ray.exceptions import RayActorError, RayTaskError

        if not self._starting:
            return
        done, _ = self._ray.wait(list(self._starting), num_returns=len(self._starting), timeout=timeout_s)
        for ref in done:
            actor = self._starting.pop(ref)
            try:
                self._setup, actor.node = self._ray.get(ref)
            except RayTaskError as error:
                if isinstance(error.cause, RaveError):
                    raise error.cause from None
                raise UsageError(f"a worker cannot start: {_cause(error)}") from error
            except RayActorError as error:
                self._failed_starts += 1
                if self._failed_starts >= _MAX_FAILED_STARTS:
                    raise UsageError(
                        f"workers cannot start on the cluster: {_cause(error)}; each of its machines needs "
                        "rave-backlit of this version"
                    ) from error
                self._start_actor()
                continue
            self._failed_starts = 0
            actor.ready = True
            self._actors.append(actor)

    def _wait(self, refs: list[Any]) -> list[Any]:
        done, _ = self._ray.wait(refs, num_returns=1, timeout=1.0)
        if done and len(refs) > 1:
            done, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return list(done)


@contextlib.contextmanager
def open_pool(
    options: RunOptions,
    address: str,
    journal: Journal | None,
    jobs: int,
    worker: type[Worker] = Worker,
) -> Iterator[Pool]:
    """A pool of workers on a cluster.

    Args:
        options: of the run. `workers` is how many photographs each actor has in work at a time, 1
            unless given, and how many processors it takes; `actors` how many there are, as many as
            the cluster has room for unless given.
        address: of the cluster, as Ray takes it, or "local".
        journal: of the results, kept by this process alone.
        jobs: how many photographs there are, so that no more actors are asked for.
        worker: what each actor runs.

    Raises:
        UsageError: Ray is not installed, or the cluster is not there.
        RaveError: the model cannot be used.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # photographs are nobody's business
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--cluster needs Ray: pip install 'rave-backlit[cluster]'") from error
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
    try:
        threads = options.workers or 1
        room = int(_resources(ray).get("CPU", 0)) // threads
        count = min(options.actors or max(1, room), max(1, jobs))
        model = None if options.model is None else _read_bundle(options.model)
        remote_worker = ray.remote(num_cpus=threads, max_restarts=0, max_task_retries=0)(worker)
        folder = None if journal is None else journal.folder
        pool = Pool(ray, remote_worker, (options, model, folder, threads), journal)
        try:
            pool.start(count)
            yield pool
        finally:
            pool.stop()
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        _knock(address)
        if address == LOCAL:
            ray.init(address=LOCAL, num_cpus=usable_processors(), include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises whatever its connection stumbled over
        raise UsageError(
            f"no Ray cluster at {address}: {_first_line(error)} (`ray start --head` starts one; "
            f"--cluster {LOCAL} needs none)"
        ) from error


def _knock(address: str) -> None:
    """Fails at once where nobody listens; Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _resources(ray: Any) -> dict[str, float]:
    found: dict[str, float] = ray.cluster_resources()
    return found


def _read_bundle(folder: Path) -> dict[str, bytes]:
    try:
        return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror or error}") from error


def _cause(error: Any) -> str:
    cause = getattr(error, "cause", None)
    return _first_line(cause if isinstance(cause, BaseException) else error)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
