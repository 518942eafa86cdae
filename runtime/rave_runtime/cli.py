"""rave-run: enhances a photograph or a folder of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from rave_runtime.batch import Result

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_EXIT_SOME_FAILED = 1
_EXIT_WRONG_USE = 2
_EXIT_INTERRUPTED = 130


@app.command()
def run(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A photograph, or a folder of them.")],
    output: Annotated[
        Path, typer.Argument(metavar="OUTPUT", help="File or folder to write; a folder mirrors INPUT's tree.")
    ],
    model: Annotated[Path | None, typer.Option(help="Bundle folder [default: the embedded model].")] = None,
    tile_size: Annotated[int | None, typer.Option(help="Side of the tiles, in pixels.")] = None,
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or int8.")] = "auto",
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    format: Annotated[
        str | None, typer.Option(help="Write all as: jpeg, png, tiff, webp, bmp, avif, heif.")
    ] = None,
    quality: Annotated[
        int | None, typer.Option(min=1, max=100, help="Of lossy formats [default: like the input's].")
    ] = None,
    max_megapixels: Annotated[
        float, typer.Option(min=0.0001, help="Refuse larger photographs, in megapixels.")
    ] = 300.0,
) -> None:
    """Enhance backlit photographs: INPUT to OUTPUT, with EXIF, colour profile and tree kept."""
    from rave_runtime.batch import WriteOptions, enhance_files
    from rave_runtime.encode import WRITABLE
    from rave_runtime.enhancer import Enhancer
    from rave_runtime.errors import RaveError
    from rave_runtime.folder import plan_jobs
    from rave_runtime.network import usable_processors
    from rave_runtime.progress import show_progress

    wanted = format.upper() if format else None
    wanted = {"JPG": "JPEG", "TIF": "TIFF", "HEIC": "HEIF"}.get(wanted or "", wanted)
    if wanted is not None and wanted not in WRITABLE:
        _wrong_use(f"--format {format} is unknown: give one of {', '.join(WRITABLE).lower()}")
    try:
        jobs = plan_jobs(source, output, wanted)
        workers = min(usable_processors(), len(jobs))
        enhancer = Enhancer(
            model,
            precision=precision,
            device=device,
            tile_size="auto" if tile_size is None else tile_size,
            threads=max(1, usable_processors() // workers),
        )
    except RaveError as error:
        _wrong_use(str(error))
    options = WriteOptions(wanted, quality, max_megapixels)
    results = show_progress(enhance_files(enhancer, jobs, options, workers), len(jobs))
    failed = _summarise(results, output)
    sys.exit(_EXIT_SOME_FAILED if failed else 0)


def main() -> None:
    """Entry point."""
    try:
        app(prog_name="rave-run")
    except KeyboardInterrupt:
        typer.echo("rave-run: interrupted", err=True)
        sys.exit(_EXIT_INTERRUPTED)


def _summarise(results: list[Result], output: Path) -> bool:
    for result in results:
        for warning in result.warnings:
            typer.echo(f"note: {result.job.name}: {warning}", err=True)
    failures = [result for result in results if result.error is not None]
    for failure in failures:
        typer.echo(f"failed: {failure.job.name} {failure.error}", err=True)
    done = len(results) - len(failures)
    megapixels = sum(r.width_px * r.height_px for r in results if r.error is None) / 1e6
    line = f"{done} of {len(results)} enhanced into {output} ({megapixels:.1f} MP)"
    typer.echo(line + (f", {len(failures)} failed" if failures else ""))
    return bool(failures)


def _wrong_use(message: str) -> NoReturn:
    typer.echo(f"rave-run: {message}", err=True)
    sys.exit(_EXIT_WRONG_USE)
