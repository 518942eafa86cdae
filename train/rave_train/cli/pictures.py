"""`rave-train synthesize` and `rave-train brackets`: pictures to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rave_train.cli.terminal import errors_on_one_line, progress, say
from rave_train.errors import ConfigError

if TYPE_CHECKING:
    from rave_train.data.synthesize_folder import Synthesized

Out = Annotated[
    Path, typer.Argument(metavar="OUT", help="New or empty folder: input/, gt/ and contact_sheet.png.")
]


def synthesize(
    well_lit: Annotated[
        Path, typer.Argument(metavar="WELL_LIT", help="Folder of well-lit photographs, or of panoramas.")
    ],
    out: Out,
    size: Annotated[
        int | None,
        typer.Option(
            help="Longest side in pixels: larger photographs shrink to it (if not given, none does), views "
            "into panoramas have it (if not given, 512)."
        ),
    ] = None,
    versions: Annotated[
        int, typer.Option(min=1, help="Backlit partners of each photograph, or views of each panorama.")
    ] = 1,
    untouched: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of photographs (not views) that keep their light; if not given, 0.1.",
        ),
    ] = None,
    panoramas: Annotated[
        bool,
        typer.Option("--panoramas", help="The folder holds HDR panoramas (.hdr, .exr): photograph views."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
) -> None:
    """Make backlit versions of well-lit photographs or panoramas, to train or measure on."""
    with errors_on_one_line():
        if panoramas:
            if untouched is not None:
                raise ConfigError("views into panoramas have the panorama's light: leave out --untouched")
            from rave_train.data.synthesize_panoramas import synthesize_panoramas

            with progress("synthesizing") as report:
                result = synthesize_panoramas(well_lit, out, size, versions, seed, report)
        else:
            from rave_train.data.synthesis import SynthesisRange
            from rave_train.data.synthesize_folder import synthesize_folder

            scene = SynthesisRange() if untouched is None else SynthesisRange(untouched=untouched)
            with progress("synthesizing") as report:
                result = synthesize_folder(well_lit, out, size, versions, seed, report, scene)
    _tell(result, out)


def brackets(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Folder of photographs, exposure brackets among them, or the top of many such folders.",
        ),
    ],
    out: Out,
    size: Annotated[int, typer.Option(help="Longest side in pixels; larger pictures shrink.")] = 1080,
) -> None:
    """Make training pairs from your own exposure brackets, which are found by their EXIF."""
    with errors_on_one_line():
        from rave_train.data.bracket_pairs import make_pairs_of_brackets

        with progress("merging brackets") as report:
            result = make_pairs_of_brackets(folder, out, size, report)
    _tell(result, out)


def _tell(result: Synthesized, out: Path) -> None:
    for line in result.left_out:
        say(line, error=True)
    say(f"{result.pairs} pairs in {out}/input and {out}/gt; look at {out}/contact_sheet.png")
