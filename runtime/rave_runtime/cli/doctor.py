"""The report of `rave-run --doctor`: what is installed, what would be used, and why."""

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
from rave_runtime.light.compiled import library
from rave_runtime.version import __version__

_EXTRAS: Final = (
    ("onnxruntime-gpu", "NVIDIA GPUs", None),
    ("openvino", "faster float32 on CPUs", "openvino"),
    ("simplejpeg", "JPEG decoded in less time", "fast"),
    ("pillow-heif", "HEIC", "heif"),
    ("rawpy", "camera raw files", "raw"),
    ("pylibjxl", "JPEG XL", "jxl"),
    ("imagecodecs", "16-bit colour and JPEG XL", "deep"),
    ("tifffile", "16-bit colour TIFF", "deep"),
    ("av", "films", "video"),
    ("fsspec", "URLs of stores", "remote"),
    ("ray", "clusters", "cluster"),
    ("starlette", "rave-serve", "serve"),
    ("tensorrt", "engines for data-centre GPUs", "trt"),
    ("tensorrt-rtx", "engines for GeForce RTX", "rtx"),
)
"""Libraries that may be missing: the package, what it is for, and the extra that brings it, if one does."""


def diagnose(make_enhancer: Callable[[], Enhancer]) -> str:
    """Returns the report as lines of text.

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
    lines.append(
        "passes over pixels: compiled"
        if library() is not None
        else "passes over pixels: by numpy, which takes longer: install a C compiler, then rave-backlit again"
    )
    lines.append(f"compiled graphs are kept in: {cache_folder() or 'no folder'}")
    lines += [f"{name}: {_version(name) or 'not installed'}" for name in ("numpy", "pillow", "onnxruntime")]
    for name, use, extra in _EXTRAS:
        install = "" if extra is None else f": pip install 'rave-backlit[{extra}]'"
        lines.append(f"{name}: {_version(name) or f'not installed{install}'} ({use})")
    if _version("onnxruntime") and _version("onnxruntime-gpu"):
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
