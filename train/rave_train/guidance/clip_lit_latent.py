"""CLIP-LIT-Latent: the two points are learned in the encoder's space itself; no text is needed.

Source: RAVE (arXiv 2404.01889), section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rave_train.guidance.guidance import PairGuidance


class LatentGuidance(PairGuidance):
    """Two vectors in the encoder's space, drawn from N(0, 1)."""

    def __init__(self, dimension: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.vectors = nn.Parameter(torch.randn(2, dimension, generator=generator))

    def pair(self) -> Tensor:
        """The two vectors, [2, d]."""
        return self.vectors
