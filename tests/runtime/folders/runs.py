"""Options of runs that take little time."""

from __future__ import annotations

from rave_runtime.run.options import RunOptions

QUICK = RunOptions(device="cpu", precision="fp32", working_size=32)


def options(**changes: object) -> RunOptions:
    return RunOptions(device="cpu", precision="fp32", working_size=32, **changes)  # type: ignore[arg-type]
