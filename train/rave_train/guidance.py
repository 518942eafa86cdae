"""What guides the enhancement network: the shared shape of the three methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from rave_train.prompt_pair import NEGATIVE, POSITIVE, backlit_scores
from rave_train.residual import unit

GuidanceLoss = Callable[[Tensor], Tensor]
"""Image embeddings [n, d] of enhanced pictures -> [] mean loss over them."""

GUIDANCE_SCALE: Final = 320.0
"""Upstream multiplies every guidance term by 16 * 20."""

RANKING_SCALE: Final = 200.0
"""Upstream multiplies the ranking loss by this."""


class Guidance(nn.Module, ABC):
    """Guides by embeddings; its state dict is what a run must keep of it."""

    @abstractmethod
    def fixed_loss(self) -> GuidanceLoss:
        """The guidance loss as it stands now, without gradients to the guidance itself."""

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
        """From the backlit point to the well-lit one."""
        points = unit(self.pair().detach())
        return unit(points[POSITIVE] - points[NEGATIVE])


@dataclass(frozen=True)
class PairOptions:
    """How a pair is learned and used; what CLIP-LIT and CLIP-LIT-Latent have in common.

    Attributes:
        rounds: of enhancement and refinement; the last one ends with the enhancement.
        initialize_steps: guidance steps before the first round.
        enhance_steps: enhancement steps per round.
        refine_steps: guidance steps per round.
        guidance_batch: pictures per guidance step, half backlit and half well-lit.
        guidance_learning_rate: of the guidance.
        guidance_weight_decay: of the guidance.
        guidance_weight: of the guidance term in the total loss.
        views: augmented views of each picture that are embedded before a guidance phase. Upstream
            augments and embeds anew at every step; drawing from a bank of views, renewed for every
            phase, costs a fraction of it.
        view_size_px: side of the guidance pictures.
        extensions: how often a phase may be made longer while its running loss is high, at most.
    """

    rounds: int = 16
    initialize_steps: int = 8000
    enhance_steps: int = 2100
    refine_steps: int = 1000
    guidance_batch: int = 16
    guidance_learning_rate: float = 5e-4
    guidance_weight_decay: float = 1e-3
    guidance_weight: float = 1.0
    views: int = 8
    view_size_px: int = 256
    extensions: int = 20
