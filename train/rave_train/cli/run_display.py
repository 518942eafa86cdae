"""Shows a run in the terminal: phase, losses, time left."""

from __future__ import annotations

from types import TracebackType

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


class RunDisplay:
    """A progress bar that listens to a run; used as a context."""

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
        self._steps = self._progress.add_task("starting", total=None, losses="")
        self._work = self._progress.add_task("", total=None, visible=False, losses="")

    def __enter__(self) -> RunDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Shows an event."""
        match event:
            case Note(text):
                self._progress.console.print(printable(text), highlight=False, markup=False, emoji=False)
            case Work(what, done, total):
                self._progress.update(
                    self._work, description=what, completed=done, total=total, visible=done < total
                )
            case Step(position, total, losses, running):
                phase = position.phase if not position.round else f"{position.phase} {position.round + 1}"
                parts = "  ".join(f"{name} {value:.4g}" for name, value in losses.items() if name != "loss")
                self._progress.update(
                    self._steps,
                    description=phase,
                    completed=position.total + 1,
                    total=total,
                    losses=f"loss {running:.4g}  {parts}",
                )
