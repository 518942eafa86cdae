"""A hash by which two sets of weights are told apart."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def hash_weights(module: nn.Module, description: str = "", without: str | None = None) -> str:
    """Hashes a module's tensors and their names.

    Args:
        module: the module whose state dict is hashed.
        description: further text to hash, for what the tensors do not tell.
        without: beginning of the names of tensors that do not count.

    Returns:
        BLAKE2b hash, 32 hexadecimal digits.
    """
    digest = hashlib.blake2b(description.encode(), digest_size=16)
    for name, value in sorted(module.state_dict().items()):
        if without is not None and name.startswith(without):
            continue
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
