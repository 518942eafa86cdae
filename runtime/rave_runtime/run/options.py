"""The options of a run, and what they make."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rave_runtime.backends.limits import usable_processors
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import UsageError
from rave_runtime.photos.formats import READ_ENDINGS, parse_format
from rave_runtime.photos.reading import DEFAULT_MAX_MEGAPIXELS
from rave_runtime.run.batch import Batch, ResultJournal, WriteOptions
from rave_runtime.run.jobs import parse_shard
from rave_runtime.run.memory import MemoryBudget, choose_tile_size, default_limit_mib, most_workers

Mode = Literal["folder", "watch", "stream"]


@dataclass(frozen=True)
class RunOptions:
    """The options of `rave-run`, as its help describes them."""

    model: Path | None = None
    strength: float = 1.0
    working_size: int | Literal["recommended"] | None = "recommended"
    tile_size: int | None = None
    precision: str = "auto"
    device: str = "auto"
    format: str | None = None
    quality: int | None = None
    skip_existing: bool = False
    log: Path | None = None
    report: Path | None = None
    memory_limit_mib: int = field(default_factory=default_limit_mib)
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
    workers: int | None = None
    shard: str | None = None
    cluster: str | None = None
    actors: int | None = None

    def check(self, mode: Mode) -> None:
        """Refuses options that contradict each other or make no sense for what is to be done.

        Args:
            mode: what the run works on: "folder" (or one file), "watch" (a folder for as long as the run
                lasts) or "stream" (one photograph from standard input or to standard output).

        Raises:
            UsageError: the message says which options do not fit, and what to do.
        """
        _ = self.format_name
        if self.shard is not None:
            parse_shard(self.shard)
        if self.actors is not None and self.cluster is None:
            raise UsageError("--actors is for a cluster: give --cluster as well, or --workers")
        for name, file in (("--log", self.log), ("--report", self.report)):
            if file is not None and file.suffix.lower() in READ_ENDINGS:
                raise UsageError(f"{name} {file} has the name of a photograph: choose another")
        if mode == "stream":
            self._check_stream()
        elif mode == "watch":
            self._check_watch()

    def _check_stream(self) -> None:
        if self.cluster is not None or self.shard is not None:
            raise UsageError("--cluster and --shard are for folders, not for standard input or output")
        if self.skip_existing or self.log is not None or self.report is not None:
            raise UsageError(
                "--skip-existing, --log and --report are for folders, not for standard input or output"
            )

    def _check_watch(self) -> None:
        if self.cluster is not None or self.shard is not None:
            raise UsageError("--watch works on one machine, with all photographs: no --cluster, no --shard")
        if self.report is not None:
            raise UsageError("--report is written when a run ends, and --watch does not end: use --log")

    @property
    def format_name(self) -> str | None:
        """The name that the table of formats has for `format`; None keeps each photograph's own format.

        Raises:
            UsageError: no written format has that name.
        """
        return None if self.format is None else parse_format(self.format)


def make_batch(
    options: RunOptions, journal: ResultJournal | None, jobs: int, processors: int | None = None
) -> Batch:
    """The batch that these options describe.

    Args:
        options: of the run.
        journal: of the results, if there is one.
        jobs: how many photographs there are, so that no more workers are made.
        processors: to use; None is all that there are.

    Raises:
        RaveError: as `Enhancer`.
    """
    processors = processors or usable_processors()
    workers = options.workers or max(1, min(processors, jobs, most_workers(options.memory_limit_mib)))
    return Batch(
        make_enhancer(options, workers, max(1, processors // workers)),
        WriteOptions(options.format_name, options.quality, options.max_megapixels),
        workers,
        MemoryBudget(options.memory_limit_mib * 2**20),
        journal,
        options.skip_existing,
    )


def make_enhancer(options: RunOptions, workers: int, threads: int) -> Enhancer:
    """The enhancer that these options describe.

    Args:
        options: of the run.
        workers: photographs in work at a time, which share the memory limit.
        threads: processors for each call of the network.

    Raises:
        RaveError: as `Enhancer`, or the memory limit is too small for so many workers.
    """
    tile_size = options.tile_size
    if tile_size is None:
        tile_size = choose_tile_size(options.memory_limit_mib, workers)
    return Enhancer(
        options.model,
        precision=options.precision,
        device=options.device,
        working_size=options.working_size,
        tile_size=tile_size,
        strength=options.strength,
        threads=threads,
    )
