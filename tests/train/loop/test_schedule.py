from __future__ import annotations

import dataclasses
from pathlib import Path

from rave_train.guidance.options import ClipLitLatentOptions, ClipLitOptions, RaveOptions
from rave_train.loop.config import DataOptions, RunConfig
from rave_train.loop.schedule import (
    Extension,
    Position,
    Schedule,
    advance,
    begin,
    describe_extension,
    expected_total,
    lengthen,
    reopen,
)
from rave_train.loop.training import train
from tests.train.small_runs import SMALL_PAIR, after_steps

DATA = DataOptions("b", "w")


def walk(schedule: Schedule, losses: dict[str, float] | None = None) -> list[Position]:
    position, seen = begin(schedule), []
    while position.phase != "done":
        seen.append(position)
        position = advance(schedule, position, (losses or {}).get(position.phase, 0.0))
    return [*seen, position]


def lengths(positions: list[Position]) -> list[tuple[str, int, int]]:
    """Phase, round and how many steps of it."""
    counts: dict[tuple[str, int], int] = {}
    for position in positions[:-1]:
        key = (position.phase, position.round)
        counts[key] = counts.get(key, 0) + 1
    return [(*key, count) for key, count in counts.items()]


def test_rounds_end_with_an_enhancement() -> None:
    positions = walk(Schedule(initialize=3, warm_up=2, enhance=4, refine=2, rounds=3))
    assert lengths(positions) == [
        ("initialize", 0, 3),
        ("warm-up", 0, 2),
        ("enhance", 0, 4),
        ("refine", 0, 2),
        ("enhance", 1, 4),
        ("refine", 1, 2),
        ("enhance", 2, 4),
    ]
    assert [p.total for p in positions] == list(range(22))
    assert positions[-1].drawn == 2 + 3 * 4


def test_phases_of_no_steps_are_left_out() -> None:
    assert lengths(walk(Schedule(0, 2, 5, 0, 1))) == [("warm-up", 0, 2), ("enhance", 0, 5)]
    assert lengths(walk(Schedule(0, 0, 5, 0, 1))) == [("enhance", 0, 5)]
    assert lengths(walk(Schedule(2, 0, 5, 0, 2))) == [
        ("initialize", 0, 2),
        ("enhance", 0, 5),
        ("enhance", 1, 5),
    ]


def test_a_phase_is_extended_while_its_loss_is_high() -> None:
    schedule = Schedule(0, 1, 4, 2, 2, 3, Extension(60, 90.0), Extension(100, 60.0))
    high = walk(schedule, {"enhance": 91, "refine": 61})
    assert lengths(high) == [
        ("warm-up", 0, 1), ("enhance", 0, 4 + 180), ("refine", 0, 2 + 300), ("enhance", 1, 4 + 180),
    ]  # fmt: skip
    assert lengths(walk(schedule, {"enhance": 90, "refine": 60}))[1][2] == 4


def test_the_steps_still_to_come_are_known_up_to_further_extensions() -> None:
    """The bar of progress ran to its end before a run whose warm-up or first rounds had become longer."""
    schedule = Schedule(3, 2, 4, 2, 3)
    assert {expected_total(schedule, position) for position in walk(schedule)} == {21}
    extended = walk(dataclasses.replace(schedule, extensions=1), {"enhance": 91})
    totals = [expected_total(schedule, position) for position in extended]
    assert totals == sorted(totals)
    assert (totals[0], totals[9], totals[-1]) == (21, 21 + 60, 21 + 180)
    warm_up = Position("warm-up", step=1, length=2, total=4, drawn=1)
    assert expected_total(schedule, lengthen(warm_up, 5)) == 26


def test_an_extension_is_told_with_its_reason() -> None:
    schedule = Schedule(0, 0, 1, 1, 2, 3, Extension(60, 90.0), Extension(100, 60.0))
    first = begin(schedule)
    longer = advance(schedule, first, 93.25)
    assert describe_extension(schedule, first, longer, 93.25) == (
        "enhance 1 gets 60 steps more, so that the run takes longer: its loss is 93.2, more than 90 "
        "(1 of at most 3 times)"
    )
    assert describe_extension(schedule, longer, advance(schedule, longer, 93.0), 93.0) is None
    assert describe_extension(schedule, first, advance(schedule, first, 1.0), 1.0) is None


def test_an_extension_in_a_run_is_heard(config: RunConfig, tmp_path: Path) -> None:
    options = ClipLitLatentOptions(**{**SMALL_PAIR, "extensions": 1})  # type: ignore[arg-type]
    config = dataclasses.replace(config, method="clip-lit-latent", options=options)
    notes: list[str] = []
    stop = after_steps(100)
    train(config, tmp_path / "run", listen=lambda event: notes.append(str(event)), should_stop=stop)
    assert any("enhance 1 gets 60 steps more" in note for note in notes)


def test_a_warm_up_can_be_lengthened() -> None:
    schedule = Schedule(0, 3, 1, 0, 1)
    position = advance(schedule, begin(schedule), 0)
    position = lengthen(position, 5)
    steps = 0
    while position.phase == "warm-up":
        position, steps = advance(schedule, position, 0), steps + 1
    assert steps == 3 - 1 + 5


def test_published_lengths() -> None:
    clip_lit = RunConfig("clip-lit", ClipLitOptions(), DATA).schedule()
    assert clip_lit == Schedule(8000, 1000, 2100, 1000, 16, 20, Extension(60, 90.0), Extension(100, 60.0))
    assert RunConfig("rave", RaveOptions(), DATA).schedule() == Schedule(0, 1000, 5000, 0, 1)


def test_a_lengthened_run_gets_the_steps_that_were_asked_for() -> None:
    """Where the loss was high, 2 steps became 1202, since the phase could be extended anew."""
    schedule = Schedule(initialize=0, warm_up=0, enhance=3, refine=0, rounds=1, extensions=20)
    position = reopen(schedule, Position("done", total=3, drawn=3), 2)
    for _ in range(2):
        position = advance(schedule, position, running_loss=1000.0)
    assert (position.phase, position.total) == ("done", 5)
