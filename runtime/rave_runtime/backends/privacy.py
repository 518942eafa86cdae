"""Libraries that report their use to their makers do not do so here.

Several libraries below and around this project send usage reports unless they are told not to. Nobody who
enhances photographs has agreed to that, so importing any package of this project turns the reports off, for
this process and for the processes that it starts. No option turns them on.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as typing has it, which programs need not wait for
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

REPORTS_OFF: Final[Mapping[str, str]] = {
    "ORT_DISABLE_TELEMETRY": "1",  # from onnxruntime 1.31 on: an id and a database of events at home
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",  # what several libraries heed
}
"""Environment variables by which libraries are told to report nothing, and their values."""


def turn_off_reports() -> None:
    """Tells libraries that are imported from now on, here and in child processes, to report nothing."""
    os.environ.update(REPORTS_OFF)


def import_onnxruntime() -> Any:
    """Imports onnxruntime without its usage reports; all code of this project imports it by this function.

    Returns:
        The module.

    Raises:
        DeviceError: it cannot be imported.
    """
    turn_off_reports()
    try:
        import onnxruntime
    except ImportError as error:
        from rave_runtime.errors import DeviceError

        raise DeviceError(f"onnxruntime cannot be imported: {error}") from error
    # The host program may have imported it before; on Windows only this call turns it off.
    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    return onnxruntime
