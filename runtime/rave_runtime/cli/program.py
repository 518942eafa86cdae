"""The program rave-run: parses the arguments, calls the work, prints, and returns the exit code."""

from __future__ import annotations

import errno
import gc
import io
import os
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rave_runtime.backends.limits import fit_libraries
from rave_runtime.cli.messages import (
    EXIT_SOME_FAILED,
    EXIT_WRONG_USE,
    has_reader_gone,
    name_options,
    put,
    say,
    wrong_use,
)
from rave_runtime.cli.parser import as_paths, make_parser

if TYPE_CHECKING:
    from rave_runtime.cli.dry_run import Fate
    from rave_runtime.run.options import RunOptions
    from rave_runtime.run.results import Result


def run(arguments: list[str]) -> int:
    """Does what the arguments of the command line ask for; returns the exit code.

    Raises:
        KeyboardInterrupt: a signal ended the run.
    """
    fit_libraries(multiplies=False)
    if sys.stderr is None:  # closed by whoever started the program: messages go nowhere, the work goes on
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names that a terminal cannot show must not end a run
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    from rave_runtime.run.interrupt import heed_signals, was_interrupted

    heed_signals()
    try:
        return _run(arguments)
    except Exception as error:
        if was_interrupted():  # libraries turn an interrupt during their import into other errors
            raise KeyboardInterrupt from error
        raise


def _run(arguments: list[str]) -> int:
    """Parses the arguments, chooses the work that they ask for, and returns its exit code."""
    parser = make_parser()
    if not arguments:
        parser.print_help()
        return EXIT_WRONG_USE
    values = vars(parser.parse_intermixed_args(as_paths(arguments)))
    places = values.pop("places", [])
    doctor, watch = values.pop("doctor", False), values.pop("watch", False)
    dry_run = values.pop("dry_run", False)
    film = values.pop("film", False)
    full_resolution = values.pop("full_resolution", False)
    if full_resolution and "working_size" in values:
        wrong_use("--full-resolution and --working-size contradict each other: give one of them")
    if full_resolution:
        values["working_size"] = None
    for name in ("include", "exclude"):
        values[name] = tuple(values.get(name, ()))

    from rave_runtime.errors import PhotoError, RaveError
    from rave_runtime.run.memory import keep_freed_memory
    from rave_runtime.run.options import RunOptions

    keep_freed_memory()
    gc.enable()
    options = RunOptions(**values)
    try:
        if doctor:
            return _diagnose(options)
        if len(places) < 2:
            wrong_use("INPUT and OUTPUT are needed: rave-run photos/ enhanced/")
        if not all(places):
            wrong_use(f"{'INPUT' if '' in places[:-1] else 'OUTPUT'} is empty: is a variable not set?")
        *inputs, output = places
        one_film = _single_film(inputs, output, is_given=film)
        if one_film is not None:
            if dry_run or watch:
                wrong_use("--dry-run and --watch are for photographs and folders: leave them out for a film")
            from rave_runtime.cli.film import enhance_one_film

            return enhance_one_film(one_film, output, options)
        if options.film_encoder is not None and not _may_hold_films(inputs):
            wrong_use("--film-encoder is for films: name one as INPUT, or give --film for standard input")
        if "-" in places:
            return _enhance_stream(inputs, output, options, lacks={"--watch": watch, "--dry-run": dry_run})
        if dry_run and watch:
            wrong_use("--dry-run ends and --watch does not: give one of them")
        if dry_run:
            return _preview(inputs, output, options)
        if watch:
            return _watch(inputs, output, options)
        return _enhance_folder(inputs, output, options)
    except PhotoError as error:
        say(f"rave-run: the photograph {error}", error=True)
        return EXIT_SOME_FAILED
    except RaveError as error:
        wrong_use(name_options(str(error)))
    except OSError as error:
        if has_reader_gone(error):
            say("rave-run: standard output was closed by its reader", error=True)
            return EXIT_SOME_FAILED
        if error.errno == errno.ENOSPC and error.filename is None:  # files that are full are named
            say("rave-run: standard output cannot be written: no space is left there", error=True)
            return EXIT_SOME_FAILED
        wrong_use(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))


def _diagnose(options: RunOptions) -> int:
    from rave_runtime.cli.command import run_doctor

    report = run_doctor(options)
    put(report)
    return EXIT_SOME_FAILED if "PROBLEM" in report else 0


def _enhance_stream(inputs: list[str], output: str, options: RunOptions, lacks: dict[str, bool]) -> int:
    """Enhances one photograph from standard input or to standard output, which lacks some options."""
    from rave_runtime.cli.command import run_stream
    from rave_runtime.cli.places import require_open_streams
    from rave_runtime.files.location import parse_location

    for option, is_set in lacks.items():
        if is_set:
            wrong_use(f"{option} is for folders, not for standard input or output")
    if len(inputs) > 1:
        wrong_use("standard input and output carry one photograph: give one INPUT, or a folder as OUTPUT")
    (source,) = inputs
    if source != "-" and Path(source).is_dir():
        wrong_use(f"{source} is a folder, standard output carries one photograph: give a folder as OUTPUT")
    require_open_streams(source, output)
    warnings = run_stream(
        sys.stdin.buffer if source == "-" else parse_location(source),
        sys.stdout.buffer if output == "-" else parse_location(output),
        options,
    )
    for warning in warnings:
        say(f"note: {warning}", error=True)
    return 0


def _names_film(inputs: list[str]) -> bool:
    """Whether an input has the name of a film and is not a folder."""
    from rave_runtime.films.containers import is_film

    return any(is_film(name) and not Path(name).is_dir() for name in inputs)


def _may_hold_films(inputs: list[str]) -> bool:
    """Whether an input is a film, a folder or a pattern, which may stand for films."""
    return _names_film(inputs) or any(Path(name).is_dir() or set(name) & set("*?[") for name in inputs)


def _single_film(inputs: list[str], output: str, *, is_given: bool) -> str | None:
    """Returns the one film to enhance alone; None where the inputs are photographs, folders or several films.

    Args:
        inputs: the inputs of the command line. A pattern that fits one film stands for it where the output
            has the name of a film; otherwise it goes into a folder, as those of photographs do.
        output: its output.
        is_given: whether `--film` says that the input is a film.
    """
    from rave_runtime.files.patterns import parse_inputs
    from rave_runtime.files.places import exists
    from rave_runtime.films.containers import is_film

    if len(inputs) == 1:
        (text,) = inputs
        if not set(text) & set("*?[") or exists(Path(text)):
            return text if is_given or _names_film(inputs) else None
        if is_given or (is_film(output) and not Path(output).is_dir()):
            (found, *others) = parse_inputs(inputs)
            if not others and isinstance(found, Path) and (is_given or is_film(found.name)):
                return str(found)
    if is_given:
        wrong_use("films are enhanced one by one: give one INPUT")
    return None


def _watch(inputs: list[str], output: str, options: RunOptions) -> int:
    """Enhances what is put into the input folder, until the program is interrupted."""
    from rave_runtime.cli.places import require_writable_folder
    from rave_runtime.files.location import parse_location
    from rave_runtime.files.places import is_folder
    from rave_runtime.run.progress import notes_of
    from rave_runtime.run.watch import run_watch

    if len(inputs) > 1:
        wrong_use(f"--watch is for one folder, and {len(inputs)} inputs came: give one")
    logs_to_output = _is_standard_output(options)
    place = parse_location(output)

    def say_ready() -> None:
        if is_folder(place) and isinstance(place, Path):
            require_writable_folder("OUTPUT", place, place, None)
        say(
            f"what is put into {inputs[0]} is enhanced into {output}; Ctrl-C ends this",
            error=True,
        )

    for arrival in run_watch(parse_location(inputs[0]), place, options, say_ready):
        say(_describe(arrival), error=logs_to_output or arrival.status == "failed")
        for note in notes_of([arrival]):
            say(note, error=True)
    return 0


def _preview(inputs: list[str], output: str, options: RunOptions) -> int:
    """Prints what a run would do; returns the exit code that the run would have, as far as that is known."""
    from rave_runtime.cli.command import preview_folder
    from rave_runtime.cli.places import require_folder_name
    from rave_runtime.files.location import parse_location
    from rave_runtime.files.patterns import parse_inputs

    if options.log is not None or options.report is not None:
        wrong_use("--dry-run writes nothing: leave --log and --report out")
    sources = parse_inputs(inputs)
    require_folder_name(sources, output)
    fates: Counter[Fate] = Counter()
    for text, fate in preview_folder(sources, parse_location(output), options):
        say(text, error=fate == "failed")
        fates[fate] += 1
    line = f"{fates['enhanced']} of {fates.total()} would be enhanced"
    line += f", {fates['copied']} copied" * bool(fates["copied"])
    line += f", {fates['skipped']} skipped" * bool(fates["skipped"])
    line += f", {fates['failed']} would fail" * bool(fates["failed"])
    say(f"{line}; nothing was written")
    return EXIT_SOME_FAILED if fates["failed"] else 0


def _enhance_folder(inputs: list[str], output: str, options: RunOptions) -> int:
    """Enhances the inputs into a folder or file, prints the outcome and returns the exit code."""
    gc.disable()
    from rave_runtime.cli.command import ReportError, run_folder
    from rave_runtime.cli.places import require_folder_name
    from rave_runtime.files.location import parse_location
    from rave_runtime.files.patterns import parse_inputs
    from rave_runtime.films.containers import is_film
    from rave_runtime.run.interrupt import was_interrupted
    from rave_runtime.run.progress import ask_user, notes_of

    if was_interrupted():  # Python only prints what is raised in some of its own calls
        raise KeyboardInterrupt
    gc.freeze()  # what the modules made is no garbage: later collections need not walk over it
    gc.enable()
    sources, place = parse_inputs(inputs), parse_location(output)
    require_folder_name(sources, output)
    report_error = None
    try:
        results = run_folder(sources, place, options, ask_user)
    except ReportError as error:  # the photographs are done nevertheless
        results, report_error = error.results, error
    for note in notes_of(results):
        say(note, error=True)
    failures = [result for result in results if result.status == "failed"]
    for failure in failures:
        say(_describe(failure), error=True)
    done = [result for result in results if result.status == "done"]
    copied = [result.enhanced_before for result in results if result.status == "copied"]
    skipped = sum(result.status == "skipped" for result in results)
    films = [result for result in done if is_film(result.job.source.name)]
    megapixels = sum(each.width_px * each.height_px for each in done if each not in films) / 1e6
    many = f", {len(films)} film{'s' * (len(films) > 1)}" * bool(films)
    line = f"{len(done)} of {len(results)} enhanced into {place} ({megapixels:.1f} megapixels{many})"
    line += f", {copied.count(False)} left as is (not backlit)" * (False in copied)
    line += f", {copied.count(True)} left as is (enhanced before: see --again)" * (True in copied)
    line += f", {skipped} already up to date" * bool(skipped)
    say(line + (f", {len(failures)} failed" if failures else ""), error=_is_standard_output(options))
    if report_error is not None:
        say(f"rave-run: {report_error}", error=True)
    return EXIT_SOME_FAILED if failures or report_error else 0


def _is_standard_output(options: RunOptions) -> bool:
    """Whether the log goes to standard output, so that messages must go elsewhere."""
    return options.log is not None and str(options.log) == "-"


def _describe(result: Result) -> str:
    if result.status == "failed":
        return f"failed: {result.job.name} {result.error}"
    return f"{result.status}: {result.job.name} ({result.seconds:.2f} s)"


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Prints a warning without its place in the code."""
    say(f"rave-run: {message}", error=True)
