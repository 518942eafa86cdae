"""Times programs in turns, so that what slows the machine slows all of them."""

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
"""A turn repeats a fast program for about this long, and the turn's median is one sample."""


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: turns of each program after its warm-up; with 0 the warm-up is the one sample.
        cap_s: seconds after which a single run is given up.
        round_s: a program whose warm-up run lasts longer than this is not run again: the warm-up is its
            one sample, and said to be so.
        memory_cap_mib: resident memory at which a program is stopped, or None.
        gpu: whether to ask the driver for the GPU's memory.
    """

    rounds: int = 5
    cap_s: float = 60.0
    round_s: float = 15.0
    memory_cap_mib: float | None = None
    gpu: bool = False


@dataclass(frozen=True)
class Measurement:
    """What was seen of one program.

    Attributes:
        outcome: "measured", or why there are fewer samples.
        seconds: one sample per round: the median of that turn's runs.
        build_s: seconds to build it (imports, weights, sessions).
        idle_rss_mib: peak resident memory after building.
        peak_rss_mib: peak resident memory over everything.
        gpu_mib: GPU memory held at the end, by the driver; None where not asked or no GPU.
        detail: words on an outcome that is not "measured".
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
    """Builds and warms each program once, then runs all in rounds, the order turned round each time.

    Args:
        programs: the programs, by name.
        plan: how much.
        notice: told what happens, for a progress display.

    Returns:
        A measurement per name. Nothing raises for a program's sake: running out of memory, outlasting
        the cap and failing are outcomes.
    """
    results: dict[str, Measurement] = {}
    runs: dict[str, int] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, program in programs.items():
            before = gpu_used_mib() if plan.gpu else None
            worker = stack.enter_context(Worker(program, plan.memory_cap_mib))
            first, warm = _prepare(worker, plan)
            results[name] = _first_measurement(first, warm, plan)
            if before is not None and warm.status == "ok":
                used = gpu_used_mib()
                gpu_mib = None if used is None else max(0.0, used - before)
                results[name] = replace(results[name], gpu_mib=gpu_mib)
            notice(f"{name}: {_words(results[name])}")
            if results[name].outcome == "measured":
                workers[name] = worker
                runs[name] = max(1, min(20, int(TURN_S / max(warm.seconds[0], 1e-6))))
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
    for name, taken in samples.items():
        if taken:
            results[name] = replace(results[name], seconds=tuple(taken))
    return results


def _prepare(worker: Worker, plan: Plan) -> tuple[Turn, Turn]:
    built = worker.build(max(plan.cap_s, BUILD_CAP_S))
    return built, (worker.run(plan.cap_s) if built.status == "ready" else built)


def _first_measurement(built: Turn, warm: Turn, plan: Plan) -> Measurement:
    build_s = built.seconds[0] if built.status == "ready" else 0.0
    idle = built.peak_rss_mib if built.status == "ready" else 0.0
    if warm.status != "ok":
        return Measurement(
            OUTCOMES[warm.status], (), build_s, idle, max(idle, warm.peak_rss_mib), detail=warm.detail
        )
    if plan.rounds == 0 or warm.seconds[0] > plan.round_s:
        why = f": longer than {plan.round_s:g} s" if plan.rounds else ""
        detail = f"one cold run{why}"
        return Measurement("one run", warm.seconds, build_s, idle, warm.peak_rss_mib, detail=detail)
    return Measurement("measured", warm.seconds, build_s, idle, warm.peak_rss_mib)


def _after(measurement: Measurement, turn: Turn) -> Measurement:
    peak = max(measurement.peak_rss_mib, turn.peak_rss_mib)
    if turn.status == "ok":
        return replace(measurement, peak_rss_mib=peak)
    return replace(measurement, outcome=OUTCOMES[turn.status], peak_rss_mib=peak, detail=turn.detail)


def _words(measurement: Measurement) -> str:
    if measurement.seconds:
        return f"{measurement.seconds[0]:.3g} s, {measurement.peak_rss_mib:.0f} MiB"
    return f"{measurement.outcome} ({measurement.detail})"
