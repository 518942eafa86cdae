"""What a user is told of a run: a progress bar where there is a terminal to show it, and notes in the end."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Final

from rave_runtime.errors import printable
from rave_runtime.run.results import Result

SHOWN_NAMES: Final = 3
"""Number of photographs that a note on several photographs names."""

_NAME_LETTERS: Final = 30
"""Longest name beside the progress bar, in letters."""


def show_progress(results: Iterable[Result], total: int) -> None:
    """Takes all results, and shows how many are done if standard error is a terminal."""
    if sys.stderr.isatty():
        _show_bar(results, total)
    else:
        for _ in results:
            pass


def ask_user(question: str) -> bool:
    """Tells whether the user says yes at the terminal. Without a terminal the answer is no."""
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    sys.stderr.write(f"rave-run: {printable(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def notes_of(results: Iterable[Result]) -> Iterator[str]:
    """Yields what a user should know of the results, a line for each different note."""
    groups: dict[str, list[str]] = {}
    for result in results:
        for warning in result.warnings:
            groups.setdefault(warning, []).append(result.job.name)
    for warning, names in groups.items():
        if len(names) == 1:
            yield f"note: {names[0]}: {warning}"
        else:
            more = ", ..." if len(names) > SHOWN_NAMES else ""
            yield f"note: each of {len(names)} files ({', '.join(names[:SHOWN_NAMES])}{more}): {warning}"


def _show_bar(results: Iterable[Result], total: int) -> None:
    """Takes the results while a progress bar on standard error shows how many are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # File names may hold what looks like rich's markup, which must not take effect.
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("enhancing", total=total)
        for result in results:
            bar.update(task, advance=1, description=printable(result.job.source.name)[:_NAME_LETTERS])
