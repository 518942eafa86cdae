"""Trains backlit-image enhancers: networks, guidance, data, loop, evaluation. Needs torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rave_runtime.backends.privacy import turn_off_reports

if TYPE_CHECKING:
    from rave_train.checkpoint import (
        Checkpoint,
        CheckpointError,
        load_checkpoint,
        read_checkpoint,
        save_checkpoint,
    )
    from rave_train.network import EnhancementNetwork, relight

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "EnhancementNetwork",
    "load_checkpoint",
    "read_checkpoint",
    "relight",
    "save_checkpoint",
]

turn_off_reports()


def __getattr__(name: str) -> Any:
    """Imports torch on first use only: `rave-train --help` answers at once, and without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "network" if name in ("EnhancementNetwork", "relight") else "checkpoint"
    return getattr(import_module(f"rave_train.{room}"), name)
