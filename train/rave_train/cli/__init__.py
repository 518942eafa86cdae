"""`rave-train`: parses, calls, prints, exits."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rave_train.cli.options import command_with_options
from rave_train.loop.config import METHODS, DataOptions, NetworkOptions, RunConfig, read_config
from rave_train.loop.run_folder import RunFolder

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train CLIP-guided enhancers of backlit photographs, on CLIP or any other image encoder.",
)

_LEFT_TO_COMMAND = ("method", "options", "data", "network")
_ABOUT = {
    "rave": "Train by RAVE: the residual vector between well-lit and backlit pictures guides.",
    "clip-lit": "Train by CLIP-LIT: two learned prompts guide. Needs an encoder with text.",
    "clip-lit-latent": "Train by CLIP-LIT-Latent: two learned vectors guide. Any encoder will do.",
}


def _add_training_command(method: str) -> None:
    def run(out: Path, values: dict[str, Any]) -> None:
        def take(source: type) -> Any:
            names = [entry.name for entry in dataclasses.fields(source)]
            return source(**{name: values.pop(name) for name in names if name in values})

        options, data, network = take(METHODS[method]), take(DataOptions), take(NetworkOptions)
        _train(RunConfig(method, options, data, network, **values), out, resume=False)

    sources = [
        ("Method", METHODS[method], ()),
        ("Data", DataOptions, ()),
        ("Network", NetworkOptions, ()),
        ("Run", RunConfig, _LEFT_TO_COMMAND),
    ]
    app.command(method)(command_with_options(sources, run, _ABOUT[method]))


for _method in METHODS:
    _add_training_command(_method)


@app.command()
def resume(run: Annotated[Path, typer.Argument(help="Folder of a run that was stopped.")]) -> None:
    """Go on with a stopped run, to the same bits as if it had never stopped (on a CPU)."""
    with _errors_on_one_line():
        config = read_config(run / "config.json")
        run = run.absolute()
        with RunFolder(run).where_it_started():
            _train(config, run, resume=True)


@app.command()
def synthesize(
    well_lit: Annotated[Path, typer.Argument(help="Folder of well-lit photographs.")],
    out: Annotated[Path, typer.Argument(help="New or empty folder: input/, gt/ and contact_sheet.png.")],
    size: Annotated[int | None, typer.Option(help="Longest side in pixels; larger pictures shrink.")] = None,
    versions: Annotated[int, typer.Option(min=1, help="Backlit partners of each photograph.")] = 1,
    untouched: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the pictures that keep their light.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
) -> None:
    """Make realistic backlit partners of well-lit photographs, to train or measure on."""
    with _errors_on_one_line():
        from rave_train.data.synthesis import SynthesisRange
        from rave_train.data.synthesize_folder import synthesize_folder

        scene = SynthesisRange(untouched=untouched)
        with _progress("synthesizing") as report:
            made = synthesize_folder(well_lit, out, size, versions, seed, report, scene)
    for file, reason in made.skipped:
        Console(stderr=True).print(f"skipped {file}: {reason}", markup=False, highlight=False, soft_wrap=True)
    line = f"{made.pairs} pairs in {out}/input and {out}/gt; look at {out}/contact_sheet.png"
    Console().print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def interpret(
    run: Annotated[Path, typer.Argument(help="Folder of a run whose encoder has text.")],
    count: Annotated[int, typer.Option(min=1, help="Tokens to list from each end.")] = 7,
    word: Annotated[
        list[str] | None, typer.Option(help="Word to compare the picture sets with; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; RUN/interpretation if not given.")] = None,
) -> None:
    """Name the vocabulary tokens nearest to and farthest from a run's guidance direction."""
    with _errors_on_one_line():
        from rave_train.measure.interpretation import DEFAULT_WORDS, interpret_run, write_interpretation

        folder = run.absolute()
        with _progress("") as report, RunFolder(run).where_it_started():
            found = interpret_run(folder, count, word or list(DEFAULT_WORDS), report)
        written = write_interpretation(found, out or run / "interpretation")
    Console().print(found.as_text(), highlight=False, markup=False)
    Console().print(f"written to {written}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def evaluate(
    enhanced: Annotated[Path, typer.Argument(help="Folder of enhanced pictures, or of backlit ones.")],
    truth: Annotated[Path, typer.Argument(help="Folder of their true partners, by name.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Enhance the first folder with this.")] = None,
    metrics: Annotated[str, typer.Option(help="Which, separated by commas.")] = "psnr,ssim,lpips,fid",
    gray: Annotated[bool, typer.Option("--gray", help="PSNR and SSIM on grey, as upstream.")] = False,
    size: Annotated[int | None, typer.Option(help="Squash both to a square of this side first.")] = None,
    gt_mean: Annotated[bool, typer.Option("--gt-mean", help="Match the truth's mean brightness.")] = False,
    lpips_net: Annotated[str, typer.Option(help="alex (as published), squeeze or vgg.")] = "alex",
    inception: Annotated[Path | None, typer.Option(help="Weights of FID's Inception network.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for table.csv and metrics.json.")] = None,
) -> None:
    """Measure PSNR, SSIM, LPIPS and FID against true pictures, with the protocol stated."""
    with _errors_on_one_line():
        from rave_train.measure.evaluation import Protocol, evaluate_folders, write_evaluation

        protocol = Protocol(gray, size, gt_mean, lpips_net)
        wanted = tuple(name.strip() for name in metrics.split(","))
        if out is not None:  # before hours of measuring
            out.mkdir(parents=True, exist_ok=True)
        with _progress("measuring") as report:
            result = evaluate_folders(enhanced, truth, checkpoint, wanted, protocol, inception, report)
        Console().print(result.as_text(), highlight=False, markup=False)
        if out is not None:
            write_evaluation(result, out)
    if not result.means:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of `rave-train`."""
    app()


def _train(config: RunConfig, out: Path, resume: bool) -> None:
    with _errors_on_one_line():
        from rave_train.cli.run_display import RunDisplay
        from rave_train.loop.training import train

        follows = os.environ.get("RANK", "0") != "0"  # under torchrun only the first process speaks
        console = Console(stderr=True, quiet=follows)
        with _stop_on_signal() as should_stop, RunDisplay(console) as display:
            outcome = train(config, out, resume=resume, listen=display, should_stop=should_stop)
    if not outcome.finished:
        line = f"stopped after {outcome.steps} steps: rave-train resume {out} goes on"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(130)
    validation = "" if outcome.psnr_db is None else f", {outcome.psnr_db:.2f} dB on the validation pictures"
    Console(quiet=follows).print(f"{outcome.best}{validation}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _errors_on_one_line() -> Iterator[None]:
    """Wrong use and bad input exit with 2, a missing extra and everything foreseen else with 1."""
    console = Console(stderr=True)
    try:
        yield
    except typer.Exit:  # of a command inside another, which has said what there is to say
        raise
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rave_"):
            raise
        console.print(
            f"{error.name} is missing: pip install 'rave-backlit\\[train]'", highlight=False, soft_wrap=True
        )
        raise typer.Exit(1) from error
    except ValueError as error:
        console.print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    except (OSError, RuntimeError) as error:
        console.print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


@contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C (or SIGTERM) ends the run after the step at hand, the second at once."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        del frame
        if asked:
            sys.exit(130)
        asked.append(number)

    previous = {name: signal.signal(name, ask) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str, int, int], None]]:
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda doing, done, total: progress.update(task, description=doing, completed=done, total=total)
