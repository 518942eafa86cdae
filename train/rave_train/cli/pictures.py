"""`rave-train synthesize`: pictures to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rave_train.cli.terminal import errors_on_one_line, progress, say


def synthesize(
    well_lit: Annotated[Path, typer.Argument(help="Folder of well-lit photographs.")],
    out: Annotated[Path, typer.Argument(help="New or empty folder: input/, gt/ and contact_sheet.png.")],
    size: Annotated[int | None, typer.Option(help="Longest side in pixels; larger pictures shrink.")] = None,
    versions: Annotated[int, typer.Option(min=1, help="Backlit partners of each photograph.")] = 1,
    untouched: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the pictures that keep their light.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
) -> None:
    """Make realistic backlit partners of well-lit photographs, to train or measure on."""
    with errors_on_one_line():
        from rave_train.data.synthesis import SynthesisRange
        from rave_train.data.synthesize_folder import synthesize_folder

        scene = SynthesisRange(untouched=untouched)
        with progress("synthesizing") as report:
            made = synthesize_folder(well_lit, out, size, versions, seed, report, scene)
    for line in made.left_out:
        say(line, error=True)
    say(f"{made.pairs} pairs in {out}/input and {out}/gt; look at {out}/contact_sheet.png")
