"""The work of `rave-run`, without the parsing and printing around it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rave_runtime.backends.limits import usable_processors
from rave_runtime.cli.places import (
    Ask,
    check_single,
    listed,
    may_replace,
    most_private,
    require_same_place,
    require_writable_file,
    require_writable_folder,
)
from rave_runtime.errors import PhotoError, RaveError, UsageError
from rave_runtime.files.atomic import is_written_into, write_atomically
from rave_runtime.files.entries import digest_of
from rave_runtime.files.location import Location, RemoteFile
from rave_runtime.files.partials import remove_abandoned
from rave_runtime.files.places import Identity, absolute, exists, identity_of, is_folder
from rave_runtime.photos.formats import require_format
from rave_runtime.photos.reading import check_file_size, file_limit_bytes, read_file
from rave_runtime.run.batch import make_batch
from rave_runtime.run.jobs import Job, parse_shard, plan_jobs
from rave_runtime.run.journal import Journal, open_journal
from rave_runtime.run.log import LOG_MARK, REPORT_MARK, Log, write_each
from rave_runtime.run.one_photo import EnhancedPhoto, enhance_content
from rave_runtime.run.options import RunOptions, make_enhancer
from rave_runtime.run.overwriting import claim_free, require_own_text, require_replaceable
from rave_runtime.run.progress import show_progress
from rave_runtime.run.results import Result, Runner

if TYPE_CHECKING:
    from rave_runtime.cli.dry_run import Fate


class ReportError(RaveError):
    """The photographs are done, but the report cannot be written, or the log is incomplete.

    Attributes:
        results: the results that `run_folder` would have returned.
    """

    def __init__(self, message: str, results: list[Result]) -> None:
        super().__init__(message)
        self.results = results


def run_folder(
    source: Location | Sequence[Location],
    output: Location,
    options: RunOptions,
    ask: Ask | None = None,
) -> list[Result]:
    """Enhances a photograph, a folder, or several of either, with a progress bar, log and report if wanted.

    Args:
        source: what to enhance.
        output: where results go; see `plan_jobs`.
        options: the options of the run.
        ask: asks the user whether files may be replaced, for `--overwrite ask`; None answers no.

    Returns:
        A result for each photograph, in order of names.

    Raises:
        ReportError: the work is done, but the report or the log cannot be written, such as on a full disk.
        RaveError: the run could not begin: see `plan_jobs`, `Enhancer` and `rave_runtime.cluster.connect`.
        OSError: the log cannot be opened.
    """
    options.check("folder")
    if not options.overwrites:
        require_own_text("--log", options.log, LOG_MARK)
        require_own_text("--report", options.report, REPORT_MARK)
    for name, file in (("--log", options.log), ("--report", options.report)):
        if (
            file is not None
            and isinstance(output, Path)
            and os.path.realpath(file) == os.path.realpath(output)
        ):
            raise UsageError(
                f"{name} and OUTPUT are one place, {output}: choose another name for one of them"
            )
    jobs, journal, options, output = _prepare(source, output, options)
    if options.report is not None:
        require_writable_file("--report", options.report, most_private(source))
    report_folder = None if options.report is None else identity_of(options.report.parent)
    if options.overwrite == "ask":
        options = dataclasses.replace(
            options, overwrite="always" if may_replace(jobs, journal, ask) else "never"
        )
    if len(jobs) == 1 and not _is_tree(source):
        check_single(jobs[0], journal, options)
    if journal is not None and isinstance(journal.folder, RemoteFile) and options.cluster is None:
        claim_free(journal, jobs)
    with (
        _open_runner(options, journal, len(jobs)) as runner,
        contextlib.closing(Log(options.log, runner.setup)) as log,
    ):
        if _is_tree(source) and isinstance(output, Path) and jobs:
            require_writable_folder("OUTPUT", output, output, most_private(source))
        elif jobs and isinstance(jobs[0].target, Path):
            require_writable_file("OUTPUT", jobs[0].target, most_private(source))
        results: list[Result] = []
        try:
            show_progress(_kept(write_each(runner.run(jobs), log), results), len(jobs))
        except BaseException:
            if options.report is not None and results:  # an interrupted run reports what it has done
                _report(results, options, runner, report_folder)
            raise
    problems = [] if log.problem is None else [log.problem]
    if options.report is not None:
        problems += _report(results, options, runner, report_folder)
    results.sort(key=_name_of)
    if problems:
        raise ReportError("; ".join(problems), results)
    return results


def _name_of(result: Result) -> str:
    return result.job.name


def _kept(results: Iterable[Result], into: list[Result]) -> Iterator[Result]:
    """Passes results on, each after it was put into a list."""
    for result in results:
        into.append(result)
        yield result


def _report(results: list[Result], options: RunOptions, runner: Runner, folder: Identity | None) -> list[str]:
    """Writes the report into the folder that was there before the run; returns why it cannot be, if so."""
    from rave_runtime.run.report import write_report

    assert options.report is not None
    try:
        require_same_place(options.report, folder)
        write_report(options.report, sorted(results, key=_name_of), runner.setup, options)
    except PhotoError as error:
        return [f"the report {error}"]
    return []


def preview_folder(
    source: Location | Sequence[Location], output: Location, options: RunOptions
) -> Iterator[tuple[str, Fate]]:
    """Tells what `run_folder` would do; nothing is written.

    Yields:
        A line of text for each photograph, and what would become of it: see
        `rave_runtime.cli.dry_run.preview_jobs`.

    Raises:
        RaveError: as `run_folder`.
    """
    from rave_runtime.cli.dry_run import preview_jobs

    options.check("folder")
    jobs, journal, options, _ = _prepare(source, output, options, clean=False)
    yield from preview_jobs(jobs, options, make_enhancer(options, 1, usable_processors()), journal)


def _prepare(
    source: Location | Sequence[Location], output: Location, options: RunOptions, clean: bool = True
) -> tuple[list[Job], Journal | None, RunOptions, Location]:
    """Plans the jobs and opens the journal; returns both, and the options and output that the run uses."""
    shard = None if options.shard is None else parse_shard(options.shard)
    tree = _is_tree(source)
    if options.skip_existing and not tree and any(exists(place) for place in listed(source)):
        raise UsageError("--skip-existing is for folders, whose results it remembers: leave it out")
    if options.cluster is not None:  # workers have other working folders
        source = [absolute(place) for place in listed(source)]
        output = absolute(output)
    jobs = plan_jobs(source, output, shard=shard, selection=options.selection, naming=options.naming)
    if tree:
        if clean:
            remove_abandoned(output)
        return jobs, open_journal(output, str(shard or "")), options, output
    target = jobs[0].target if jobs else None  # there is one job, or none if a shard leaves it out
    if not isinstance(target, Path) or is_written_into(target):
        return jobs, None, options, output
    return jobs, open_journal(target.parent), options, output


def _is_tree(source: Location | Sequence[Location]) -> bool:
    """Whether the output is a folder for results: where the input is a folder, or several inputs."""
    places = listed(source)
    return len(places) > 1 or is_folder(places[0])


def run_stream(
    source: Location | BinaryIO, output: Location | BinaryIO, options: RunOptions
) -> tuple[str, ...]:
    """Enhances one photograph from standard input or to standard output.

    Args:
        source: a file, or the stream to read to its end.
        output: a file, or the stream to write to.
        options: the options of the run.

    Returns:
        Notes about the result for the user, a sentence each.

    Raises:
        RaveError: the options do not fit, or the photograph cannot be read, enhanced or written.
        OSError: a stream was closed by the program at its other end.
    """
    options.check("stream")
    format_name = options.format_name
    if isinstance(output, (Path, RemoteFile)):
        format_name = require_format(output, format_name)
    if isinstance(source, (Path, RemoteFile)):
        content = read_file(source, options.max_megapixels)
    else:
        limit = file_limit_bytes(options.max_megapixels)
        content = source.read(limit + 1)
        check_file_size(len(content), limit, options.max_megapixels)
    journal = None
    if isinstance(output, RemoteFile) or (isinstance(output, Path) and not is_written_into(output)):
        journal = open_journal(output.parent) if isinstance(output, Path) and not is_folder(output) else None
        if not options.overwrites:
            require_replaceable(output, journal)
    photo = enhance_bytes(content, options, format_name)
    if isinstance(output, (Path, RemoteFile)):
        if journal is not None:
            journal.claim(output.name, len(photo.content), digest_of(photo.content))
        like = source if isinstance(source, Path) else None
        write_atomically(output, photo.content, like, attributes_of=like if options.keep_times else None)
        if journal is not None:
            journal.add(output.name, "stream", len(photo.content), digest_of(photo.content))
            journal.close()
    else:
        output.write(photo.content)
        output.flush()
    return photo.warnings


def enhance_bytes(content: bytes, options: RunOptions, format: str | None = None) -> EnhancedPhoto:
    """Enhances one photograph from a file's bytes to a file's bytes.

    Args:
        content: the bytes of a file.
        options: the options of the run; those for many photographs have no effect.
        format: the name of the format to write if `options` name none; None keeps the input's.

    Returns:
        The new file's bytes, with its size, format and notes.

    Raises:
        RaveError: the photograph cannot be read, enhanced or written.
    """
    return enhance_content(
        make_enhancer(options, 1, usable_processors()),
        content,
        format=options.format_name or format,
        quality=options.quality,
        max_megapixels=options.max_megapixels,
        least_score=options.least_score,
        again=options.again,
        hdr=options.hdr,
    )


def run_doctor(options: RunOptions) -> str:
    """Returns lines of text that say what is installed, what would be used, and why."""
    from rave_runtime.cli.doctor import diagnose

    return diagnose(lambda: make_enhancer(options, 1, usable_processors()))


@contextlib.contextmanager
def _open_runner(options: RunOptions, journal: Journal | None, jobs: int) -> Iterator[Runner]:
    """Opens what enhances a number of jobs: a batch in this process, or a pool of workers on a cluster."""
    if options.cluster is None:
        yield make_batch(options, journal, jobs)
        return
    from rave_runtime.cluster.connect import open_pool

    try:
        with open_pool(options, options.cluster, journal, jobs) as pool:
            yield pool
    finally:  # workers that were ended during a photograph have left temporary files
        if journal is not None:
            remove_abandoned(journal.folder)
