"""Starts, runs, stops and watches programs under measurement, each in a process.

A program is a function, named by module or file, that takes JSON values as arguments and returns the callable
to be timed. Its process is stopped (SIGSTOP) between its turns, so that spinning threads of one program do
not slow another. It is killed when a turn takes longer than its cap or when its memory exceeds a limit; both
are recorded as results.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.processes.memory import rss_mib

Status = Literal["ready", "ok", "out_of_memory", "over_cap", "failed"]
POLL_S = 0.02
"""Seconds between two looks at a process's time and memory."""

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Program:
    """What to measure.

    Attributes:
        entry: `module:function` or `file.py:function`; the function returns the callable that is timed.
        arguments: the function's arguments by name.
        threads: how many threads its libraries may use, set through their environment variables.
    """

    entry: str
    arguments: dict[str, Any] = field(default_factory=dict)
    threads: int = 1


@dataclass(frozen=True)
class Turn:
    """The result of one turn of a program.

    Attributes:
        status: "ready" if it was built, "ok" if it ran, else why it ended.
        seconds: the time of each run, or of building if the status is "ready".
        peak_rss_mib: largest resident memory of the process so far.
        detail: the message of the error, or "".
    """

    status: Status
    seconds: tuple[float, ...] = ()
    peak_rss_mib: float = 0.0
    detail: str = ""


class Worker:
    """The process of one program; as a context manager, it ends the process when the block ends.

    Args:
        program: the program to build.
        memory_cap_mib: resident memory at which the process is killed, or None.
    """

    def __init__(self, program: Program, memory_cap_mib: float | None = None) -> None:
        threads = str(program.threads)
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        paths = [str(ROOT), os.environ.get("PYTHONPATH")]
        self._memory_cap_mib = memory_cap_mib
        self._order = json.dumps({"entry": program.entry, "arguments": program.arguments})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.processes.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **limits, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            process_group=0,  # so that what it starts, such as rave-run, is stopped and killed with it
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def build(self, cap_s: float) -> Turn:
        """Builds the program within a time limit; `seconds` of the turn is the time that this took."""
        return self._turn(self._order, cap_s)

    def run(self, cap_s: float, runs: int = 1) -> Turn:
        """Runs the program a number of times, each timed inside its process; `cap_s` limits their sum."""
        self._signal(signal.SIGCONT)
        turn = self._turn(json.dumps({"runs": runs}), cap_s)
        self._signal(signal.SIGSTOP)
        return turn

    def stop(self) -> None:
        """Ends the process and all that it started."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _signal(self, which: signal.Signals) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, which)

    def _turn(self, message: str, cap_s: float) -> Turn:
        """Sends the worker one line and waits for its answer, within a time and a memory limit."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watch = _Watch(self._process, cap_s, self._memory_cap_mib)
        try:
            self._process.stdin.write(message + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        kill_reason = watch.end()
        if not line:
            code = self._process.wait()
            if kill_reason is None:
                killed = code == -signal.SIGKILL
                kill_reason = (
                    ("out_of_memory", "killed, as a system short of memory does") if killed else None
                )
            status, detail = kill_reason or ("failed", f"the process ended with exit status {code}")
            return Turn(status, (), watch.peak_mib, detail)
        answer = json.loads(line)
        seconds = answer.get("seconds", ())
        seconds = tuple(seconds) if isinstance(seconds, list) else (seconds,) if seconds else ()
        return Turn(answer["status"], seconds, answer["peak_rss_mib"], answer.get("detail", ""))


class _Watch:
    """Kills a process that takes too long or too much memory, with all it started, and records the reason."""

    def __init__(self, process: subprocess.Popen[str], cap_s: float, memory_cap_mib: float | None) -> None:
        self.peak_mib = 0.0
        self._reason: tuple[Status, str] | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._poll, args=(process, cap_s, memory_cap_mib), daemon=True)
        self._thread.start()

    def end(self) -> tuple[Status, str] | None:
        """Stops watching; returns status and detail if the process was killed, else None."""
        self._done.set()
        self._thread.join()
        return self._reason

    def _poll(self, process: subprocess.Popen[str], cap_s: float, memory_cap_mib: float | None) -> None:
        """Reads time and memory of the process again and again until the watch ends or it is killed."""
        deadline = time.monotonic() + cap_s
        while not self._done.wait(POLL_S):
            self.peak_mib = max(self.peak_mib, rss_mib(process.pid))
            if memory_cap_mib is not None and self.peak_mib > memory_cap_mib:
                self._reason = ("out_of_memory", f"more than {memory_cap_mib:.0f} MiB")
            elif time.monotonic() > deadline:
                self._reason = ("over_cap", f"longer than {cap_s:g} s")
            else:
                continue
            os.killpg(process.pid, signal.SIGKILL)
            return
