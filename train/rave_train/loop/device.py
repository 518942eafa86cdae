"""Choosing the device and the precision of a run."""

from __future__ import annotations

from typing import Final

import torch

from rave_train.errors import ConfigError

_PRECISIONS: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device that a name means: "cpu", "cuda", or "auto" for the GPU where there is one, else the CPU.

    Raises:
        ConfigError: the name is another, or torch finds no GPU for "cuda".
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"{name!r} is not a device: auto, cpu or cuda is needed") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"{name!r} is not a device to train on: auto, cpu or cuda is needed")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, and torch finds no GPU here: use --device cpu")
    return device


def gpu_of(local_rank: int) -> torch.device:
    """The GPU of a process, by its number among those on its machine.

    Raises:
        ConfigError: there are fewer GPUs than processes.
    """
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise ConfigError(
            f"process {local_rank + 1} on this machine has no GPU, since torch finds {count} here: "
            f"use torchrun --nproc-per-node={count}"
        )
    return torch.device("cuda", local_rank)


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The precision of the convolutions; losses and the division by the light stay in float32.

    Args:
        name: "fp32", "bf16", "fp16" or "auto": bf16 where the device multiplies it natively, else fp16 on a
            GPU and float32 on a CPU.
        device: the device of the run.

    Raises:
        ConfigError: the name is another.
    """
    if name == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            return torch.bfloat16 if native else torch.float16
        return torch.bfloat16 if device.type == "cpu" and _multiplies_bf16() else torch.float32
    if name not in _PRECISIONS:
        raise ConfigError(f"{name!r} is not a precision: auto, {', '.join(_PRECISIONS)} is needed")
    return _PRECISIONS[name]


def precision_name(precision: torch.dtype) -> str:
    """The name by which options call a precision, such as "bf16"."""
    return next(name for name, dtype in _PRECISIONS.items() if dtype == precision)


def _multiplies_bf16() -> bool:
    """Whether the processor multiplies bf16 itself; one that converts to float32 and back is slower by it."""
    try:
        capabilities = torch.cpu.get_capabilities()
    except (AttributeError, RuntimeError):  # older torch, other platforms
        return False
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
