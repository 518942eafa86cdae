"""A progress bar on standard error, where there is a terminal to show it."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rave_runtime.run.batch import Result


def show_progress(results: Iterable[Result], total: int) -> list[Result]:
    """Passes results on as a list, in order of their names, and shows how many there are."""
    shown = _with_a_bar(results, total) if sys.stderr.isatty() else results
    return sorted(shown, key=lambda result: result.job.name)


def _with_a_bar(results: Iterable[Result], total: int) -> list[Result]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    collected = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("enhancing", total=total)
        for result in results:
            collected.append(result)
            bar.update(task, advance=1, description=result.job.source.name[:30])
    return collected
