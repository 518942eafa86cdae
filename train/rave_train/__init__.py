"""Trains backlit-image enhancers: networks, guidance, data, loop, evaluation. Needs torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rave_runtime.backends.privacy import turn_off_reports

if TYPE_CHECKING:
    from rave_train.checkpoint import Checkpoint, load_checkpoint, read_checkpoint, save_checkpoint
    from rave_train.errors import CheckpointError, TrainError
    from rave_train.network import EnhancementNetwork, relight

_HOMES = {
    "Checkpoint": "checkpoint",
    "CheckpointError": "errors",
    "EnhancementNetwork": "network",
    "TrainError": "errors",
    "load_checkpoint": "checkpoint",
    "read_checkpoint": "checkpoint",
    "relight": "network",
    "save_checkpoint": "checkpoint",
}

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "EnhancementNetwork",
    "TrainError",
    "load_checkpoint",
    "read_checkpoint",
    "relight",
    "save_checkpoint",
]

turn_off_reports()


def __getattr__(name: str) -> Any:
    """Imports torch on first use only: `rave-train --help` answers at once, and without it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"rave_train.{_HOMES[name]}"), name)
