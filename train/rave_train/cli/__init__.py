"""`rave-train`: its command line. Each command is a function in a module beside this one."""

from __future__ import annotations

from typing import Annotated

import typer

from rave_train.cli.measure import evaluate, interpret
from rave_train.cli.pictures import brackets, synthesize
from rave_train.cli.terminal import make_output_lenient, say
from rave_train.cli.train import SEVERAL_GPUS, resume, training_command
from rave_train.loop.config import METHODS

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train CLIP-guided enhancers of backlit photographs, on CLIP or any other image encoder.",
)
for _method in METHODS:
    app.command(_method, epilog=SEVERAL_GPUS.format(method=_method))(training_command(_method))
for _function in (resume, synthesize, brackets, interpret, evaluate):
    app.command()(_function)


def _show_version(wanted: bool) -> None:
    if wanted:
        from rave_runtime import __version__

        say(f"rave-train {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version


def main() -> None:
    """Entry point of `rave-train`."""
    make_output_lenient()
    app()
