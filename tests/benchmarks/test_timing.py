"""Turns, order, outcomes and statistics on known programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes.process import Program
from benchmarks.processes.summary import paired_ratio, summarize
from benchmarks.processes.turns import Plan, measure_in_turns

KNOWN = Path(__file__).with_name("known_programs.py")


def sleep(seconds: float, first: float | None = None) -> Program:
    arguments: dict[str, Any] = {"seconds": seconds, "first": first}
    return Program(f"{KNOWN}:sleep", arguments)


def test_programs_in_turns_give_their_times_and_ratio() -> None:
    said: list[str] = []
    programs = {"short": sleep(0.02), "long": sleep(0.06)}
    results = measure_in_turns(programs, Plan(rounds=3, cap_s=10), said.append)
    assert [m.outcome for m in results.values()] == ["measured", "measured"]
    assert [len(m.seconds) for m in results.values()] == [3, 3]
    assert summarize(results["short"].seconds).median == pytest.approx(0.02, abs=0.015)
    assert summarize(results["long"].seconds).median == pytest.approx(0.06, abs=0.03)
    ratio = paired_ratio(results["long"].seconds, results["short"].seconds)
    assert ratio == pytest.approx(3, rel=0.5)
    assert [line.split(":")[0] for line in said] == ["short", "long"]


def test_the_warm_up_is_not_a_sample() -> None:
    result = measure_in_turns({"cold": sleep(0.01, first=0.3)}, Plan(rounds=2))["cold"]
    assert max(result.seconds) < 0.1


def test_the_warm_up_is_no_sample_of_a_program_that_fails_after_it() -> None:
    result = measure_in_turns({"stuck": sleep(30, first=0.01)}, Plan(rounds=2, cap_s=0.5))["stuck"]
    assert (result.outcome, result.seconds) == ("over the cap", ())


def test_a_slow_program_runs_once_and_says_so() -> None:
    result = measure_in_turns({"slow": sleep(0.3)}, Plan(rounds=3, round_s=0.1))["slow"]
    assert result.outcome == "one run"
    assert len(result.seconds) == 1
    assert result.detail == "one cold run: longer than 0.1 s"


def test_what_ends_early_leaves_the_others_alone() -> None:
    programs = {
        "endless": sleep(30),
        "greedy": Program(f"{KNOWN}:grow", {"step_mib": 16}),
        "broken": Program(f"{KNOWN}:fail", {"words": "torn"}),
        "good": sleep(0.01),
    }
    results = measure_in_turns(programs, Plan(rounds=1, cap_s=1.0, memory_cap_mib=120))
    assert {name: m.outcome for name, m in results.items()} == {
        "endless": "over the cap",
        "greedy": "out of memory",
        "broken": "failed",
        "good": "measured",
    }
    assert results["endless"].detail == "longer than 1 s"
    assert results["greedy"].peak_rss_mib > 120
    assert "torn" in results["broken"].detail
    assert results["endless"].seconds == ()


@pytest.mark.gpu
def test_gpu_memory_is_the_drivers() -> None:
    programs = {str(mib): Program(f"{KNOWN}:allocate_on_gpu", {"mib": mib}) for mib in (64, 1088)}
    results = measure_in_turns(programs, Plan(rounds=1, gpu=True))
    small, large = (m.gpu_mib for m in results.values())
    assert small is not None
    assert large is not None
    assert large - small == pytest.approx(1024, abs=64)


def test_quartiles_and_median() -> None:
    summary = summarize([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (summary.low, summary.median, summary.high) == (2.0, 3.0, 4.0)
    assert (summary.least, summary.count) == (1.0, 5)
    assert summarize([7.0]).high == 7.0
    with pytest.raises(ValueError, match="at least one sample is needed"):
        summarize([])


def test_a_paired_ratio_ignores_drift() -> None:
    machine_slows = [1.0, 2.0, 4.0]
    assert paired_ratio([3 * s for s in machine_slows], machine_slows) == pytest.approx(3)
    assert paired_ratio([], [1.0]) is None
