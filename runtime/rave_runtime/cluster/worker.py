"""The work of one process of a cluster: chunks of photographs in, results and journal entries out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rave_runtime.bundle import Bundle
from rave_runtime.enhancer import Setup
from rave_runtime.files.entries import Entry, is_done, is_ours
from rave_runtime.files.location import Location, name_inside
from rave_runtime.run.batch import Batch, Result
from rave_runtime.run.jobs import Job
from rave_runtime.run.memory import keep_freed_memory
from rave_runtime.run.options import RunOptions, make_batch
from rave_runtime.version import __version__


@dataclass(frozen=True)
class Task:
    """A photograph to enhance, and what the journal knows of its result and its companions."""

    job: Job
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Answer:
    """What became of a photograph, with the journal's new entries of it and of its companions."""

    result: Result
    entry: Entry | None
    companions: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Program:
    """What a worker would run; all workers of a run must agree.

    Attributes:
        version: the version of this package.
        settings: everything that decides a result, as `Enhancer.settings` says it.
    """

    version: str
    settings: str


class _CarriedJournal:
    """The journal as a worker sees it: the entries that came with its tasks, and its own."""

    def __init__(self, folder: Location) -> None:
        self.folder = folder
        self.entries: list[Entry] = []
        self.added: dict[str, Entry] = {}

    def is_done(self, name: str, key: str) -> bool:
        return is_done(self._known_of(name), key, self.folder)

    def is_ours(self, name: str) -> bool:
        return is_ours(self._known_of(name), self.folder / name)

    def claim(self, name: str, size: int, digest: str) -> None:
        """Does nothing: the driver has claimed the names of all results."""

    def add(self, name: str, key: str, size: int, digest: str = "") -> None:
        self.added[name] = Entry(name, key, size, digest)

    def _known_of(self, name: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.name == name]

    def close(self) -> None:
        """Nothing is open: the driver keeps the journal."""


class Worker:
    """What an actor runs: one process, one warm batch."""

    def __init__(
        self, model: Bundle | None, options: RunOptions, folder: Location | None, threads: int
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
            name: the worker's name, for logs.
            device: as on the command line; "auto" for the first worker, the same for all others.
            precision: as on the command line, for the first worker; the same for all others.

        Raises:
            RaveError: as `Enhancer`.
        """
        keep_freed_memory()  # this process is the run's own
        options = dataclasses.replace(self._options, device=device, precision=precision)
        workers = options.workers or 1
        self._batch = make_batch(options, self._journal, workers, self._threads, self._model)
        self._batch.warm_up()
        self._name = f"{self.place()[:8]}/{name}"
        return self._batch.setup, Program(__version__, self._batch.settings)

    def enhance(self, tasks: list[Task]) -> list[Answer]:
        """A chunk of photographs from files to files."""
        batch, journal = self._batch, self._journal
        assert batch is not None
        if journal is not None:
            journal.entries = [entry for task in tasks for entry in task.entries]
            journal.added = {}
        batch.cancelled.clear()
        answers = []
        for result in batch.run(task.job for task in tasks):
            entry, companions = None, []
            if journal is not None:
                entry = journal.added.get(name_inside(journal.folder, result.job.target))
                names = [name_inside(journal.folder, copy) for _, copy in result.job.companions]
                companions = [journal.added[name] for name in names if name in journal.added]
            answers.append(Answer(dataclasses.replace(result, worker=self._name), entry, tuple(companions)))
        return answers
