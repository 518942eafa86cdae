"""Enhancing many photographs: each worker takes one through reading, light, division and writing.

On a CPU the workers are as many as processors and the network runs on one thread in each: decoding
and encoding then overlap with inference by themselves, nothing waits for a barrier inside a
convolution, and the number of workers bounds the memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice

from rave_runtime.encode import encode_photo, output_format
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import RaveError
from rave_runtime.folder import Job, format_of, write_atomically
from rave_runtime.photo import DEFAULT_MAX_MEGAPIXELS, Photo, read_photo


@dataclass(frozen=True)
class WriteOptions:
    """How results are encoded.

    Attributes:
        format: a name in `rave_runtime.encode.WRITABLE`; None is what the target's name says.
        quality: of lossy formats, 1 to 100; None keeps a JPEG's own.
        max_megapixels: larger photographs are refused.
    """

    format: str | None = None
    quality: int | None = None
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS


@dataclass(frozen=True)
class Result:
    """What became of one photograph.

    Attributes:
        job: which one.
        error: why it failed; None where it was written.
        warnings: what a user should know of it.
        width_px, height_px: upright size, 0 where it was not read.
        seconds: from opening the file to renaming the result.
    """

    job: Job
    error: str | None
    warnings: tuple[str, ...]
    width_px: int
    height_px: int
    seconds: float


def enhance_file(enhancer: Enhancer, job: Job, options: WriteOptions) -> Result:
    """One photograph from file to file. Whatever is wrong with it is in the result, not raised."""
    started = time.perf_counter()
    photo: Photo | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    try:
        photo = read_photo(job.source, options.max_megapixels)
        pixels = enhancer.enhance_photo(photo)
        format_ = options.format or format_of(job.target) or output_format(photo.format)
        encoded = encode_photo(photo, pixels, format_, options.quality)
        write_atomically(job.target, encoded.content)
        notes = photo.warnings + encoded.warnings
    except RaveError as problem:
        error = str(problem)
    except MemoryError:
        error = "does not fit into memory"
    height, width = photo.pixels.shape[:2] if photo is not None else (0, 0)
    return Result(job, error, notes, width, height, time.perf_counter() - started)


def enhance_files(
    enhancer: Enhancer,
    jobs: Iterable[Job],
    options: WriteOptions | None = None,
    workers: int = 1,
    cancelled: threading.Event | None = None,
) -> Iterator[Result]:
    """Enhances photographs side by side and yields each result when it is there.

    Args:
        enhancer: shared by all workers.
        jobs: taken as workers come free, never all at once.
        options: how results are written.
        workers: photographs in work at a time.
        cancelled: when set, photographs in work are finished and no further one is begun.
    """
    options = options or WriteOptions()
    pending: set[Future[Result]] = set()
    remaining = iter(jobs)
    with ThreadPoolExecutor(workers, "rave") as pool:
        while True:
            if cancelled is None or not cancelled.is_set():
                for job in islice(remaining, workers + 1 - len(pending)):
                    pending.add(pool.submit(enhance_file, enhancer, job, options))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
