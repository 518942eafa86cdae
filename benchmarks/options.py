"""The options that several commands of `python -m benchmarks` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Quick = Annotated[bool, typer.Option("--quick", help="Few sizes and repetitions.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Threads = Annotated[int, typer.Option(min=0, help="Threads that compute; 0 takes all cores.")]
Model = Annotated[Path | None, typer.Option(help="Bundle of the runtime; the embedded one if not given.")]
Methods = Annotated[
    list[str] | None, typer.Option("--method", help="Measure only this method; may be repeated.")
]
Sizes = Annotated[list[str] | None, typer.Option("--size", help="WIDTHxHEIGHT; may be repeated.")]
MemoryCap = Annotated[float | None, typer.Option(help="Memory, in MiB, at which a program is stopped.")]
Output = Annotated[Path, typer.Option(help="Folder of the results.", show_default="benchmarks/results")]
Inputs = Annotated[Path | None, typer.Option(help="Folder of backlit photographs.")]
Truths = Annotated[Path | None, typer.Option(help="Folder of the ground truth, by the same names.")]
WellLit = Annotated[
    list[Path] | None, typer.Option(help="Folder of pictures that should stay; may be repeated.")
]
Backlit = Annotated[
    list[Path] | None, typer.Option(help="Folder of backlit pictures without a truth; may be repeated.")
]
Weights = Annotated[
    list[str] | None, typer.Option("--weights", help="Weights, METHOD=FILE; may be repeated.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Pairs at most.")]
