"""Which execution provider and precision to use, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import onnxruntime

from rave_runtime.bundle import Manifest, Precision
from rave_runtime.errors import DeviceError

DeviceName = Literal["auto", "cpu"]
DEVICES: Final[tuple[DeviceName, ...]] = get_args(DeviceName)

PrecisionChoice = Literal["auto", "fp32", "fp16", "int8"]

ACCEPTED_PSNR_DB: Final = 45.0
"""INT8 is chosen by itself only where the exporter measured at least this against float32."""


@dataclass(frozen=True)
class Device:
    """An execution provider of onnxruntime with its options."""

    name: str
    provider: str
    options: dict[str, str] = field(default_factory=dict)


def choose_device(device: str) -> Device:
    """The device that a name means on this machine.

    Raises:
        DeviceError: the name is unknown, or what it names is not installed.
    """
    if device in {"auto", "cpu"}:
        return Device("cpu", "CPUExecutionProvider")
    raise DeviceError(f"device {device!r} is unknown: give one of {', '.join(DEVICES)}")


def choose_precision(precision: str, device: Device, manifest: Manifest) -> Precision:
    """The precision that a choice means for a device and bundle.

    "auto" takes INT8 on a CPU where the bundle's recorded parity is at least `ACCEPTED_PSNR_DB`.

    Raises:
        DeviceError: the bundle lacks the precision that was asked for.
    """
    held = manifest.precisions()
    if precision == "auto":
        measured = [item for item in manifest.parity if item.precision == "int8"]
        faithful = all(item.psnr_db is None or item.psnr_db >= ACCEPTED_PSNR_DB for item in measured)
        if device.name == "cpu" and "int8" in held and measured and faithful:
            return "int8"
        return "fp32" if "fp32" in held else held[0]
    for candidate in held:
        if candidate == precision:
            return candidate
    raise DeviceError(
        f"the bundle has no {precision} graphs (it holds {', '.join(held)}): "
        f"choose one of those, or export it again with --{precision}"
    )


def session_options(device: Device, threads: int) -> tuple[onnxruntime.SessionOptions, list[Any]]:
    """Options and provider list of an onnxruntime session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers: list[Any] = [(device.provider, device.options)]
    return options, providers
