"""Chooses the device and precision, and says why. What was asked for but is missing is an error."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

from rave_runtime.backends.limits import startable_threads, usable_processors
from rave_runtime.backends.privacy import import_onnxruntime
from rave_runtime.bundle import Manifest, Precision
from rave_runtime.errors import DeviceError

DeviceName = Literal["cpu", "openvino", "cuda", "tensorrt"]
DEVICES: Final[tuple[DeviceName, ...]] = get_args(DeviceName)

GPUS: Final[tuple[DeviceName, ...]] = ("cuda", "tensorrt")
"""Devices that gain from batches of tiles and from half precision; one tile already keeps a CPU busy."""

MIN_INT8_SIDE_PX: Final = 32
"""Pictures with a shorter side are left out when the parity of INT8 is judged. Its rounding averages out over
a photograph but not over a few pixels, so the error of tiny pictures says nothing about photographs."""

ACCEPTED_PSNR_DB: Final = 45.0
""""auto" chooses INT8 only where the exporter measured at least this PSNR against float32."""

CUDA_REMEDY: Final = (
    "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]'"
)
"""onnxruntime and onnxruntime-gpu overwrite each other's files: only one may be installed."""


_CUDA: Final = "CUDAExecutionProvider"

_EXACT_CUDA: Final = {"use_tf32": "0"}
"""From Ampere on, onnxruntime otherwise multiplies float32 with the ten bits of TF32."""


@dataclass(frozen=True)
class Device:
    """What runs the graphs.

    Attributes:
        name: as on the command line.
        provider: onnxruntime's name for it, or the name of the library that runs without onnxruntime.
        reason: why it was chosen, as shown to users.
        options: the options that are passed to the provider.
    """

    name: DeviceName
    provider: str
    reason: str = ""
    options: dict[str, str] = field(default_factory=dict)


class Setup(NamedTuple):
    """What a run computes with, for its log and report.

    Attributes:
        device: as on the command line.
        provider: onnxruntime's provider, or the library that stands in for one.
        precision: "fp32", "fp16" or "int8".
        working_size_px: long side on which the light is estimated; None is full resolution.
    """

    device: str
    provider: str
    precision: str
    working_size_px: int | None


def choose_device(device: str) -> Device:
    """Returns the device that a name stands for on this machine.

    "auto" takes CUDA where onnxruntime can use it, then OpenVINO, then the plain CPU.

    Raises:
        DeviceError: the name is unknown, or what it names is not installed; the message says how to
            get it.
    """
    if device == "auto":
        if has_nvidia_gpu() and _CUDA in onnxruntime_providers():
            return Device("cuda", _CUDA, "onnxruntime can use the NVIDIA GPU", _EXACT_CUDA)
        if has_openvino():
            if _allowed_threads() < _openvino_threads():
                reason = "OpenVINO needs more threads than the system allows (ulimit -u)"
                return Device("cpu", "CPUExecutionProvider", reason)
            return Device("openvino", "OpenVINO", "OpenVINO is installed and there is no usable GPU")
        return Device("cpu", "CPUExecutionProvider", "there is neither a usable GPU nor OpenVINO")
    reason = "it was asked for"
    if device == "cpu":
        return Device("cpu", "CPUExecutionProvider", reason)
    if device == "openvino":
        if not has_openvino():
            raise DeviceError("OpenVINO is not installed: pip install 'rave-backlit[openvino]'")
        if (allowed := _allowed_threads()) < _openvino_threads():
            raise DeviceError(
                f"OpenVINO needs up to {_openvino_threads()} threads and the system allows {allowed} more "
                "(ulimit -u, or the container's limit): raise that limit, or use --device cpu"
            )
        return Device("openvino", "OpenVINO", reason)
    if device == "cuda":
        if _CUDA not in onnxruntime_providers():
            raise DeviceError(f"this onnxruntime has no CUDA: {CUDA_REMEDY}")
        return Device("cuda", _CUDA, reason, _EXACT_CUDA)
    if device == "tensorrt":
        if not (_is_installed("tensorrt") or _is_installed("tensorrt_rtx")):
            raise DeviceError(
                "TensorRT is not installed: pip install 'rave-backlit[rtx]' for GeForce RTX 20 to 50, or "
                "'rave-backlit[trt]' for other NVIDIA GPUs"
            )
        if not _is_installed("cuda.bindings"):
            raise DeviceError("cuda.bindings is not installed: pip install 'rave-backlit[trt]'")
        return Device("tensorrt", "TensorRT", reason)
    raise DeviceError(f"device {device!r} is unknown: give one of auto, {', '.join(DEVICES)}")


def choose_precision(precision: str, device: Device, manifest: Manifest) -> Precision:
    """Returns the precision that an option stands for, on a device and with a bundle.

    "auto" takes INT8 on a CPU that is faster with it, if the bundle's recorded parity is at least
    `ACCEPTED_PSNR_DB` everywhere; FP16 on a GPU if the bundle has it; and float32 otherwise.

    Raises:
        DeviceError: the bundle lacks the precision that was asked for.
    """
    precisions = manifest.precisions()
    if precision == "auto":
        on_gpu = device.name in GPUS
        preferred: Precision = "fp16" if on_gpu else "int8"
        if preferred in precisions and (on_gpu or _may_take_int8(manifest)):
            return preferred
        return "fp32" if "fp32" in precisions else precisions[0]
    for candidate in precisions:
        if candidate == precision:
            return candidate
    raise DeviceError(
        f"the bundle has no {precision} graphs (it holds {', '.join(precisions)}): "
        f"choose one of those, or export it again with that precision"
    )


def _may_take_int8(manifest: Manifest) -> bool:
    """Whether this CPU runs a bundle's INT8 graphs faster than float32, and "auto" may choose them."""
    sums_fit = all(graph.fits_16_bits for graph in manifest.graphs if graph.precision == "int8")
    return is_faithful(manifest, "int8") and (sums_fit or sums_bytes_exactly())


def is_faithful(manifest: Manifest, precision: Precision) -> bool:
    """Whether a precision was measured at export and is close enough to float32 for "auto" to choose it."""
    measurements = [
        item
        for item in manifest.parity
        if item.precision == precision
        and (precision != "int8" or min(item.height_px, item.width_px) >= MIN_INT8_SIDE_PX)
    ]
    return bool(measurements) and all(
        item.psnr_db is None or item.psnr_db >= ACCEPTED_PSNR_DB for item in measurements
    )


@functools.cache
def sums_bytes_exactly() -> bool:
    """Whether this processor multiplies and adds bytes in 32 bits at once (VNNI, or any Arm).

    Other x86 processors add two products in 16 bits, which saturates, or take a slower way. Where the
    system does not tell, the answer is no, which is always safe though not always fastest.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "vnni" in flags


def load_cuda_libraries() -> None:
    """Loads CUDA's libraries from packages that pip installed, where onnxruntime alone does not find them.

    What onnxruntime prints of missing ones goes to standard error: standard output may be a photograph.
    """
    load = getattr(import_onnxruntime(), "preload_dlls", None)
    if load is not None:
        with contextlib.redirect_stdout(sys.stderr):
            load()


def onnxruntime_providers() -> list[str]:
    """Returns the names of onnxruntime's providers. Only this call imports onnxruntime."""
    providers: list[str] = import_onnxruntime().get_available_providers()
    return providers


def has_openvino() -> bool:
    """Whether OpenVINO is installed."""
    return _is_installed("openvino")


def _openvino_threads() -> int:
    """Returns the most threads that OpenVINO and the run that uses it start.

    On two processors they needed seven; with fewer OpenVINO failed or ended the whole process.
    """
    return 4 * usable_processors() + 4


def _allowed_threads() -> int:
    return startable_threads(_openvino_threads())


def has_nvidia_gpu() -> bool:
    """Whether the system shows an NVIDIA GPU to this process."""
    if platform.system() == "Windows":
        return Path(r"C:\Windows\System32\nvcuda.dll").exists()
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
