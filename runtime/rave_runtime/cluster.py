"""The same run on a Ray cluster: the pipeline of one machine, in many processes.

Only this module knows Ray (extra `cluster`). Each actor is a process with a warm `Batch`; the driver
hands out chunks of photographs, two to an actor so that none waits, long enough that handing out costs
little. A worker may die at any time. What it had begun is done again, each photograph alone: one that
dies once more with its worker is the one that killed it, and is named and left out. A machine that
went away, or could not be reached, blames nobody.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from rave_runtime import __version__
from rave_runtime.batch import Batch, Result
from rave_runtime.bundle import read_bundle
from rave_runtime.command import RunOptions, make_batch
from rave_runtime.enhancer import Setup
from rave_runtime.errors import DeviceError, RaveError, UsageError
from rave_runtime.folder import Job, name_inside
from rave_runtime.journal import Entry, Journal
from rave_runtime.memory import keep_freed_memory
from rave_runtime.network import usable_processors
from rave_runtime.remote import Location

LOCAL: Final = "local"
"""The address that starts a cluster of this machine alone."""

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


@dataclass(frozen=True)
class Program:
    """What a worker would run; all workers of a run must agree.

    Attributes:
        version: of this package.
        settings: everything that decides a result, as `Enhancer.settings` says it.
    """

    version: str
    settings: str


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
        self, model: dict[str, bytes] | None, options: RunOptions, folder: Location | None, threads: int
    ) -> None:
        self._model = model
        self._options = options
        self._journal = None if folder is None else _CarriedJournal(folder)
        self._threads = threads
        self._batch: Batch | None = None
        self._name = ""

    def place(self) -> str:
        """The machine it is on, as Ray names it."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def prepare(self, name: str, device: str, precision: str) -> tuple[Setup, Program]:
        """Loads the network.

        Args:
            name: of this worker, for logs.
            device: as on the command line; "auto" for the first worker, the same for all others.
            precision: likewise.

        Raises:
            RaveError: as `Enhancer`.
        """
        keep_freed_memory()  # this process is the run's own
        options = dataclasses.replace(self._options, device=device, precision=precision)
        with tempfile.TemporaryDirectory(prefix="rave-model-") as folder:
            if self._model is not None:
                for file, content in self._model.items():
                    (Path(folder) / file).write_bytes(content)
                options = dataclasses.replace(options, model=Path(folder))
            self._batch = make_batch(options, self._journal, options.workers or 1, self._threads)
            self._batch.warm_up()
        self._name = f"{self.place()[:8]}/{name}"
        return self._batch.setup, Program(__version__, self._batch.settings)

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
class _Run:
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

    def __init__(self, ray: Any, remote_worker: Any, arguments: tuple[Any, ...], run: _Run) -> None:
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
            the cluster has room for unless given. An actor takes a GPU if `device` is one.
        address: of the cluster, as Ray takes it, or "local". Where Ray is connected already, that
            cluster is used.
        journal: of the results, kept by this process alone.
        jobs: how many photographs there are, so that no more actors are asked for.
        worker: what each actor runs.

    Raises:
        UsageError: Ray is not installed, or the cluster is not there.
        RaveError: the model cannot be used.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # photographs are nobody's business
    try:
        import ray
    except ImportError as error:
        raise UsageError("--cluster needs Ray: pip install 'rave-backlit[cluster]'") from error
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address)
    try:
        workers = options.workers or 1
        needs = {"num_cpus": workers, "num_gpus": 1 if options.device in ("cuda", "tensorrt") else 0}
        resources = _resources(ray)
        room = int(resources.get("CPU", 0)) // workers
        if needs["num_gpus"]:
            room = min(room, int(resources.get("GPU", 0)))
        run = _Run(
            min(options.actors or max(1, room), max(1, jobs)),
            workers,
            options.device,
            options.precision,
            journal,
        )
        model = None if options.model is None else ray.put(_read_files(options.model))
        untyped: Any = ray
        remote_worker = untyped.remote(max_restarts=0, max_task_retries=0, **needs)(worker)
        folder = None if journal is None else journal.folder
        pool = Pool(ray, remote_worker, (model, options, folder, workers), run)
        try:
            pool.start()
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
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


def _read_files(folder: Path) -> dict[str, bytes]:
    """A bundle as the workers get it.

    Raises:
        BundleError: it cannot be used.
    """
    names = ["manifest.json", *(file.file for file in read_bundle(folder).manifest.files())]
    return {name: (folder / name).read_bytes() for name in names}


def _cause(error: Any) -> str:
    cause = getattr(error, "cause", None)
    return _first_line(cause if isinstance(cause, BaseException) else error)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
