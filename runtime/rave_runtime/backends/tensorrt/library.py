"""NVIDIA's two TensorRTs as libraries: which are installed, which versions serve, and the GPU they run on.

TensorRT tunes engines on the GPU that runs them. TensorRT for RTX builds engines anywhere, for several
generations of GPUs at once, and the GPU that runs them compiles them to the end.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any, Final

from rave_runtime.bundle import Flavour
from rave_runtime.errors import DeviceError, reason_of


@dataclass(frozen=True)
class Library:
    """One of the two.

    Attributes:
        module: its name in Python.
        title: its name for people.
        oldest: first version that serves. Strong typing was young in TensorRT before 10.12.
        extra: the extra of this distribution that installs it.
    """

    module: str
    title: str
    oldest: tuple[int, int]
    extra: str


LIBRARIES: Final[dict[Flavour, Library]] = {
    "tensorrt": Library("tensorrt", "TensorRT", (10, 12), "trt"),
    "tensorrt-rtx": Library("tensorrt_rtx", "TensorRT for RTX", (1, 7), "rtx"),
}

RTX_TARGETS: Final = ("8.0", "8.6", "8.9", "12.0", "12.1", "newer")
"""Compute capabilities for which TensorRT for RTX builds by default: Ampere, Ada, Blackwell and what follows,
neither Turing (7.5) nor Hopper (9.0). Source: the header of a plan of 1.7.1, and NVIDIA's support matrix."""

TURING_TARGETS: Final = ("7.5",)
"""Turing, for which TensorRT for RTX builds where it is told to, from graphs without matrix products."""

TargetSet = tuple[str, ...]
"""Compute capabilities of one engine of TensorRT for RTX: `RTX_TARGETS` or `TURING_TARGETS`."""


@dataclass(frozen=True)
class Gpu:
    """What an engine's key is compared with: this machine's GPU, and the versions of the libraries.

    Attributes:
        name: the name of the GPU's model.
        compute_capability: such as "9.0".
        tensorrt_version: the version of TensorRT, empty where it is not installed.
        rtx_version: the version of TensorRT for RTX, empty where it is not installed.
    """

    name: str
    compute_capability: str
    tensorrt_version: str = ""
    rtx_version: str = ""


def import_library(flavour: Flavour) -> Any:
    """The module of a TensorRT.

    Raises:
        DeviceError: it is missing or too old; the message says how to get it.
    """
    library = LIBRARIES[flavour]
    remedy = f"pip install 'rave-backlit[{library.extra}]'"
    try:
        module = importlib.import_module(library.module)
    except ImportError as error:
        raise DeviceError(f"{library.title} is missing ({reason_of(error)}): {remedy}") from error
    version = tuple(int(part) for part in re.findall(r"\d+", module.__version__)[:2])
    if version < library.oldest:
        oldest = ".".join(map(str, library.oldest))
        raise DeviceError(
            f"{library.title} {module.__version__} is too old, {oldest} or newer is needed: {remedy} -U"
        )
    return module


def installed_libraries() -> dict[Flavour, Any]:
    """The modules of both, as far as they are installed.

    Raises:
        DeviceError: neither can be used.
    """
    modules: dict[Flavour, Any] = {}
    reasons = []
    for flavour in LIBRARIES:
        try:
            modules[flavour] = import_library(flavour)
        except DeviceError as error:
            reasons.append(str(error))
    if not modules:
        raise DeviceError("; ".join(reasons))
    return modules


def import_cuda() -> Any:
    """NVIDIA's Python bindings of the CUDA runtime.

    Raises:
        DeviceError: they are missing.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise DeviceError(f"{error.name or 'cuda'} is missing: pip install 'rave-backlit[trt]'") from error
    return runtime


def find_gpu(cudart: Any, versions: dict[Flavour, str]) -> Gpu:
    """The first GPU of this machine.

    Args:
        cudart: what `import_cuda` returns.
        versions: the versions of the libraries that are installed.

    Raises:
        DeviceError: CUDA sees none.
    """
    error, count = cudart.cudaGetDeviceCount()
    if int(error) or not count:
        raise DeviceError("no NVIDIA GPU is visible to CUDA: check the driver with nvidia-smi")
    properties = checked(cudart.cudaGetDeviceProperties(0))
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    capability = f"{properties.major}.{properties.minor}"
    return Gpu(name.rstrip("\0"), capability, versions.get("tensorrt", ""), versions.get("tensorrt-rtx", ""))


def rtx_targets_of(compute_capability: str) -> TargetSet | None:
    """For what TensorRT for RTX builds an engine that a GPU runs; None where it knows no such GPU."""
    sets: tuple[TargetSet, ...] = (RTX_TARGETS, TURING_TARGETS)
    return next((targets for targets in sets if runs_rtx(compute_capability, targets)), None)


def runs_rtx(compute_capability: str, targets: TargetSet) -> bool:
    """Whether a GPU runs an engine of TensorRT for RTX that was built for some targets."""
    named = [target for target in targets if target != "newer"]
    is_newer = all(_number(compute_capability) > _number(target) for target in named)
    return compute_capability in named or ("newer" in targets and is_newer)


def _number(compute_capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in compute_capability.split("."))


def checked(result: tuple[Any, ...]) -> Any:
    """The value of a CUDA call.

    Raises:
        DeviceError: the call failed.
    """
    if int(result[0]):
        raise DeviceError(f"CUDA failed with {result[0]}: less memory is needed with a smaller --tile-size")
    return result[1] if len(result) > 1 else None
