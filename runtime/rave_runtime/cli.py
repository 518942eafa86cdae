"""rave-run: enhances a photograph or a folder of them."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from rave_runtime.batch import Result

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_EXIT_SOME_FAILED = 1
_EXIT_WRONG_USE = 2
_EXIT_INTERRUPTED = 130


@app.command(no_args_is_help=True)
def run(
    source: Annotated[
        str | None,
        typer.Argument(metavar="INPUT", help="A photograph, a folder of them, a URL (s3://...), or -."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Argument(metavar="OUTPUT", help="File, folder or URL to write, or - for standard output."),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Bundle folder [default: the embedded model].")] = None,
    strength: Annotated[float, typer.Option(help="0 changes nothing, 1 is the model, up to 2.")] = 1.0,
    working_size: Annotated[
        int | None, typer.Option(help="Long side for estimating the light, in pixels [default: the model's].")
    ] = None,
    full_resolution: Annotated[
        bool, typer.Option("--full-resolution", help="Estimate the light at full size: exact, and slow.")
    ] = False,
    tile_size: Annotated[int | None, typer.Option(help="Side of the network's tiles, in pixels.")] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or int8.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, openvino, cuda or tensorrt.")] = "auto",
    format: Annotated[
        str | None, typer.Option(help="Write all as: jpeg, png, tiff, webp, bmp, ppm, avif, heif.")
    ] = None,
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="Of lossy formats [default: like the input's].")
    ] = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Resume: leave results that are there and up to date.")
    ] = False,
    log: Annotated[str | None, typer.Option(help="Append a line of JSON per photograph.")] = None,
    report: Annotated[
        str | None, typer.Option(help="Write a web page with before/after sliders and timings.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep running: enhance what is dropped into INPUT.")
    ] = False,
    memory_limit: Annotated[
        int, typer.Option(min=64, help="For photographs and tiles of one process, in MiB.")
    ] = 2048,
    max_megapixels: Annotated[
        float, typer.Option(min=0.0001, help="Refuse larger photographs, in megapixels.")
    ] = 300.0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Photographs in work at a time [default: processors].")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Take the I-th of N parts, for a job scheduler.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Work on a Ray cluster; 'local' starts one here."),
    ] = None,
    actors: Annotated[
        int | None, typer.Option(min=1, help="Processes on the cluster [default: as many as fit].")
    ] = None,
    doctor: Annotated[
        bool, typer.Option("--doctor", help="Print what is installed, what would be used, and why.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Enhance backlit photographs: INPUT to OUTPUT, with EXIF, colour profile and tree kept."""
    if version:
        from rave_runtime import __version__

        typer.echo(f"rave-run {__version__}")
        return
    from rave_runtime.command import RunOptions, run_doctor, run_folder, run_stream, run_watch
    from rave_runtime.errors import PhotoError, RaveError
    from rave_runtime.folder import require_format, write_atomically
    from rave_runtime.memory import keep_freed_memory
    from rave_runtime.photo import read_file
    from rave_runtime.remote import parse_location

    keep_freed_memory()
    options = RunOptions(
        model=model,
        strength=strength,
        working_size=None if full_resolution else "recommended" if working_size is None else working_size,
        tile_size=tile_size,
        precision=precision,
        device=device,
        format=format,
        quality=quality,
        skip_existing=skip_existing,
        log=None if log is None else Path(log),
        report=None if report is None else Path(report),
        memory_limit_mib=memory_limit,
        max_megapixels=max_megapixels,
        workers=workers,
        shard=shard,
        cluster=cluster,
        actors=actors,
    )
    for name, file in (("--log", log), ("--report", report)):
        if file is not None and "://" in file:
            _wrong_use(f"{name} is a file of this machine, not a URL")
    if actors is not None and cluster is None:
        _wrong_use("--actors is for a cluster: give --cluster as well, or --workers")
    if full_resolution and working_size is not None:
        _wrong_use("--full-resolution and --working-size contradict each other: give one of them")
    try:
        if doctor:
            found = run_doctor(options)
            typer.echo(found)
            if "PROBLEM" in found:
                sys.exit(_EXIT_SOME_FAILED)
            return
        if source is None or output is None:
            _wrong_use("INPUT and OUTPUT are needed: rave-run photos/ enhanced/")
        if source == "-" or output == "-":
            if cluster is not None or shard is not None:
                _wrong_use("--cluster and --shard are for folders, not for standard input or output")
            if watch or skip_existing or log is not None or report is not None:
                _wrong_use(
                    "--watch, --skip-existing, --log and --report are for folders, not for standard input "
                    "or output"
                )
            place = parse_location(source)
            wanted = None if output == "-" else require_format(parse_location(output), options.pillow_format)
            content = sys.stdin.buffer.read() if source == "-" else read_file(place, max_megapixels)
            encoded = run_stream(content, options, wanted)
            for warning in encoded.warnings:
                typer.echo(f"note: {warning}", err=True)
            if output == "-":
                sys.stdout.buffer.write(encoded.content)
            else:
                write_atomically(parse_location(output), encoded.content)
            return
        place, into = parse_location(source), parse_location(output)
        if watch:
            for arrival in run_watch(place, into, options):
                typer.echo(_describe(arrival), err=arrival.status == "failed")
                for warning in arrival.warnings:
                    typer.echo(f"note: {_one_line(arrival.job.name)}: {warning}", err=True)
            return
        results = run_folder(place, into, options)
    except KeyboardInterrupt:  # typer would end without a word
        typer.echo("rave-run: interrupted; finished photographs are whole, --skip-existing resumes", err=True)
        sys.exit(_EXIT_INTERRUPTED)
    except PhotoError as error:
        typer.echo(_one_line(f"rave-run: the photograph {error}"), err=True)
        sys.exit(_EXIT_SOME_FAILED)
    except RaveError as error:
        _wrong_use(str(error))
    except OSError as error:
        _wrong_use(f"{error.filename or ''} {error.strerror or error}".strip())
    sys.exit(_EXIT_SOME_FAILED if _summarise(results, output) else 0)


def main() -> None:
    """Entry point."""
    warnings.showwarning = _show_warning
    app(prog_name="rave-run")


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as people read it, without the place in the code."""
    typer.echo(f"rave-run: {_one_line(str(message))}", err=True)


def _summarise(results: list[Result], output: str) -> bool:
    """Prints notes, failures and a line of totals; says whether anything failed."""
    for result in results:
        for warning in result.warnings:
            typer.echo(f"note: {_one_line(result.job.name)}: {warning}", err=True)
    failures = [result for result in results if result.status == "failed"]
    for failure in failures:
        typer.echo(_describe(failure), err=True)
    done = [result for result in results if result.status == "done"]
    skipped = len(results) - len(done) - len(failures)
    megapixels = sum(result.width_px * result.height_px for result in done) / 1e6
    line = f"{len(done)} of {len(results)} enhanced into {_one_line(output)} ({megapixels:.1f} megapixels)"
    line += f", {skipped} were there already" if skipped else ""
    typer.echo(line + (f", {len(failures)} failed" if failures else ""))
    return bool(failures)


def _describe(result: Result) -> str:
    if result.status == "failed":
        return _one_line(f"failed: {result.job.name} {result.error}")
    return f"{result.status}: {_one_line(result.job.name)} ({result.seconds:.2f} s)"


def _one_line(name: str) -> str:
    """A message as a terminal can show it, whatever names are in it."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)


def _wrong_use(message: str) -> NoReturn:
    typer.echo(f"rave-run: {_one_line(message)}", err=True)
    sys.exit(_EXIT_WRONG_USE)
