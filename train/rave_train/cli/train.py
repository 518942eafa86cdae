"""`rave-train rave|clip-lit|clip-lit-latent` and `rave-train resume`."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from rave_train.cli.options import command_with_options
from rave_train.cli.terminal import errors_on_one_line, say
from rave_train.loop.config import METHODS, DataOptions, NetworkOptions, RunConfig, read_config
from rave_train.loop.run_folder import RunFolder

ABOUT: Final = {
    "rave": "Train by RAVE: the residual vector between well-lit and backlit pictures guides.",
    "clip-lit": "Train by CLIP-LIT: two learned prompts guide. Needs an encoder with text.",
    "clip-lit-latent": "Train by CLIP-LIT-Latent: two learned vectors guide. Any encoder will do.",
}
"""Each method's command, and the first line of its help."""

_LEFT_TO_COMMAND: Final = ("method", "options", "data", "network")


def training_command(method: str) -> Callable[..., None]:
    """The command that trains by a method, with an option for every field of its option classes."""

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
    return command_with_options(sources, run, ABOUT[method])


def resume(run: Annotated[Path, typer.Argument(help="Folder of a run that was stopped.")]) -> None:
    """Go on with a stopped run, to the same bits as if it had never stopped (on a CPU)."""
    with errors_on_one_line():
        config = read_config(run / "config.json")
        run = run.absolute()
        with RunFolder(run).where_it_started():
            _train(config, run, resume=True)


def _train(config: RunConfig, out: Path, resume: bool) -> None:
    """Trains, shows how it goes, and says at the end what came out."""
    with errors_on_one_line():
        from rave_train.cli.run_display import RunDisplay
        from rave_train.loop.training import train

        follows = os.environ.get("RANK", "0") != "0"  # under torchrun only the first process speaks
        with _stop_on_signal() as should_stop, RunDisplay(Console(stderr=True, quiet=follows)) as display:
            outcome = train(config, out, resume=resume, listen=display, should_stop=should_stop)
    if not outcome.finished:
        say(
            f"stopped after {outcome.steps} steps: rave-train resume {out} goes on", error=True, quiet=follows
        )
        raise typer.Exit(130)
    validation = "" if outcome.psnr_db is None else f", {outcome.psnr_db:.2f} dB on the validation pictures"
    say(f"{outcome.best}{validation}", quiet=follows)


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
