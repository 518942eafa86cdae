"""`python -m benchmarks`: one command per quantity, and `all`."""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from benchmarks.options import (
    Backlit,
    Device,
    Inputs,
    Limit,
    MemoryCap,
    Methods,
    Model,
    Output,
    Quick,
    Sizes,
    Threads,
    Truths,
    Weights,
    WellLit,
)
from benchmarks.records.results import FOLDER, PAGE, read_results
from benchmarks.studies import STUDIES
from rave_runtime.backends.limits import usable_processors

if TYPE_CHECKING:
    from benchmarks.suites.contest import Row
    from benchmarks.suites.suites import Request

QUANTITIES = {
    "latency": "Time of every method over sizes, providers and precisions.",
    "memory": "Peak memory of every method over sizes, each alone.",
    "scale": "Batches and threads.",
    "tiling": "Tile sizes of our runtime at full resolution: time, memory, error against no tiles.",
    "roofline": "Share of the machine's measured limits that networks and providers reach.",
}
"""Commands that measure one quantity of every method, with their help."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


def _add_quantity(name: str, help: str) -> None:
    """Adds the command that measures one quantity of every method."""

    def run(
        quick: Quick = False,
        device: Device = "cpu",
        threads: Threads = 0,
        model: Model = None,
        method: Methods = None,
        size: Sizes = None,
        memory_cap: MemoryCap = None,
        output: Output = FOLDER,
    ) -> None:
        _run(name, _request(quick, device, threads, model, method, size, memory_cap), output)

    app.command(name, help=help)(run)


for _name, _help in QUANTITIES.items():
    _add_quantity(_name, _help)


@app.command()
def quality(
    photographs: Annotated[Path, typer.Argument(help="Folder of backlit photographs.")],
    truths: Annotated[Path, typer.Argument(help="Folder of the ground truth, by the same names.")],
    quick: Quick = False,
    device: Device = "cpu",
    threads: Threads = 0,
    model: Model = None,
    method: Methods = None,
    weights: Weights = None,
    limit: Limit = None,
    output: Output = FOLDER,
) -> None:
    """PSNR, SSIM, LPIPS and time of every method over pairs."""
    request = _request(quick, device, threads, model, method, None, None)
    _run_quality(request, photographs, truths, weights, limit, output)


def _add_study(name: str, module: str, help: str) -> None:
    """Adds a study as a command whose options the study parses itself."""

    def run(context: typer.Context) -> None:
        from rave_runtime import RaveError

        try:
            importlib.import_module(module).main(list(context.args))
        except (OSError, ValueError, RaveError) as error:
            _fail(str(error))

    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(name, help=help, add_help_option=False, context_settings=settings)(run)


for _name, (_module, _help) in STUDIES.items():
    _add_study(_name, _module, _help)


@app.command("quality-real")
def quality_real(
    scenes: Annotated[
        Path, typer.Argument(help="Folder of NAME-0.jpg (darkest) to -3.jpg and the truth NAME.png.")
    ],
    well_lit: WellLit = None,
    backlit: Backlit = None,
    checkpoint: Annotated[list[Path] | None, typer.Option(help="Another network; may be repeated.")] = None,
    part: Annotated[str, typer.Option(help="Scenes: all, steering or aside (every third).")] = "all",
    precision: Annotated[str, typer.Option(help="Precision of the bundle: fp32, fp16 or int8.")] = "int8",
    model: Model = None,
    output: Output = FOLDER,
) -> None:
    """Quality on real scenes by exposure; what becomes of well-lit, low-key and backlit pictures."""
    from benchmarks.records.recording import record_result
    from benchmarks.suites.real_quality import find_all, measure_real
    from rave_runtime import RaveError

    request = _request(False, "cpu", 0, model, None, None, None)
    try:
        pictures = find_all(scenes, well_lit or (), backlit or (), part)
        save = partial(record_result, "quality-real", request, folder=output, arguments=sys.argv[1:])
        rows = measure_real(pictures, request.bundle, precision, checkpoint or (), typer.echo, save)
    except (OSError, ValueError, RaveError) as error:
        _fail(str(error))
    _record("quality-real", request, rows, output)


@app.command("train-step", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train_step(context: typer.Context, output: Output = FOLDER) -> None:
    """Time of training steps; python -m benchmarks.studies.train_step --help lists its further options."""
    arguments = list(context.args)
    device = "cuda" if any("cuda" in word for word in arguments) else "cpu"
    _run_train_step(_request(False, device, 0, None, None, None, None), arguments, output)


@app.command("all")
def everything(
    quick: Quick = False,
    device: Device = "cpu",
    threads: Threads = 0,
    model: Model = None,
    method: Methods = None,
    photographs: Inputs = None,
    truths: Truths = None,
    weights: Weights = None,
    limit: Limit = None,
    memory_cap: MemoryCap = None,
    output: Output = FOLDER,
) -> None:
    """Everything, and the report. Memory is what the processes of the latency run needed."""
    request = _request(quick, device, threads, model, method, None, memory_cap)
    if photographs is not None and truths is not None:  # before an hour of other measurements
        _check_quality(photographs, truths, weights)
    elif photographs is not None or truths is not None:
        _fail("--photographs and --truths belong together: give both, or neither")
    start = time.monotonic()
    rows = _run("latency", request, output)
    _record("memory", request, rows, output)
    _run("roofline", request, output, rows)
    for name in ("tiling", "scale"):
        _run(name, request, output)
    if photographs is not None and truths is not None:
        _run_quality(request, photographs, truths, weights, limit, output)
    else:
        typer.echo("quality: left out, since no --photographs and --truths were given")
    if quick:
        typer.echo("train-step: left out of the quick run, since its encoders alone take a minute to build")
    else:
        steps = ["--batch=2", "--repeats=2", f"--device={device}", f"--threads={request.threads}"]
        with contextlib.suppress(typer.Exit):
            _run_train_step(request, steps, output)
    report(output=output)
    typer.echo(f"{time.monotonic() - start:.0f} s in all")


@app.command()
def report(output: Output = FOLDER) -> None:
    """Tables, plots and the HTML page from the results on disk."""
    from benchmarks.records.report import write_report

    if not output.is_dir():
        _fail(f"{output} is not a folder: give that of the results, or measure into it first")
    for path in write_report(output):
        typer.echo(f"wrote {path}")


@app.command()
def tables(
    check: Annotated[bool, typer.Option("--check", help="Only say what is stale.")] = False,
    file: Annotated[Path, typer.Option(help="The page.", show_default="docs/benchmarks.md")] = PAGE,
    output: Output = FOLDER,
) -> None:
    """Puts the tables of the results between the markers of docs/benchmarks.md."""
    from benchmarks.records.models import find_refused
    from benchmarks.records.report import insert_block, is_stale, tables_block, update_page

    try:
        block = tables_block(read_results(output), output)
        if not check:
            typer.echo("updated" if update_page(file, block) else "up to date already")
        elif refused := find_refused(output):
            _fail("\n".join(refused))
        elif insert_block(page := file.read_text("utf-8"), block) != page or is_stale(output):
            again = "run python -m benchmarks tables and python -m benchmarks report"
            _fail(f"{file} or the pages in {output} do not show its results: {again}")
    except (OSError, ValueError) as error:
        _fail(str(error))


def main() -> None:
    """Entry point of `python -m benchmarks`."""
    app(prog_name="python -m benchmarks")


def _request(
    quick: bool,
    device: str,
    threads: int,
    model: Path | None,
    method: list[str] | None,
    size: list[str] | None,
    memory_cap: float | None,
) -> Request:
    """Checks the options that all measuring commands share and returns them as one request."""
    from benchmarks.contestants.methods import find_method
    from benchmarks.suites.contest import parse_size
    from benchmarks.suites.suites import Request
    from rave_runtime import BundleError
    from rave_runtime.bundle.opening import open_bundle

    if device not in ("cpu", "cuda"):
        _fail(f"--device must be cpu or cuda, got {device}")
    try:
        names = tuple(find_method(name).name for name in method or ())
        sizes = tuple(parse_size(text) for text in size or ())
        open_bundle(model)
    except (ValueError, BundleError) as error:
        _fail(str(error))
    bundle = None if model is None else str(model)
    return Request(
        quick, device, threads or usable_processors(), bundle, names, memory_cap, sizes, say=typer.echo
    )


def _run(quantity: str, request: Request, output: Path, latency: list[Row] | None = None) -> list[Row]:
    """Measures one quantity and writes the result; `roofline` can use the rows of a latency run."""
    from benchmarks.suites import suites

    measure = getattr(suites, f"measure_{quantity}")
    typer.echo(f"== {quantity}")
    rows: list[Row] = measure(request, latency or ()) if quantity == "roofline" else measure(request)
    _record(quantity, request, rows, output)
    return rows


def _run_quality(
    request: Request,
    photographs: Path,
    truths: Path,
    weights: list[str] | None,
    limit: int | None,
    output: Path,
) -> None:
    """Measures quality on pairs of photographs and writes the result."""
    from benchmarks.suites.suites import measure_quality_of

    files = _check_quality(photographs, truths, weights)
    typer.echo("== quality")
    try:
        rows = measure_quality_of(request, photographs, truths, files, limit)
    except ValueError as error:
        _fail(str(error))
    _record("quality", replace(request, weights=tuple(files)), rows, output)


def _check_quality(photographs: Path, truths: Path, weights: list[str] | None) -> list[tuple[str, str]]:
    """Refuses folders without pairs and weights that are not there; returns the latter by method."""
    from benchmarks.suites.quality import find_pairs
    from benchmarks.suites.suites import parse_weights
    from rave_runtime import RaveError

    try:
        find_pairs(photographs, truths)
        return parse_weights(weights or ())
    except (OSError, ValueError, RaveError) as error:
        _fail(str(error))


def _run_train_step(request: Request, arguments: list[str], output: Path) -> None:
    from benchmarks.records.recording import measure_train_step

    typer.echo("== train-step")
    try:
        rows = measure_train_step(arguments)
    except (ImportError, OSError, ValueError) as error:
        _fail(f"a training step cannot be measured here: {error}")
    _record("train-step", request, rows, output)


def _record(quantity: str, request: Request, rows: list[Row], output: Path) -> None:
    from benchmarks.records.recording import record_result

    for words in record_result(quantity, request, rows, output, sys.argv[1:]):
        typer.echo(words)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
