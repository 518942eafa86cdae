"""`rave-train rave|clip-lit|clip-lit-latent` and `rave-train resume`."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from rave_runtime.bundle import EMBEDDED
from rave_train.cli.options import command_with_options
from rave_train.cli.terminal import LenientConsole, errors_on_one_line, say
from rave_train.commands import COMMANDS
from rave_train.errors import ConfigError
from rave_train.loop.config import METHODS, DataOptions, NetworkOptions, RunConfig, read_config
from rave_train.loop.run_folder import RunFolder

if TYPE_CHECKING:
    from rave_train.loop.training import Outcome

_ONE_SIGNAL_S: Final = 1.0
"""Signals within this time are one: torchrun passes on what its processes have got from the terminal, too."""

_LEFT_TO_COMMAND: Final = ("method", "options", "data", "network")


SEVERAL_GPUS: Final = (
    "On several GPUs: torchrun --nproc-per-node=N -m rave_train {method} BACKLIT WELL_LIT --out RUN"
)
"""The last line of each method's help."""


def training_command(method: str) -> Callable[..., None]:
    """The command that trains by a method, with an option for every field of its option classes."""

    def run(out: Path, values: dict[str, Any]) -> None:
        def take(source: type) -> Any:
            names = [entry.name for entry in dataclasses.fields(source)]
            return source(**{name: values.pop(name) for name in names if name in values})

        options, data, network = take(METHODS[method]), take(DataOptions), take(NetworkOptions)
        _train(RunConfig(method, options, data, network, **values), out)

    sources = [
        ("Method", METHODS[method], ()),
        ("Data", DataOptions, ()),
        ("Network", NetworkOptions, ()),
        ("Run", RunConfig, _LEFT_TO_COMMAND),
    ]
    return command_with_options(sources, run, COMMANDS[method], lambda file: _values_of(file, method))


def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run that was stopped.")],
    lengthen: Annotated[
        int, typer.Option(min=0, help="Steps of the network to add to a run that is finished.")
    ] = 0,
) -> None:
    """Resume a stopped run; on a CPU, bit for bit as if it had never stopped."""
    with errors_on_one_line():
        config = read_config(run / "config.json")
        run = run.absolute()
        with RunFolder(run).where_it_started():
            _train(config, run, resume=True, lengthen_by=lengthen)


def _train(config: RunConfig, out: Path, resume: bool = False, lengthen_by: int = 0) -> None:
    """Trains, shows how it goes, and says at the end what came out."""
    follows = os.environ.get("RANK", "0") != "0"  # under torchrun only the first process speaks
    with errors_on_one_line(), _stop_on_signal(quiet=follows) as should_stop:
        from rave_train.cli.run_display import RunDisplay
        from rave_train.loop.training import read_outcome, train

        ended = read_outcome(out) if resume else None
        if lengthen_by and ended is None:
            raise ConfigError(f"{out} is not finished: resume it first, then lengthen it")
        if ended is not None and not lengthen_by:
            say(f"{out} is finished after {ended.steps} steps; --lengthen STEPS adds more", quiet=follows)
            say(_describe(ended), quiet=follows)
            return
        console = LenientConsole(stderr=True, quiet=follows)
        with RunDisplay(console) as display:
            outcome = train(
                config, out, resume=resume, lengthen_by=lengthen_by, listen=display, should_stop=should_stop
            )
    if not outcome.finished:
        steps = "1 step" if outcome.steps == 1 else f"{outcome.steps} steps"
        last = RunFolder(out).checkpoint_file("last")
        so_far = f"; {last} is the network so far" if last.is_file() else ""
        say(f"stopped after {steps}: rave-train resume {out} goes on{so_far}", error=True, quiet=follows)
        raise typer.Exit(130)
    say(_describe(outcome), quiet=follows)


def _describe(outcome: Outcome) -> str:
    """Where the best checkpoint is, and what it does to the validation pictures."""
    if outcome.psnr_db is None or outcome.input_psnr_db is None or outcome.last_psnr_db is None:
        return f"{outcome.best} (chosen by its loss: there were no validation pictures to measure)"
    return (
        f"{outcome.best}: {outcome.psnr_db:.2f} dB on the validation pictures, which have "
        f"{outcome.input_psnr_db:.2f} dB unchanged; last.safetensors has {outcome.last_psnr_db:.2f} dB "
        "(at the size of training; rave-train evaluate measures at full size)"
    )


def _values_of(file: Path, method: str) -> dict[str, Any]:
    """Values of a run's config.json by option, to take the place of defaults.

    Relative paths among them become absolute, since they mean places seen from where the run was started.

    Raises:
        ConfigError: it cannot be read, or is of another method.
    """
    file = file / "config.json" if file.is_dir() else file
    config = read_config(file)
    if config.method != method:
        raise ConfigError(f"{file} is of a run by {config.method}: use rave-train {config.method} --config")
    started_in = Path(RunFolder(file.parent).made_of().get("started_in", "."))
    rest = {name: value for name, value in vars(config).items() if name not in _LEFT_TO_COMMAND}
    values = {**vars(config.options), **vars(config.data), **vars(config.network), **rest}
    for name in (*(entry.name for entry in dataclasses.fields(DataOptions)), "cache", "init_from"):
        if isinstance(values[name], str) and (name, values[name]) != ("init_from", EMBEDDED):
            values[name] = str(started_in / values[name])
    for name in ("encoder", "identity_encoder"):
        model, _, weights = (values[name] or "").partition("@")
        if weights and (started_in / weights).is_file():
            values[name] = f"{model}@{started_in / weights}"
    return values


@contextmanager
def _stop_on_signal(quiet: bool) -> Iterator[Callable[[], bool]]:
    """Ctrl-C, SIGTERM or a terminal that closes ends the run after the step at hand, a second one at once.

    Until the first step is done there is nothing to lose, so that the first one ends the program at once.

    Args:
        quiet: whether another process tells the user.
    """
    # Imported here, so that help need not wait for it.
    from rave_runtime.run.interrupt import EXIT_INTERRUPTED, heeded_signals

    first_s: float | None = None  # when the first signal came
    stepping = False

    def tell(text: str) -> None:
        with suppress(OSError):  # not by print, which the signal may have interrupted
            if not quiet:
                os.write(2, f"\n{text}\n".encode())

    def ask(number: int, frame: object) -> None:
        nonlocal first_s
        del number, frame
        if not stepping:
            tell("interrupted before the first step")
            sys.exit(EXIT_INTERRUPTED)
        if first_s is not None:
            if time.monotonic() - first_s < _ONE_SIGNAL_S:
                return
            sys.exit(EXIT_INTERRUPTED)
        first_s = time.monotonic()
        tell("stopping after this step; once more stops at once")

    def should_stop() -> bool:
        nonlocal stepping
        stepping = True
        return first_s is not None

    previous = {number: signal.signal(number, ask) for number in heeded_signals()}
    try:
        yield should_stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
