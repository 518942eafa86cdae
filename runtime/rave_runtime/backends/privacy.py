"""Turns off the usage reports of other libraries.

Several libraries that this project uses send usage reports unless they are told not to. Nobody who
enhances photographs has agreed to that, so importing any package of this project turns the reports off, for
this process and for the processes that it starts. No option turns them on.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # type checkers read it as True; programs need not wait for the import of typing
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

REPORTS_OFF: Final[Mapping[str, str]] = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime from 1.31 on keeps an id and a database of events in HOME
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",  # several libraries obey it
}
"""Environment variables that tell libraries to report nothing, and their values."""

_WINDOWS_FAULT: Final = "DLL load failed"
_WINDOWS_REMEDY: Final = (
    " Windows lacks a library that it needs: install Microsoft's Visual C++ Redistributable, from "
    "https://aka.ms/vs/17/release/vc_redist.x64.exe"
)


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

        remedy = _WINDOWS_REMEDY if str(error).startswith(_WINDOWS_FAULT) else ""
        raise DeviceError(f"onnxruntime cannot be imported: {error}{remedy}") from error
    # The calling program may have imported it earlier; on Windows only this call turns its reports off.
    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    return onnxruntime
