"""rave-export: a checkpoint becomes a bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint: .safetensors of ours, .pth of upstream.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle to make.")],
    padding: Annotated[
        str | None, typer.Option(help="reflect or zeros; reflect unless the checkpoint says otherwise.")
    ] = None,
    working_size: Annotated[
        int | None, typer.Option(help="Recommended long side, in pixels, for estimating the light.")
    ] = None,
    opset: Annotated[int | None, typer.Option(help="ONNX operator set.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
) -> None:
    """Turn a CHECKPOINT into a bundle of ONNX graphs, and prove them against the torch network."""
    try:
        from rave_export.bundles import Contents, export_bundle
        from rave_export.graphs import OPSET
        from rave_export.table import parity_table
        from rave_train.checkpoint import CheckpointError, read_checkpoint
        from rave_train.network import PADDINGS
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is missing: pip install 'rave-backlit[export]'", 1)
    from rave_export.errors import ExportError

    if padding not in (None, *PADDINGS):
        _fail(f"--padding {padding} is unknown: give {' or '.join(PADDINGS)}", 2)
    try:
        manifest = export_bundle(
            read_checkpoint(checkpoint, padding),
            output,
            Contents(opset=opset or OPSET),
            working_size_px=working_size,
            force=force,
            say=lambda line: typer.echo(line, err=True),
        )
    except (ExportError, CheckpointError) as error:
        _fail(str(error), 1)
    typer.echo(parity_table(manifest.parity))
    typer.echo(f"{output}: {len(manifest.graphs)} graphs")


def main() -> None:
    """Entry point."""
    app()


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"rave-export: {message}", err=True)
    sys.exit(code)
