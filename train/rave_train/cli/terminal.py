"""What the commands share: printing, a progress bar, and errors on one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from rave_runtime.cli.messages import has_reader_gone
from rave_runtime.errors import RaveError
from rave_runtime.files.secrets import without_secrets


class LenientConsole(Console):
    """A console whose reader may go: nothing more is shown then, and the work goes on.

    Rich's own ends the program, even in the middle of a training whose output went through a pipe.
    """

    def on_broken_pipe(self) -> None:
        """Shows nothing from now on, neither here nor when the program ends and flushes its streams."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError as error:  # rich knows the reader's going by one class, Windows by another number
            if not has_reader_gone(error):
                raise
            self.on_broken_pipe()


def printable(text: str) -> str:
    """A text that does nothing to a terminal: control characters and half characters are spelled out.

    Names of files are under somebody else's control and may hold any of them.
    """
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def say(text: str, *, error: bool = False, quiet: bool = False) -> None:
    """Prints a text as it is, without markup, colours or breaks, to standard output or error."""
    console = LenientConsole(stderr=error, quiet=quiet)
    shown = printable(without_secrets(text))
    console.print(shown, markup=False, highlight=False, soft_wrap=True, emoji=False)


def make_output_lenient() -> None:
    """Lets characters that the terminal's code page lacks be spelled out instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def errors_on_one_line() -> Iterator[None]:
    """Prints expected errors of the block on one line and exits.

    The exit code is 2 for wrong use and bad input, 1 for a missing extra and for what the machine refuses,
    such as writing to a full disk. Any other error is a bug of this program and keeps its traceback.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rave_"):
            raise
        extra = "recipe" if error.name in ("cv2", "OpenEXR") else "train"
        say(f"{error.name} is missing: pip install 'rave-backlit[{extra}]'", error=True)
        raise typer.Exit(1) from error
    except (RaveError, OSError) as error:
        say(f"error: {_words_of(error)}", error=True)
        raise typer.Exit(2 if isinstance(error, ValueError) else 1) from error


def _words_of(error: RaveError | OSError) -> str:
    """An error's message, without the number that the system gives it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


@contextmanager
def progress(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Shows a progress bar on standard error until the block ends; yields the function that moves it."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=LenientConsole(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda doing, done, total: bar.update(
            task, description=printable(doing), completed=done, total=total
        )
