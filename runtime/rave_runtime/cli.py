"""rave-run: enhances a photograph or a folder of them.

Parsed by argparse: to import typer, which the other commands use, takes a third of the time of a run.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rave_runtime.version import __version__

if TYPE_CHECKING:
    from rave_runtime.run.batch import Result
    from rave_runtime.run.options import RunOptions

_EXIT_SOME_FAILED, _EXIT_WRONG_USE = 1, 2
_EXIT_INTERRUPTED = 130


def main() -> None:
    """Entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that a terminal cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    try:
        sys.exit(_run(sys.argv[1:]))
    except KeyboardInterrupt:
        _say("rave-run: interrupted; finished photographs are whole, --skip-existing resumes", error=True)
        sys.exit(_EXIT_INTERRUPTED)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _wrong_use(f"{message} (rave-run --help tells more)")


def make_parser() -> argparse.ArgumentParser:
    """The parser of all options. Those that are not given are left to the defaults of `RunOptions`."""
    parser = _Parser(
        "rave-run",
        usage="rave-run [OPTIONS] INPUT... OUTPUT",
        description="Enhance backlit photographs: INPUT to OUTPUT, with EXIF, colour profile and tree kept.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    group: Any = parser

    def add(name: str, help: str, **settings: Any) -> None:
        group.add_argument(name, help=help, **settings)

    text = "Photographs, folders, patterns ('*.jpg') or URLs (s3://...) to enhance, or - for standard input; "
    text += "the last is the file, folder or URL to write, or - for standard output."
    add("places", text, nargs="*", metavar="INPUT... OUTPUT")

    group = parser.add_argument_group("The light")
    add("--strength", "0 changes nothing, 1 is the model, up to 2 [default: 1].", type=float, metavar="S")
    add("--model", "The model's bundle [default: the embedded one].", type=_path, metavar="FOLDER")
    text = "Long side for estimating the light, in pixels [default: the model's]."
    add("--working-size", text, type=int, metavar="PX")
    add("--full-resolution", "Estimate the light at full size: exact, and slow.", action="store_true")

    group = parser.add_argument_group("The files")
    add("--format", "Write all as jpeg, png, tiff, webp, bmp, ppm, avif or heif.")
    text = "1 to 100, of lossy formats [default: like the input's]."
    add("--quality", text, type=_number(int, 1, 100), metavar="Q")
    add("--suffix", "Put TEXT behind the names of results, such as _bright.", metavar="TEXT")
    text = "Take only photographs whose name, or a folder's above it, fits; may be repeated."
    add("--include", text, action="append", metavar="PATTERN")
    text = "Leave out photographs whose name, or a folder's above it, fits; may be repeated."
    add("--exclude", text, action="append", metavar="PATTERN")
    text = "Replace files that rave-run did not write: never, ask or always [default: never]."
    add("--overwrite", text, choices=("never", "ask", "always"))
    text = "Give results the photographs' file times and extended attributes [default], or not."
    add("--keep-times", text, action=argparse.BooleanOptionalAction)
    text = "Copy .xmp, .aae and Live Photo .mov files along [default], or not."
    add("--companions", text, action=argparse.BooleanOptionalAction)
    add("--dry-run", "Say what would be done, and what is backlit; write nothing.", action="store_true")
    add("--skip-existing", "Resume: leave results that are there and up to date.", action="store_true")
    add("--watch", "Keep running: enhance what is dropped into INPUT.", action="store_true")
    text = "Append a line of JSON per photograph; - is standard output."
    add("--log", text, type=_local_file, metavar="FILE")
    text = "Write a web page with before/after sliders and timings."
    add("--report", text, type=_local_file, metavar="FILE")
    text = "Refuse larger photographs, in megapixels [default: 300]."
    add("--max-megapixels", text, type=_number(float, 0.0001), metavar="MP")

    group = parser.add_argument_group("The machine")
    add("--device", "auto, cpu, openvino, cuda or tensorrt [default: auto].", metavar="NAME")
    add("--precision", "auto, fp32, fp16 or int8 [default: auto].", metavar="NAME")
    add("--tile-size", "Side of the network's tiles, in pixels.", type=int, metavar="PX")
    text = "For photographs and tiles of one process, in MiB [default: 2048, in a container less]."
    add("--memory-limit", text, type=_number(int, 64), dest="memory_limit_mib", metavar="MIB")
    text = "Photographs in work at a time [default: processors]."
    add("--workers", text, type=_number(int, 1), metavar="N")
    add("--shard", "Take the I-th of N parts, for a job scheduler.", metavar="I/N")
    add("--cluster", "Work on a Ray cluster; 'local' starts one here.", metavar="ADDRESS")
    text = "Processes on the cluster [default: as many as fit]."
    add("--actors", text, type=_number(int, 1), metavar="N")
    add("--doctor", "Print what is installed, what would be used, and why.", action="store_true")
    add("--version", "Print the version.", action="version", version=f"rave-run {__version__}")
    return parser


def _number(kind: type[int] | type[float], least: float, most: float = math.inf) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            limit = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
            raise argparse.ArgumentTypeError(f"{text} is not {limit}")
        return value

    parse.__name__ = kind.__name__  # argparse names it where a text is no number
    return parse


def _local_file(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text} is a URL: give a file of this machine")
    return _path(text)


def _path(text: str) -> Path:
    if not text:  # pathlib takes it for the current folder
        raise argparse.ArgumentTypeError("it is empty: is a variable not set?")
    return Path(text)


def _as_paths(arguments: list[str]) -> list[str]:
    """Arguments after `--` as paths that no parser takes for options, whatever they begin with."""
    if "--" not in arguments:
        return arguments
    at = arguments.index("--")
    names = (f"./{word}" if word.startswith("-") and word != "-" else word for word in arguments[at + 1 :])
    return [*arguments[:at], *names]


def _run(arguments: list[str]) -> int:
    """Does what the arguments ask for; returns the exit code."""
    parser = make_parser()
    if not arguments:
        parser.print_help()
        return _EXIT_WRONG_USE
    values = vars(parser.parse_intermixed_args(_as_paths(arguments)))
    places = values.pop("places", [])
    doctor, watch = values.pop("doctor", False), values.pop("watch", False)
    dry_run = values.pop("dry_run", False)
    full_resolution = values.pop("full_resolution", False)
    if full_resolution and "working_size" in values:
        _wrong_use("--full-resolution and --working-size contradict each other: give one of them")
    if full_resolution:
        values["working_size"] = None
    for name in ("include", "exclude"):
        values[name] = tuple(values.get(name, ()))

    from rave_runtime.errors import PhotoError, RaveError
    from rave_runtime.run.interrupt import heed_signals
    from rave_runtime.run.memory import keep_freed_memory
    from rave_runtime.run.options import RunOptions

    keep_freed_memory()
    heed_signals()
    options = RunOptions(**values)
    try:
        if doctor:
            return _diagnose(options)
        if len(places) < 2:
            _wrong_use("INPUT and OUTPUT are needed: rave-run photos/ enhanced/")
        if not all(places):
            _wrong_use(f"{'INPUT' if '' in places[:-1] else 'OUTPUT'} is empty: is a variable not set?")
        *inputs, output = places
        if "-" in places:
            return _enhance_stream(inputs, output, options, lacks={"--watch": watch, "--dry-run": dry_run})
        if dry_run and watch:
            _wrong_use("--dry-run ends and --watch does not: give one of them")
        if dry_run:
            return _preview(inputs, output, options)
        if watch:
            return _watch(inputs, output, options)
        return _enhance_folder(inputs, output, options)
    except PhotoError as error:
        _say(f"rave-run: the photograph {error}", error=True)
        return _EXIT_SOME_FAILED
    except RaveError as error:
        _wrong_use(str(error))
    except BrokenPipeError:
        _say("rave-run: standard output was closed by its reader", error=True)
        return _EXIT_SOME_FAILED
    except OSError as error:
        _wrong_use(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))


def _diagnose(options: RunOptions) -> int:
    from rave_runtime.command import run_doctor

    found = run_doctor(options)
    print(found)
    return _EXIT_SOME_FAILED if "PROBLEM" in found else 0


def _enhance_stream(inputs: list[str], output: str, options: RunOptions, lacks: dict[str, bool]) -> int:
    """Enhances one photograph from standard input or to standard output."""
    from rave_runtime.command import run_stream
    from rave_runtime.files.location import parse_location

    for option, given in lacks.items():
        if given:
            _wrong_use(f"{option} is for folders, not for standard input or output")
    if len(inputs) > 1:
        _wrong_use("standard input and output carry one photograph: give one INPUT, or a folder as OUTPUT")
    (source,) = inputs
    for name, stream, used in (("input", sys.stdin, source), ("output", sys.stdout, output)):
        if stream is None and used == "-":
            _wrong_use(f"standard {name} is closed")
    warnings = run_stream(
        sys.stdin.buffer if source == "-" else parse_location(source),
        sys.stdout.buffer if output == "-" else parse_location(output),
        options,
    )
    for warning in warnings:
        _say(f"note: {warning}", error=True)
    return 0


def _watch(inputs: list[str], output: str, options: RunOptions) -> int:
    """Goes on until it is interrupted."""
    from rave_runtime.files.location import parse_location
    from rave_runtime.run.progress import notes_of
    from rave_runtime.run.watch import run_watch

    if len(inputs) > 1:
        _wrong_use(f"--watch is for one folder, and {len(inputs)} inputs came: give one")
    aside = _is_standard_output(options)
    for arrival in run_watch(parse_location(inputs[0]), parse_location(output), options):
        _say(_describe(arrival), error=aside or arrival.status == "failed")
        for note in notes_of([arrival]):
            _say(note, error=True)
    return 0


def _preview(inputs: list[str], output: str, options: RunOptions) -> int:
    """Says what a run would do; the exit code is the run's, as far as that can be foreseen."""
    from rave_runtime.command import preview_folder
    from rave_runtime.files.location import parse_location
    from rave_runtime.files.patterns import parse_inputs

    failures = count = 0
    for text, fails in preview_folder(parse_inputs(inputs), parse_location(output), options):
        _say(text, error=fails)
        count, failures = count + 1, failures + fails
    _say(f"{count - failures} of {count} would be enhanced; nothing was written")
    return _EXIT_SOME_FAILED if failures else 0


def _enhance_folder(inputs: list[str], output: str, options: RunOptions) -> int:
    from rave_runtime.command import run_folder
    from rave_runtime.files.location import parse_location
    from rave_runtime.files.patterns import parse_inputs
    from rave_runtime.run.progress import ask_user, notes_of

    place = parse_location(output)
    results = run_folder(parse_inputs(inputs), place, options, ask_user)
    for note in notes_of(results):
        _say(note, error=True)
    failures = [result for result in results if result.status == "failed"]
    for failure in failures:
        _say(_describe(failure), error=True)
    done = [result for result in results if result.status == "done"]
    skipped = len(results) - len(done) - len(failures)
    megapixels = sum(result.width_px * result.height_px for result in done) / 1e6
    line = f"{len(done)} of {len(results)} enhanced into {place} ({megapixels:.1f} megapixels)"
    line += f", {skipped} were there already" if skipped else ""
    _say(line + (f", {len(failures)} failed" if failures else ""), error=_is_standard_output(options))
    return _EXIT_SOME_FAILED if failures else 0


def _is_standard_output(options: RunOptions) -> bool:
    """Whether the log goes to standard output, so that everything else must not."""
    return options.log is not None and str(options.log) == "-"


def _describe(result: Result) -> str:
    if result.status == "failed":
        return f"failed: {result.job.name} {result.error}"
    return f"{result.status}: {result.job.name} ({result.seconds:.2f} s)"


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as people read it, without the place in the code."""
    _say(f"rave-run: {message}", error=True)


def _wrong_use(message: str) -> NoReturn:
    _say(f"rave-run: {message}", error=True)
    sys.exit(_EXIT_WRONG_USE)


def _say(message: str, *, error: bool = False) -> None:
    """Prints a message on one line, as a terminal can show it, whatever names and URLs are in it."""
    from rave_runtime.errors import printable
    from rave_runtime.files.secrets import without_secrets

    line = printable(without_secrets(message))
    stream = sys.stderr if error else sys.stdout
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:  # who read it has gone, and the photographs are done all the same
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
