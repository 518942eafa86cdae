"""The work of one process of a cluster: it takes chunks of photographs, and returns results and entries."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rave_runtime.backends.devices import Setup
from rave_runtime.bundle import Bundle
from rave_runtime.files.entries import Entry, is_done, is_ours
from rave_runtime.files.location import Location, name_inside
from rave_runtime.run.batch import Batch, make_batch
from rave_runtime.run.jobs import Job
from rave_runtime.run.memory import keep_freed_memory
from rave_runtime.run.options import RunOptions
from rave_runtime.run.results import Result
from rave_runtime.version import __version__


@dataclass(frozen=True)
class Task:
    """A photograph to enhance, with the journal's entries of its result and of its companion files."""

    job: Job
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Answer:
    """A photograph's result, with new journal entries of it and of its companion files."""

    result: Result
    entry: Entry | None
    companions: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Program:
    """The version and settings of a worker, which must be the same for all workers of a run.

    Attributes:
        version: the version of this package.
        settings: everything that decides a result, as `Enhancer.settings` gives it.
    """

    version: str
    settings: str


class _CarriedJournal:
    """The journal as a worker sees it: the entries that came with its tasks, and those that it adds."""

    def __init__(self, folder: Location) -> None:
        self.folder = folder
        self.entries: list[Entry] = []
        self.added: dict[str, Entry] = {}

    def is_done(self, name: str, key: str) -> bool:
        return is_done(self._entries_of(name), key, self.folder)

    def is_ours(self, name: str) -> bool:
        return is_ours(self._entries_of(name), self.folder / name)

    def claim(self, name: str, size: int, digest: str) -> None:
        """Does nothing: the driver has claimed the names of all results."""

    def add(self, name: str, key: str, size: int, digest: str = "") -> None:
        self.added[name] = Entry(name, key, size, digest)

    def _entries_of(self, name: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.name == name]

    def close(self) -> None:
        """Does nothing: only the driver has the journal's file open."""


class Worker:
    """The class that an actor runs: one process with one loaded batch.

    Args:
        model: the bundle; None is the embedded one.
        options: the options of the run.
        folder: the folder of the journal; None where there is no journal.
        threads: processors that this process uses.
    """

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
        """Returns Ray's name of the machine on which this process runs."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def prepare(self, name: str, device: str, precision: str) -> tuple[Setup, Program]:
        """Loads the network.

        Args:
            name: the worker's name, for logs.
            device: as on the command line; "auto" for the first worker, the same for all others.
            precision: as on the command line, for the first worker; the same for all others.

        Returns:
            Device and precision, and what must be the same for all workers.

        Raises:
            RaveError: as `Enhancer`.
        """
        keep_freed_memory()  # this process serves only this run
        options = dataclasses.replace(self._options, device=device, precision=precision)
        workers = options.workers or 1
        self._batch = make_batch(options, self._journal, workers, self._threads, self._model)
        self._batch.warm_up()
        self._name = f"{self.place()[:8]}/{name}"
        return self._batch.setup, Program(__version__, self._batch.settings)

    def enhance(self, tasks: list[Task]) -> list[Answer]:
        """Enhances a chunk of photographs from files to files."""
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
