"""Builds one program and runs it when asked, in the process that `process` measures.

It reads JSON lines from standard input and answers with JSON lines on the original standard output. Output of
the program goes to standard error instead. It imports nothing large, so that the measured memory is the
program's.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.processes.memory import peak_rss_mib

NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
    "not enough memory",
)
"""Phrases, in lower case, by which libraries report a lack of memory."""


def main() -> None:
    """Answers commands until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**fields: Any) -> None:
        answers.write(json.dumps({**fields, "peak_rss_mib": peak_rss_mib()}) + "\n")

    order = json.loads(sys.stdin.readline())
    try:
        start = time.perf_counter()
        run = resolve(order["entry"])(**order["arguments"])
        answer(status="ready", seconds=time.perf_counter() - start)
        for line in sys.stdin:
            seconds = []
            for _ in range(json.loads(line)["runs"]):
                start = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - start)
            answer(status="ok", seconds=seconds)
    except Exception as error:
        answer(status=classify(error), detail=f"{type(error).__name__}: {error}"[:500])


def resolve(entry: str) -> Callable[..., Callable[[], object]]:
    """The function that `module:function` or `path/to/file.py:function` names."""
    where, _, name = entry.rpartition(":")
    function: Callable[..., Callable[[], object]]
    if where.endswith(".py"):
        function = runpy.run_path(where)[name]
    else:
        function = getattr(importlib.import_module(where), name)
    return function


def classify(error: BaseException) -> str:
    """The status of an error: "out_of_memory" if its type or message says so, else "failed"."""
    words = f"{type(error).__name__} {error}".lower()
    if isinstance(error, MemoryError) or any(phrase in words for phrase in NO_MEMORY):
        return "out_of_memory"
    return "failed"


if __name__ == "__main__":
    main()
