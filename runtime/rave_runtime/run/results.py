"""What a run over many photographs tells of each of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from rave_runtime.backends.devices import Setup
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import RaveError
from rave_runtime.files.atomic import PartialFile
from rave_runtime.run.jobs import Job
from rave_runtime.run.options import RunOptions

Status = Literal["done", "copied", "skipped", "failed"]


@dataclass(frozen=True)
class Result:
    """What became of one photograph.

    Attributes:
        job: the photograph's job.
        status: "done", "copied" (not backlit, or enhanced before), "skipped" (it was up to date) or "failed".
        error: why it failed.
        warnings: what a user should know of it.
        width_px, height_px: upright size, 0 where it was not read.
        seconds: the time from opening the file to renaming the result, with what it waited for the disk.
        worker: which process of a cluster made it; "" is this one.
        backlit: how backlit it is, from 0 to 1, where its light was estimated: see `Enhancer.backlit_score`.
        enhanced_before: whether the photograph was marked as enhanced.
    """

    job: Job
    status: Status
    error: str | None = None
    warnings: tuple[str, ...] = ()
    width_px: int = 0
    height_px: int = 0
    seconds: float = 0.0
    worker: str = ""
    backlit: float | None = None
    enhanced_before: bool = False


class Written(NamedTuple):
    """A result all of whose bytes are written.

    Attributes:
        result: what will be told of it.
        start_s: when its work began.
        file: the temporary file that holds the bytes; None where they are in their place.
        entry: name, key, size and digest for the journal.
    """

    result: Result
    start_s: float
    file: PartialFile | None
    entry: tuple[str, str, int, str]


class Runner(Protocol):
    """The interface of what enhances files: a batch of this process, or the workers of a cluster."""

    @property
    def setup(self) -> Setup:
        """The device, precision and working size that the run uses."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Yields the result of each job as soon as it is there."""


def failed_result(job: Job, error: Exception, start_s: float) -> Result:
    """Returns the result of a photograph that an error has ended."""
    if isinstance(error, RaveError):
        reason = str(error)
    elif isinstance(error, MemoryError):
        reason = "does not fit into memory"
    else:  # a bug of rave-run, which must not end the other photographs
        reason = f"hit a bug in rave-run, please report it: {type(error).__name__}: {error}"
    return Result(job, "failed", reason, seconds=time.perf_counter() - start_s)


def settings_of(enhancer: Enhancer, options: RunOptions) -> str:
    """Returns everything that decides a result besides the photograph, as one line."""
    settings = f"{enhancer.settings} format={options.format_name} quality={options.quality}"
    settings += " again" * options.again + " hdr" * options.hdr
    return f"{settings} least_score={options.least_score}" if options.least_score else settings
