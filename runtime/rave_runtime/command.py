"""What `rave-run` does, without the parsing and printing around it."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rave_runtime.backends.limits import usable_processors
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.files.atomic import is_written_into, remove_abandoned, write_atomically
from rave_runtime.files.location import Location, RemoteFile
from rave_runtime.photos.encode import Encoded, encode_photo
from rave_runtime.photos.formats import output_format, require_format
from rave_runtime.photos.reading import read_file, read_photo
from rave_runtime.run.batch import Result, Runner
from rave_runtime.run.jobs import parse_shard, plan_jobs
from rave_runtime.run.journal import Journal, open_journal
from rave_runtime.run.log import open_log, write_each
from rave_runtime.run.options import RunOptions, make_batch, make_enhancer
from rave_runtime.run.progress import show_progress


def run_folder(source: Location, output: Location, options: RunOptions) -> list[Result]:
    """Enhances a photograph or a folder, with a progress bar, log and report if wanted.

    Returns:
        A result for each photograph, in order of names.

    Raises:
        RaveError: nothing could be begun: see `plan_jobs`, `Enhancer` and `rave_runtime.cluster.connect`.
        OSError: the log or the report cannot be written.
    """
    options.check("folder")
    shard = None if options.shard is None else parse_shard(options.shard)
    if options.report is not None:
        _require_writable("--report", options.report)
    if options.skip_existing and not source.is_dir() and source.exists():
        raise UsageError("--skip-existing is for folders, whose results it remembers: leave it out")
    if options.cluster is not None:  # workers have working folders of their own
        source, output = (
            place.absolute() if isinstance(place, Path) else place for place in (source, output)
        )
    jobs = plan_jobs(source, output, options.format_name, shard=shard)
    journal = None
    if source.is_dir():
        remove_abandoned(output)
        journal = open_journal(output, str(shard or ""))
    with (
        _open_runner(options, journal, len(jobs)) as runner,
        open_log(options.log, runner.setup) as write_line,
    ):
        first = output / ".probe" if source.is_dir() else jobs[0].target if jobs else output
        if jobs and isinstance(first, Path):
            _require_writable("OUTPUT", first)
        results = show_progress(write_each(runner.run(jobs), write_line), len(jobs))
    if options.report is not None:
        from rave_runtime.run.report import write_report

        try:
            write_report(options.report, results, runner.setup)
        except PhotoError as error:  # the photographs are done all the same, and are what was wanted
            warnings.warn(f"the report {error}", stacklevel=2)
    return results


def _require_writable(name: str, file: Path) -> None:
    """Before hours of work.

    Raises:
        UsageError: a file cannot be made there.
    """
    if file.is_dir():
        raise UsageError(f"{name} {file} is a folder: name the file to write")
    if is_written_into(file):
        return
    probe = file.with_name(f".{os.getpid()}.rave-partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"{name} {file} cannot be written: {error.strerror or error}") from error


def run_stream(
    source: Location | BinaryIO, output: Location | BinaryIO, options: RunOptions
) -> tuple[str, ...]:
    """Enhances one photograph from standard input or to standard output.

    Args:
        source: a file, or the stream to read to its end.
        output: a file, or the stream to write to.
        options: of the run.

    Returns:
        What a user should know of the result, a sentence each.

    Raises:
        RaveError: the options do not fit, or the photograph cannot be read, enhanced or written.
        OSError: a stream was closed by the program at its other end.
    """
    options.check("stream")
    wanted = options.format_name
    if isinstance(output, (Path, RemoteFile)):
        wanted = require_format(output, wanted)
    if isinstance(source, (Path, RemoteFile)):
        content = read_file(source, options.max_megapixels)
    else:
        content = source.read()
    encoded = enhance_bytes(content, options, wanted)
    if isinstance(output, (Path, RemoteFile)):
        write_atomically(output, encoded.content)
    else:
        output.write(encoded.content)
        output.flush()
    return encoded.warnings


def enhance_bytes(content: bytes, options: RunOptions, format: str | None = None) -> Encoded:
    """Enhances one photograph from a file's bytes to a file's bytes.

    Args:
        content: the bytes of a file.
        options: of the run; those for many photographs do not matter.
        format: the name of the format to write where `options` name none; None keeps the input's.

    Returns:
        The new file's bytes, and what a user should know of it.

    Raises:
        RaveError: it cannot be read, enhanced or written.
    """
    wanted = options.format_name or format
    photo = read_photo(content, options.max_megapixels)
    enhancer = make_enhancer(options, 1, usable_processors())
    format_ = output_format(photo.format, wanted)
    encoded = encode_photo(photo, enhancer.enhance_photo(photo), format_, options.quality)
    return Encoded(encoded.content, photo.warnings + encoded.warnings)


def run_doctor(options: RunOptions) -> str:
    """What is installed, what would be used, and why, as lines of text."""
    from rave_runtime.run.doctor import diagnose

    return diagnose(lambda: make_enhancer(options, 1, usable_processors()))


@contextlib.contextmanager
def _open_runner(options: RunOptions, journal: Journal | None, jobs: int) -> Iterator[Runner]:
    if options.cluster is None:
        yield make_batch(options, journal, jobs)
        return
    from rave_runtime.cluster.connect import open_pool

    with open_pool(options, options.cluster, journal, jobs) as pool:
        yield pool
