"""Trains backlit-image enhancers: networks, guidance, data, loop, evaluation. Needs torch."""

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
