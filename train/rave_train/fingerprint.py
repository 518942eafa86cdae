"""A hash by which two sets of weights are told apart."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def hash_weights(module: nn.Module, described: str = "") -> str:
    """Hash of a module's tensors by name, and of what else makes it what it is."""
    digest = hashlib.blake2b(described.encode(), digest_size=16)
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
