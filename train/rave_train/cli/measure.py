"""`rave-train evaluate` and `rave-train interpret`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from rave_train.cli.terminal import errors_on_one_line, progress, say
from rave_train.loop.run_folder import RunFolder


def interpret(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run whose encoder has text.")],
    count: Annotated[int, typer.Option(min=1, help="Tokens to list from each end.")] = 7,
    word: Annotated[
        list[str] | None, typer.Option(help="Word to compare the picture sets with; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; RUN/interpretation if not given.")] = None,
) -> None:
    """Name the vocabulary tokens nearest to and farthest from a run's guidance direction."""
    with errors_on_one_line():
        from rave_train.measure.interpretation import DEFAULT_WORDS, interpret_run, write_interpretation

        folder = run.absolute()
        with progress("") as report, RunFolder(run).where_it_started():
            interpretation = interpret_run(folder, count, word or list(DEFAULT_WORDS), report)
        written = write_interpretation(interpretation, out or run / "interpretation")
    say(interpretation.as_text())
    say(f"written to {written}")


def evaluate(
    enhanced: Annotated[
        Path, typer.Argument(metavar="ENHANCED", help="Folder of enhanced pictures, or of backlit ones.")
    ],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH", help="Folder of the ground truth, by name.")],
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="Enhance the first folder with this: a checkpoint (at full resolution), a bundle or "
            "'embedded' (as in rave-run); repeatable, a row each."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Some of psnr,ssim,lpips,fid; if not given, those that need no download. The "
            "others download weights, and say so first."
        ),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="ours, or upstream: that of RAVE's script, to compare with its paper.")
    ] = "ours",
    gray: Annotated[bool, typer.Option("--gray", help="PSNR and SSIM on grey pictures.")] = False,
    size: Annotated[
        int | None, typer.Option(help="Squash both to a square of this side first, pixels.")
    ] = None,
    gt_mean: Annotated[
        bool, typer.Option("--gt-mean", help="Scale each picture to the truth's mean first.")
    ] = False,
    lpips_net: Annotated[str, typer.Option(help="alex (as published), squeeze or vgg.")] = "alex",
    inception: Annotated[Path | None, typer.Option(help="Weights of FID's Inception network.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for table.csv (a row per picture) and metrics.json.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the table.csv and metrics.json in --out.")
    ] = False,
) -> None:
    """Measure PSNR, SSIM, LPIPS and FID against ground truth, by a stated protocol."""
    with errors_on_one_line():
        from rave_train.measure.evaluation import evaluate_folders, prepare_folder, write_evaluation
        from rave_train.measure.protocol import Protocol

        how = Protocol(cast(Literal["ours", "upstream"], protocol), gray, size, gt_mean, lpips_net)
        metric_names = None if metrics is None else tuple(name.strip() for name in metrics.split(","))
        if out is not None:  # before hours of measuring
            prepare_folder(out, force)
        with progress("measuring") as report:
            result = evaluate_folders(
                enhanced, truth, checkpoint or (), metric_names, how, inception, report,
                announce=lambda line: say(line, error=True),
            )  # fmt: skip
        if out is not None:  # first: nothing that the terminal refuses may lose it
            write_evaluation(result, out)
        say(result.as_text())
    if not result.metrics:
        raise typer.Exit(1)
