"""What is installed, what would be used, and why."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable
from typing import Final

from rave_runtime.backends.devices import CUDA_REMEDY, has_nvidia_gpu, onnxruntime_providers
from rave_runtime.backends.limits import usable_processors
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import RaveError
from rave_runtime.files.cache_folder import cache_folder
from rave_runtime.version import __version__

_PACKAGES: Final = {
    "numpy": "",
    "pillow": "",
    "onnxruntime": "",
    "onnxruntime-gpu": "",
    "openvino": "faster on CPUs: pip install 'rave-backlit[openvino]'",
    "pillow-heif": "HEIC: pip install 'rave-backlit[heif]'",
    "rawpy": "camera raw files: pip install 'rave-backlit[raw]'",
    "pylibjxl": "JPEG XL: pip install 'rave-backlit[jxl]'",
    "imagecodecs": "16-bit colour: pip install 'rave-backlit[deep]'",
    "tensorrt": "NVIDIA engines: pip install 'rave-backlit[trt]'",
}


def diagnose(make_enhancer: Callable[[], Enhancer]) -> str:
    """A report as lines of text.

    Args:
        make_enhancer: makes the enhancer that a run with the same options would use.
    """
    lines = [
        f"rave-backlit {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"processors this process may use: {usable_processors()}",
        f"NVIDIA GPU visible: {'yes' if has_nvidia_gpu() else 'no'}",
        f"onnxruntime providers: {', '.join(onnxruntime_providers())}",
    ]
    lines.append(
        "usage reports of onnxruntime, OpenVINO, Ray and the model hub: off, rave-backlit sends nothing"
    )
    lines.append(f"compiled graphs are kept in: {cache_folder() or 'no folder'}")
    versions = {name: _version(name) for name in _PACKAGES}
    for name, hint in _PACKAGES.items():
        lines.append(f"{name}: {versions[name] or 'not installed'}" + (f" ({hint})" if hint else ""))
    if versions["onnxruntime"] and versions["onnxruntime-gpu"]:
        lines.append(
            "PROBLEM: onnxruntime and onnxruntime-gpu are both installed and overwrite each other; "
            f"do this: {CUDA_REMEDY}"
        )
    elif has_nvidia_gpu() and "CUDAExecutionProvider" not in onnxruntime_providers():
        lines.append(f"the GPU is not used, since this onnxruntime has no CUDA: {CUDA_REMEDY}")
    try:
        enhancer = make_enhancer()
        enhancer.prepare()
    except RaveError as error:
        return "\n".join([*lines, f"PROBLEM: {error}"])
    size = f"a long side of {enhancer.working_size_px} px" if enhancer.working_size_px else "full resolution"
    lines += [
        f"would use: {enhancer.precision} on {enhancer.device.provider}, since {enhancer.device.reason}",
        f"precisions in the model: {', '.join(enhancer.manifest.precisions())}",
        f"light is estimated at {size}, in tiles of {enhancer.tile_size_px} px",
    ]
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
