"""The interface that the guidance of all three methods has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from torch import Tensor, nn

from rave_train.guidance.prompt_pair import NEGATIVE, POSITIVE, backlit_scores
from rave_train.guidance.residual import unit

GuidanceLoss = Callable[[Tensor], Tensor]
"""Image embeddings [n, d] of enhanced pictures -> [] mean loss over them."""

GUIDANCE_SCALE: Final = 320.0
"""The factor, 16 times 20, that upstream gives every guidance term."""

RANKING_SCALE: Final = 200.0
"""The factor that upstream gives the ranking loss."""


class Guidance(nn.Module, ABC):
    """Guides the network by embeddings of its pictures; its state dict is all that a run must save of it."""

    @abstractmethod
    def fixed_loss(self) -> GuidanceLoss:
        """The guidance loss with the guidance as it is now, without gradients to the guidance itself."""

    @abstractmethod
    def direction(self) -> Tensor:
        """[d] unit vector towards well-lit pictures, for interpretation."""


class PairGuidance(Guidance):
    """Guidance by two learned points, one for backlit and one for well-lit pictures."""

    @abstractmethod
    def pair(self) -> Tensor:
        """[2, d] backlit point, well-lit point; gradients flow to what is learned."""

    def fixed_loss(self) -> GuidanceLoss:
        """Mean backlit score of the enhanced pictures (eq. 3 and 8)."""
        pair = self.pair().detach()
        return lambda embeddings: backlit_scores(embeddings, pair).mean()

    def direction(self) -> Tensor:
        """The unit vector from the backlit point to the well-lit one."""
        points = unit(self.pair().detach())
        return unit(points[POSITIVE] - points[NEGATIVE])
