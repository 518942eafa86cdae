"""The measuring processes on programs whose time and memory are known."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes.process import Program, Turn, Worker
from benchmarks.processes.worker import classify, resolve

CAP_S = 20.0
KNOWN = Path(__file__).with_name("known_programs.py")


def known(name: str, **arguments: Any) -> Program:
    return Program(f"{KNOWN}:{name}", arguments)


def one_run(program: Program, cap_s: float = CAP_S, memory_cap_mib: float | None = None) -> Turn:
    with Worker(program, memory_cap_mib) as worker:
        built = worker.build(CAP_S)
        return worker.run(cap_s) if built.status == "ready" else built


def test_a_sleep_takes_its_time() -> None:
    with Worker(known("sleep", seconds=0.05)) as worker:
        assert worker.build(CAP_S).status == "ready"
        turn = worker.run(CAP_S, runs=3)
    assert turn.status == "ok"
    assert len(turn.seconds) == 3
    assert min(turn.seconds) >= 0.05
    assert min(turn.seconds) < 0.08


def test_an_allocation_is_seen_whole() -> None:
    with Worker(known("allocate", mib=64)) as worker:
        idle = worker.build(CAP_S).peak_rss_mib
        peak = worker.run(CAP_S).peak_rss_mib
        assert worker.run(CAP_S).peak_rss_mib == pytest.approx(peak, abs=4)
    assert 4 < idle < 60
    assert peak - idle == pytest.approx(64, abs=3)


def test_the_parents_memory_is_not_the_programs() -> None:
    ballast = bytearray(b"x" * (200 * 2**20))
    assert one_run(known("allocate", mib=1)).peak_rss_mib < 100
    assert len(ballast)


def test_over_the_cap_is_a_result() -> None:
    turn = one_run(known("sleep", seconds=30), cap_s=0.2)
    assert (turn.status, turn.detail) == ("over_cap", "longer than 0.2 s")


def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    """A rave-run over the cap went on, and took the processor from whoever was measured next."""
    file = tmp_path / "child"
    assert one_run(known("wait_for_child", seconds=60, file=str(file)), cap_s=0.5).status == "over_cap"
    child = int(file.read_text())
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child is still there")


def test_growing_past_the_memory_cap_is_a_result() -> None:
    turn = one_run(known("grow", step_mib=16), memory_cap_mib=150)
    assert (turn.status, turn.detail) == ("out_of_memory", "more than 150 MiB")
    assert 150 < turn.peak_rss_mib < 400


@pytest.mark.parametrize(
    ("program", "status", "detail"),
    [
        (known("fail", words="no such weights"), "failed", "RuntimeError: no such weights"),
        (known("fail", words="no such weights", at_once=True), "failed", "RuntimeError: no such weights"),
        (known("fail", words="", kind="MemoryError"), "out_of_memory", "MemoryError: "),
        (known("fail", words="CUDA out of memory."), "out_of_memory", "RuntimeError: CUDA out of memory."),
        (known("die", code=3), "failed", "the process ended with exit status 3"),
    ],
)
def test_failures_are_results(program: Program, status: str, detail: str) -> None:
    turn = one_run(program)
    assert (turn.status, turn.detail) == (status, detail)


def test_a_killed_program_ran_out_of_memory() -> None:
    with Worker(known("sleep", seconds=30)) as worker:
        worker.build(CAP_S)
        worker._process.kill()
        turn = worker.run(CAP_S)
    assert turn.status == "out_of_memory"
    assert "killed" in turn.detail


def test_a_talkative_program_does_not_disturb_the_answers() -> None:
    assert one_run(known("shout", text='{"status": "failed"}')).status == "ok"


def test_libraries_errors_of_memory_are_recognised() -> None:
    assert (
        classify(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")) == "out_of_memory"
    )
    assert classify(RuntimeError("onnxruntime: std::bad_alloc")) == "out_of_memory"
    assert classify(ValueError("a shape")) == "failed"


def test_an_entry_is_found_by_name() -> None:
    import math

    found: object = resolve("math:hypot")
    assert found is math.hypot
