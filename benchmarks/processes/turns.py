"""Times programs in turns, so that other load on the machine slows all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.processes.memory import gpu_used_mib
from benchmarks.processes.process import Program, Turn, Worker

Outcome = Literal["measured", "one run", "out of memory", "over the cap", "failed", "not tried"]

BUILD_CAP_S = 120.0
TURN_S = 0.2
"""Seconds for which a turn repeats a fast program; the median of the turn's runs is one sample."""


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: turns of each program after its warm-up; with 0 the warm-up is the one sample.
        cap_s: seconds after which a single run is given up.
        round_s: a program whose warm-up run takes longer than this is not run again; the warm-up is then
            its only sample, with the outcome "one run".
        memory_cap_mib: resident memory at which a program is stopped, or None.
        gpu: whether to measure the GPU's memory as well.
    """

    rounds: int = 5
    cap_s: float = 60.0
    round_s: float = 15.0
    memory_cap_mib: float | None = None
    gpu: bool = False


@dataclass(frozen=True)
class Measurement:
    """The measurements of one program.

    Attributes:
        outcome: "measured", or why there are fewer samples.
        seconds: one sample per round: the median of that turn's runs.
        build_s: seconds to build it (imports, weights, sessions).
        idle_rss_mib: peak resident memory of its process until it was built.
        peak_rss_mib: peak resident memory of its process in all.
        gpu_mib: GPU memory that the driver counts more than before it was built; None if not measured.
        detail: the reason for an outcome that is not "measured".
    """

    outcome: Outcome
    seconds: tuple[float, ...] = ()
    build_s: float = 0.0
    idle_rss_mib: float = 0.0
    peak_rss_mib: float = 0.0
    gpu_mib: float | None = None
    detail: str = ""


OUTCOMES: Mapping[str, Outcome] = {
    "out_of_memory": "out of memory",
    "over_cap": "over the cap",
    "failed": "failed",
}


def measure_in_turns(
    programs: Mapping[str, Program], plan: Plan, notice: Callable[[str], None] = lambda _: None
) -> dict[str, Measurement]:
    """Builds and warms up each program once, then runs all in rounds, each in the reverse order of the last.

    Args:
        programs: the programs, by name.
        plan: how much to measure.
        notice: called with a line on each program, for a progress display.

    Returns:
        A measurement per name. A program that runs out of memory, takes longer than the cap or fails raises
        nothing here; that is its outcome.
    """
    results: dict[str, Measurement] = {}
    runs: dict[str, int] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, program in programs.items():
            before = gpu_used_mib() if plan.gpu else None
            worker = stack.enter_context(Worker(program, plan.memory_cap_mib))
            build, warm_up = _prepare(worker, plan)
            results[name] = _first_measurement(build, warm_up, plan)
            if before is not None and warm_up.status == "ok":
                after = gpu_used_mib()
                gpu_mib = None if after is None else max(0.0, after - before)
                results[name] = replace(results[name], gpu_mib=gpu_mib)
            notice(f"{name}: {_words(results[name])}")
            if results[name].outcome == "measured":
                workers[name] = worker
                runs[name] = max(1, min(20, int(TURN_S / max(warm_up.seconds[0], 1e-6))))
            else:
                worker.stop()
        samples: dict[str, list[float]] = {name: [] for name in workers}
        order = list(workers)
        for _ in range(plan.rounds):
            for name in order:
                if results[name].outcome == "measured":
                    turn = workers[name].run(plan.cap_s, runs[name])
                    results[name] = _after(results[name], turn)
                    if turn.status == "ok":
                        samples[name].append(statistics.median(turn.seconds))
            order.reverse()
    for name, times in samples.items():
        if times:
            results[name] = replace(results[name], seconds=tuple(times))
    return results


def _prepare(worker: Worker, plan: Plan) -> tuple[Turn, Turn]:
    """The turn that builds a program, and the one that warms it up, or the first again if that failed."""
    build = worker.build(max(plan.cap_s, BUILD_CAP_S))
    return build, (worker.run(plan.cap_s) if build.status == "ready" else build)


def _first_measurement(build: Turn, warm_up: Turn, plan: Plan) -> Measurement:
    """The measurement after building and warming up, whose outcome decides whether rounds follow."""
    build_s = build.seconds[0] if build.status == "ready" else 0.0
    idle = build.peak_rss_mib if build.status == "ready" else 0.0
    if warm_up.status != "ok":
        return Measurement(
            OUTCOMES[warm_up.status],
            (),
            build_s,
            idle,
            max(idle, warm_up.peak_rss_mib),
            detail=warm_up.detail,
        )
    if plan.rounds == 0 or warm_up.seconds[0] > plan.round_s:
        why = f": longer than {plan.round_s:g} s" if plan.rounds else ""
        detail = f"one cold run{why}"
        return Measurement("one run", warm_up.seconds, build_s, idle, warm_up.peak_rss_mib, detail=detail)
    return Measurement("measured", warm_up.seconds, build_s, idle, warm_up.peak_rss_mib)


def _after(measurement: Measurement, turn: Turn) -> Measurement:
    """A measurement with the peak memory, and if it failed the outcome, of one more turn."""
    peak = max(measurement.peak_rss_mib, turn.peak_rss_mib)
    if turn.status == "ok":
        return replace(measurement, peak_rss_mib=peak)
    # Without the seconds of the warm-up: they are no sample of a round.
    outcome = OUTCOMES[turn.status]
    return replace(measurement, outcome=outcome, seconds=(), peak_rss_mib=peak, detail=turn.detail)


def _words(measurement: Measurement) -> str:
    if measurement.seconds:
        return f"{measurement.seconds[0]:.3g} s, {measurement.peak_rss_mib:.0f} MiB"
    return f"{measurement.outcome} ({measurement.detail})"
