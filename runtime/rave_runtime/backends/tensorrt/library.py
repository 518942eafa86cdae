"""Finds NVIDIA's two TensorRT libraries, checks their versions, and finds the GPU that they run on.

TensorRT tunes an engine on the GPU that will run it. TensorRT for RTX builds engines on any machine, for
several generations of GPUs at once, and finishes compiling them on the GPU that runs them.
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
    """One of the two libraries.

    Attributes:
        module: the name of its Python module.
        title: its name in messages.
        oldest: oldest version that can be used. TensorRT's strong typing is incomplete before 10.12.
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
"""Compute capabilities for which TensorRT for RTX builds by default: Ampere, Ada, Blackwell and newer, but
neither Turing (7.5) nor Hopper (9.0). Source: the header of a plan of 1.7.1, and NVIDIA's support matrix."""

TURING_TARGETS: Final = ("7.5",)
"""Turing, for which TensorRT for RTX builds only on request, and only from graphs without matrix products."""

TargetSet = tuple[str, ...]
"""Compute capabilities of one engine of TensorRT for RTX: `RTX_TARGETS` or `TURING_TARGETS`."""


@dataclass(frozen=True)
class Gpu:
    """This machine's GPU and the versions of the libraries, with which an engine's key is compared.

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
    """Imports one of the two libraries and returns its module.

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
    """Returns the modules of those of the two libraries that can be used.

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
    """Imports NVIDIA's Python bindings of the CUDA runtime and returns the module.

    Raises:
        DeviceError: they are missing.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise DeviceError(f"{error.name or 'cuda'} is missing: pip install 'rave-backlit[trt]'") from error
    return runtime


def find_gpu(cudart: Any, versions: dict[Flavour, str]) -> Gpu:
    """Describes the first GPU of this machine.

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
    """Returns the targets that include a GPU; None where TensorRT for RTX does not support the GPU."""
    sets: tuple[TargetSet, ...] = (RTX_TARGETS, TURING_TARGETS)
    return next((targets for targets in sets if runs_rtx(compute_capability, targets)), None)


def runs_rtx(compute_capability: str, targets: TargetSet) -> bool:
    """Whether a GPU runs an engine of TensorRT for RTX that was built for some targets."""
    capabilities = [target for target in targets if target != "newer"]
    is_newer = all(_number(compute_capability) > _number(target) for target in capabilities)
    return compute_capability in capabilities or ("newer" in targets and is_newer)


def _number(compute_capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in compute_capability.split("."))


def checked(result: tuple[Any, ...]) -> Any:
    """Returns the value of a CUDA call's result, which is an error code and perhaps a value.

    Raises:
        DeviceError: the call failed.
    """
    if int(result[0]):
        raise DeviceError(f"CUDA failed with {result[0]}: less memory is needed with a smaller --tile-size")
    return result[1] if len(result) > 1 else None
