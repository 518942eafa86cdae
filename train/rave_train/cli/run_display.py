"""Shows a run in the terminal: phase, losses, time left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from rave_train.cli.terminal import printable
from rave_train.loop.events import Event, Note, Step, Work

_LINE_EVERY_S: Final = 60.0
"""Time between two lines where the output is no terminal and a bar would show only at the end."""


class RunDisplay:
    """A progress bar that listens to a run; used as a context. In a file it is a line now and then."""

    def __init__(self, console: Console) -> None:
        phase = Column(no_wrap=True, overflow="ellipsis", min_width=12)
        losses = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=phase),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            # The losses get what is left of the line; a narrow terminal cuts them, and losses.csv has all.
            TextColumn("{task.fields[losses]}", markup=False, table_column=losses),
            console=console,
            expand=True,
        )
        self._next_line = time.monotonic() + _LINE_EVERY_S
        self._stepped = False
        self._steps = self._progress.add_task("starting", total=None, losses="")
        self._work = self._progress.add_task("", total=None, visible=False, losses="")

    def __enter__(self) -> RunDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not self._stepped:  # a bar that never moved is noise before the error
            self._progress.update(self._steps, visible=False)
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Shows an event."""
        match event:
            case Note(text):
                self._print(printable(text))
            case Work(what, done, total):
                self._progress.update(
                    self._work, description=what, completed=done, total=total, visible=done < total
                )
            case Step(position, total, losses, running):
                self._stepped = True
                phase = position.phase if not position.round else f"{position.phase} {position.round + 1}"
                parts = "  ".join(f"{name} {value:.4g}" for name, value in losses.items() if name != "loss")
                shown = f"loss {running:.4g}  {parts}"
                self._progress.update(
                    self._steps, description=phase, completed=position.total + 1, total=total, losses=shown
                )
                if not self._progress.console.is_terminal and time.monotonic() >= self._next_line:
                    self._next_line = time.monotonic() + _LINE_EVERY_S
                    self._print(f"{phase} {position.total + 1}/{total}  {shown}")

    def _print(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)
