"""What a run reports to its caller; the library itself never prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rave_train.loop.schedule import Position


@dataclass(frozen=True)
class Note:
    """Something worth a line: pictures skipped, a network begun anew, a checkpoint."""

    text: str


@dataclass(frozen=True)
class Work:
    """Progress of work before or between steps."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Step:
    """A step done.

    Attributes:
        position: the position of that step.
        total: how many steps the run will have, as far as is known.
        losses: weighted terms and their sum, "loss".
        running: mean of the sum over the last steps.
    """

    position: Position
    total: int
    losses: dict[str, float]
    running: float


Event = Note | Work | Step
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener for callers who do not want to be told anything."""
    del event
