"""What a run reports to its caller; the library itself never prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rave_train.loop.schedule import Position


@dataclass(frozen=True)
class Note:
    """A line for the user, such as that pictures were skipped or that a network was drawn anew."""

    text: str


@dataclass(frozen=True)
class Work:
    """Progress of work before or between steps.

    Attributes:
        what: what is being done.
        done: how many parts are done.
        total: how many parts there are.
    """

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Step:
    """A step that has just been done.

    Attributes:
        position: the position of that step.
        total: how many steps the run will have, unless phases are extended further.
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
    """A listener that does nothing with an event."""
    del event
