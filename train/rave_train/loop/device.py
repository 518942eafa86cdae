"""Choosing the device and the precision of a run."""

from __future__ import annotations

from typing import Final

import torch

from rave_train.errors import ConfigError

_PRECISIONS: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """ "auto" is the GPU where there is one.

    Raises:
        ConfigError: no such device here.
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


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The precision of convolutions; losses and the division stay in float32.

    "auto" is bf16 where the device multiplies it natively, else fp16 on a GPU and float32 on a CPU.

    Raises:
        ConfigError: no such precision.
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
    """A precision as options name it."""
    return next(name for name, dtype in _PRECISIONS.items() if dtype == precision)


def _multiplies_bf16() -> bool:
    """Whether the processor does so itself; others convert to and fro, and are slower than in float32."""
    try:
        found = torch.cpu.get_capabilities()
    except (AttributeError, RuntimeError):  # older torch, other platforms
        return False
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
