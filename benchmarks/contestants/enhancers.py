"""Builds every method as a function from photographs in 8 bits to photographs in 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.contestants.methods import Method
from benchmarks.processes.worker import resolve

Photographs = npt.NDArray[np.uint8]
Enhance = Callable[[Photographs], Photographs]
"""A function [n, h, w, 3] uint8 -> the same shape; it returns when the result is in host memory."""


@dataclass(frozen=True)
class Setting:
    """How a method runs.

    Attributes:
        precision: "fp32", "bf16" or "fp16" for torch networks; a precision of the bundle, or "auto", for
            the runtime; classical methods ignore it.
        device: "cpu" or "cuda" for torch networks; one of the runtime's devices for the runtime.
        threads: how many threads compute.
        weights: file or folder of the network's weights, or the runtime's bundle; None stands for random
            weights of networks and for the embedded bundle of the runtime.
        tile_size: the runtime's tile size in pixels, "auto", or None for no tiles.
        working_size: the runtime's working size in pixels; "method" takes the method's.
        channels_last: whether torch networks run in the memory format channels-last.
    """

    precision: str = "fp32"
    device: str = "cpu"
    threads: int = 1
    weights: str | None = None
    tile_size: int | Literal["auto"] | None = "auto"
    working_size: int | str | None = "method"
    channels_last: bool = False


def load_enhancer(method: Method, setting: Setting) -> Enhance:
    """Builds a method.

    Args:
        method: the method.
        setting: how it runs.

    Raises:
        ValueError: the method is a command, which works on files.
        WeightsError: the weights are not the network's.
    """
    if method.kind == "network":
        return _network(method, setting)
    if method.kind == "array":
        return _arrays(method)
    if method.kind == "runtime":
        return _runtime(method, setting)
    raise ValueError(f"{method.name} works on files, not on arrays: use its program")


def _network(method: Method, setting: Setting) -> Enhance:
    """Builds a torch network and returns the function that enhances pictures by it."""
    import torch
    from torch.nn import functional as F

    from benchmarks.contestants.weights import load_weights

    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False
    build: Callable[..., Any] = resolve(method.entry)
    network = build(**method.arguments)
    if setting.weights is not None:
        load_weights(network, Path(setting.weights))
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[setting.precision]
    layout = torch.channels_last if setting.channels_last else torch.contiguous_format
    network = network.eval().to(setting.device, dtype, memory_format=layout)
    multiple = network.multiple_px

    def enhance(photographs: Photographs) -> Photographs:
        height, width = photographs.shape[1:3]
        with torch.inference_mode():
            pixels = torch.from_numpy(photographs).to(setting.device)
            image = pixels.permute(0, 3, 1, 2).to(dtype, memory_format=layout) / 255
            bottom, right = -height % multiple, -width % multiple
            if bottom or right:
                image = F.pad(image, (0, right, 0, bottom), mode="replicate")
            result = network(2 * image - 1) / 2 + 0.5 if method.signed else network(image)
            result = result[:, :, :height, :width].nan_to_num().clamp(0, 1) * 255
            return np.ascontiguousarray(result.round().byte().permute(0, 2, 3, 1).cpu().numpy())

    return enhance


def _arrays(method: Method) -> Enhance:
    """The function that enhances pictures by a classical method."""
    function: Callable[..., Any] = resolve(method.entry)

    def enhance(photographs: Photographs) -> Photographs:
        results = [function(photo.astype(np.float32) / 255, **method.arguments) for photo in photographs]
        return np.stack([np.rint(np.clip(result, 0, 1) * 255).astype(np.uint8) for result in results])

    return enhance


def _runtime(method: Method, setting: Setting) -> Enhance:
    """The function that enhances pictures by our runtime."""
    from rave_runtime import Enhancer

    arguments: dict[str, Any] = dict(method.arguments)
    if setting.working_size != "method":
        arguments["working_size"] = setting.working_size
    enhancer = Enhancer(
        model=setting.weights,
        precision=setting.precision,
        device=setting.device,
        tile_size=setting.tile_size,
        threads=setting.threads,
        **arguments,
    )
    return lambda photographs: np.stack([enhancer.enhance(photo) for photo in photographs])
