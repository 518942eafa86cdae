"""`python -m benchmarks`: one command per quantity, and `all`."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from benchmarks.machine import usable_cores
from benchmarks.results import FOLDER

if TYPE_CHECKING:
    from benchmarks.contest import Row
    from benchmarks.suites import Request

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

Quick = Annotated[bool, typer.Option("--quick", help="Few sizes and repetitions.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Threads = Annotated[int, typer.Option(help="For computing; 0 takes all cores.")]
Model = Annotated[Path | None, typer.Option(help="Bundle of the runtime; the embedded one if not given.")]
Methods = Annotated[list[str] | None, typer.Option("--method", help="Only this one; may be repeated.")]
Sizes = Annotated[list[str] | None, typer.Option("--size", help="WIDTHxHEIGHT; may be repeated.")]
MemoryCap = Annotated[float | None, typer.Option(help="MiB at which a program is stopped.")]
Output = Annotated[Path, typer.Option(help="Folder of the results.")]
Inputs = Annotated[Path | None, typer.Option(help="Folder of backlit photographs.")]
Truths = Annotated[Path | None, typer.Option(help="Folder of their truths, same stems.")]
Pictures = Annotated[list[Path] | None, typer.Option(help="Folder of pictures; may be repeated.")]
Weights = Annotated[list[str] | None, typer.Option("--weights", help="METHOD=FILE; may be repeated.")]
Limit = Annotated[int | None, typer.Option(help="Pairs at most.")]


@app.command()
def latency(
    quick: Quick = False,
    device: Device = "cpu",
    threads: Threads = 0,
    model: Model = None,
    method: Methods = None,
    size: Sizes = None,
    memory_cap: MemoryCap = None,
    output: Output = FOLDER,
) -> None:
    """Time of every method over sizes, providers and precisions."""
    _run("latency", _request(quick, device, threads, model, method, size, memory_cap), output)


@app.command()
def memory(
    quick: Quick = False,
    device: Device = "cpu",
    threads: Threads = 0,
    model: Model = None,
    method: Methods = None,
    size: Sizes = None,
    memory_cap: MemoryCap = None,
    output: Output = FOLDER,
) -> None:
    """Peak memory of every method over sizes, each alone."""
    _run("memory", _request(quick, device, threads, model, method, size, memory_cap), output)


@app.command()
def scale(
    quick: Quick = False,
    device: Device = "cpu",
    threads: Threads = 0,
    model: Model = None,
    method: Methods = None,
    size: Sizes = None,
    output: Output = FOLDER,
) -> None:
    """Batches and threads."""
    _run("scale", _request(quick, device, threads, model, method, size, None), output)


@app.command()
def tiling(
    quick: Quick = False,
    device: Device = "cpu",
    threads: Threads = 0,
    model: Model = None,
    size: Sizes = None,
    memory_cap: MemoryCap = None,
    output: Output = FOLDER,
) -> None:
    """Tile sizes of our runtime at full resolution: time, memory, error against no tiles."""
    _run("tiling", _request(quick, device, threads, model, None, size, memory_cap), output)


@app.command()
def roofline(
    quick: Quick = False,
    device: Device = "cpu",
    threads: Threads = 0,
    model: Model = None,
    method: Methods = None,
    size: Sizes = None,
    output: Output = FOLDER,
) -> None:
    """Share of the machine's measured limits that networks and providers reach."""
    _run("roofline", _request(quick, device, threads, model, method, size, None), output)


@app.command()
def quality(
    photographs: Annotated[Path, typer.Argument(help="Folder of backlit photographs.")],
    truths: Annotated[Path, typer.Argument(help="Folder of their truths, same stems.")],
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


@app.command("quality-real")
def quality_real(
    scenes: Annotated[Path, typer.Argument(help="Folder of scenes: NAME-0.jpg to NAME-3.jpg, NAME.png.")],
    well_lit: Pictures = None,
    backlit: Pictures = None,
    checkpoint: Annotated[list[Path] | None, typer.Option(help="Another network to measure.")] = None,
    part: Annotated[str, typer.Option(help="Scenes: all, steering or aside (every third).")] = "all",
    precision: Annotated[str, typer.Option(help="Of the bundle: fp32, fp16 or int8.")] = "int8",
    model: Model = None,
    output: Output = FOLDER,
) -> None:
    """Quality on real scenes by exposure; what becomes of well-lit, low-key and backlit pictures."""
    from benchmarks.real_quality import find_all, measure_real

    request = _request(False, "cpu", 0, model, None, None, None)
    try:
        pictures = find_all(scenes, well_lit or (), backlit or (), part)
        rows = measure_real(pictures, request.bundle, precision, checkpoint or (), typer.echo)
    except (OSError, ValueError) as error:
        _fail(str(error))
    _record("quality-real", request, rows, output)


@app.command("train-step", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train_step(context: typer.Context) -> None:
    """Time of training steps; options are those of benchmarks/train_step.py, and --output FOLDER."""
    arguments = list(context.args)
    output = FOLDER
    if "--output" in arguments:
        at = arguments.index("--output")
        output = Path(arguments[at + 1])
        del arguments[at : at + 2]
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
    report(output)
    typer.echo(f"{time.monotonic() - start:.0f} s in all")


@app.command()
def report(output: Output = FOLDER) -> None:
    """Tables, plots and the HTML page from the results on disk."""
    from benchmarks.report import write_report

    for path in write_report(output):
        typer.echo(f"wrote {path}")


@app.command()
def readme(
    check: Annotated[bool, typer.Option("--check", help="Only say whether it is stale.")] = False,
    file: Annotated[Path, typer.Option(help="The README.")] = FOLDER.parents[1] / "README.md",
    output: Output = FOLDER,
) -> None:
    """Puts the table of results between the README's markers."""
    from benchmarks.report import ReadmeError, insert_block, readme_block, update_readme
    from benchmarks.results import ResultError, read_results

    try:
        block = readme_block(read_results(output))
        if not check:
            typer.echo("updated" if update_readme(file, block) else "up to date already")
        elif insert_block(file.read_text(), block) != file.read_text():
            _fail(f"{file}'s table is not that of {output}: run python -m benchmarks readme")
    except (OSError, ReadmeError, ResultError) as error:
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
    from benchmarks.contest import parse_size
    from benchmarks.methods import find_method
    from benchmarks.suites import Request

    if device not in ("cpu", "cuda"):
        _fail(f"--device must be cpu or cuda, got {device}")
    try:
        names = tuple(find_method(name).name for name in method or ())
        sizes = tuple(parse_size(text) for text in size or ())
    except ValueError as error:
        _fail(str(error))
    bundle = None if model is None else str(model)
    return Request(quick, device, threads or usable_cores(), bundle, names, memory_cap, sizes, say=typer.echo)


def _run(quantity: str, request: Request, output: Path, known: list[Row] | None = None) -> list[Row]:
    from benchmarks import suites

    measures: dict[str, Callable[[Request], list[Row]]] = {
        "latency": suites.measure_latency,
        "memory": suites.measure_memory,
        "scale": suites.measure_scale,
        "tiling": suites.measure_tiling,
        "roofline": lambda asked: suites.measure_roofline(asked, known or ()),
    }
    typer.echo(f"== {quantity}")
    rows = measures[quantity](request)
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
    from benchmarks.suites import measure_quality_of

    pairs = [tuple(text.split("=", 1)) for text in weights or ()]
    if any(len(pair) != 2 for pair in pairs):
        _fail("--weights must be METHOD=FILE")
    typer.echo("== quality")
    try:
        rows = measure_quality_of(request, photographs, truths, pairs, limit)  # type: ignore[arg-type]
    except ValueError as error:
        _fail(str(error))
    _record("quality", request, rows, output)


def _run_train_step(request: Request, arguments: list[str], output: Path) -> None:
    from benchmarks.recording import measure_train_step

    typer.echo("== train-step")
    try:
        rows = measure_train_step(arguments)
    except (ImportError, OSError, ValueError) as error:
        _fail(f"a training step cannot be measured here: {error}")
    _record("train-step", request, rows, output)


def _record(quantity: str, request: Request, rows: list[Row], output: Path) -> None:
    from benchmarks.recording import record_result

    for words in record_result(quantity, request, rows, output, sys.argv[1:]):
        typer.echo(words)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
