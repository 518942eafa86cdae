"""The order of a run's steps: phases, rounds, and their extension while a loss stays high."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from rave_train.errors import ConfigError

Phase = Literal["initialize", "warm-up", "enhance", "refine", "done"]

RUNNING_LOSS_STEPS: Final = 30
"""Number of steps whose mean is a running loss."""

BEST_EVERY_STEPS: Final = 20
"""Steps between two comparisons of the running loss with the best one."""


@dataclass(frozen=True)
class Extension:
    """Makes a phase longer while its running loss is too high at the end.

    Attributes:
        steps: how many steps are added each time.
        above: the phase is extended while its running loss is above this.
    """

    steps: int
    above: float


@dataclass(frozen=True)
class Schedule:
    """Lengths of all phases, in steps.

    The order is initialize, warm-up, then rounds of enhance and refine, the last round without refine. A
    length of 0 leaves the phase out. `extensions` limits how often a phase may be extended, so that a run
    ends.
    """

    initialize: int
    warm_up: int
    enhance: int
    refine: int
    rounds: int
    extensions: int = 0
    extend_enhance: Extension = Extension(60, 90.0)
    extend_refine: Extension = Extension(100, 60.0)

    def extension_of(self, phase: Phase) -> Extension | None:
        """How a phase may be extended; None for phases that never are."""
        return {"enhance": self.extend_enhance, "refine": self.extend_refine}.get(phase)


@dataclass(frozen=True)
class Position:
    """Where a run is: the step to be done next.

    Attributes:
        phase: the phase of that step.
        round: the number of its round, from 0.
        step: the number of the step within the phase, from 0.
        length: the length of the phase, extensions included.
        extended: how often the phase was extended.
        total: steps of all kinds done so far.
        drawn: steps of the network done so far, which is also the number of the next training batch.
    """

    phase: Phase = "initialize"
    round: int = 0
    step: int = 0
    length: int = 0
    extended: int = 0
    total: int = 0
    drawn: int = 0

    @property
    def learns_guidance(self) -> bool:
        """Whether the step trains the guidance rather than the network."""
        return self.phase in ("initialize", "refine")


def begin(schedule: Schedule) -> Position:
    """The position before the first step."""
    return _enter(schedule, Position(length=schedule.initialize))


def advance(schedule: Schedule, position: Position, running_loss: float) -> Position:
    """The position after the step at `position`.

    Args:
        schedule: the schedule of the run.
        position: the position of the step just done.
        running_loss: mean total loss over the last `RUNNING_LOSS_STEPS` steps of the phase.
    """
    position = replace(
        position,
        step=position.step + 1,
        total=position.total + 1,
        drawn=position.drawn + (not position.learns_guidance),
    )
    if position.step < position.length:
        return position
    extension = schedule.extension_of(position.phase)
    may_extend = position.extended < schedule.extensions
    if extension is not None and may_extend and running_loss > extension.above:
        return replace(position, length=position.length + extension.steps, extended=position.extended + 1)
    return _enter(schedule, _next_phase(schedule, position))


def expected_total(schedule: Schedule, position: Position) -> int:
    """How many steps of all kinds the run will have, with those by which phases have been extended so far."""
    total = position.total - position.step
    while position.phase != "done":
        total += position.length
        position = _next_phase(schedule, position)
    return total


def describe_extension(
    schedule: Schedule, before: Position, after: Position, running_loss: float
) -> str | None:
    """Says that a phase has been extended, and why; None where it has not.

    Args:
        schedule: the schedule of the run.
        before: the position of the step just done.
        after: the position that `advance` gave for it.
        running_loss: the loss that it was given.
    """
    extension = schedule.extension_of(before.phase)
    if extension is None or after.phase != before.phase or after.extended <= before.extended:
        return None
    return (
        f"{before.phase} {before.round + 1} gets {extension.steps} steps more, so that the run takes longer: "
        f"its loss is {running_loss:.1f}, more than {extension.above:g} "
        f"({after.extended} of at most {schedule.extensions} times)"
    )


def lengthen(position: Position, steps: int) -> Position:
    """The same position in a phase that is longer by some steps."""
    return replace(position, length=position.length + steps)


def reopen(schedule: Schedule, position: Position, steps: int) -> Position:
    """The position of a finished run that gets more enhancement steps in its last round, and no extensions.

    Raises:
        ConfigError: the run is not finished, or no steps are added.
    """
    if position.phase != "done":
        raise ConfigError(
            f"the run is not finished ({position.total} steps are done): resume it first, then lengthen it"
        )
    if steps < 1:
        raise ConfigError(f"lengthen is {steps} steps, at least 1 is needed")
    return replace(position, phase="enhance", step=0, length=steps, extended=schedule.extensions)


def _next_phase(schedule: Schedule, position: Position) -> Position:
    """The beginning of the phase after the one of a position, which may have no steps."""

    def phase(name: Phase, length: int, in_round: int) -> Position:
        return replace(position, phase=name, round=in_round, step=0, length=length, extended=0)

    if position.phase == "initialize":
        return phase("warm-up", schedule.warm_up, 0)
    if position.phase == "warm-up":
        return phase("enhance", schedule.enhance, 0)
    last = position.round == schedule.rounds - 1
    if position.phase == "enhance" and not last:
        return phase("refine", schedule.refine, position.round)
    if position.phase == "refine":
        return phase("enhance", schedule.enhance, position.round + 1)
    return phase("done", 0, position.round)


def _enter(schedule: Schedule, position: Position) -> Position:
    """The beginning of the first phase with steps, from a position on."""
    while position.phase != "done" and position.length == 0:
        position = _next_phase(schedule, position)
    return position
