"""The loss of an enhancement step, in the published balance, whatever the batch size.

Upstream averages the guidance term over its batch of 8 and sums the identity term. Here both are
means, and the identity term carries the factor 8: the balance at batch 8 holds at every other.

Source: RAVE (arXiv 2404.01889), eq. 2 and 11, with the factors of the published code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from rave_train.encoders import Encoder
from rave_train.guidance.guidance import GUIDANCE_SCALE, GuidanceLoss
from rave_train.guidance.identity import identity_loss, stage_weights
from rave_train.measure.metrics import luma, mean_squared_error
from rave_train.network import relight

PUBLISHED_BATCH: Final = 8

IDENTITY_SCALE: Final = 25.0 * PUBLISHED_BATCH
"""Upstream's factor 25 on a sum over the batch of 8."""

TRAINING_LIGHT_OFFSET: Final = 1e-9
"""What upstream adds to the illumination map in training, so that it never divides by zero."""


@dataclass(frozen=True)
class Objective:
    """What an enhancement step minimises.

    Attributes:
        guidance_encoder: the encoder whose embeddings guide.
        identity_encoder: the encoder whose stages the identity loss compares; where both are one object,
            they share the pass.
        guidance_loss: computes the guidance loss of embeddings of enhanced pictures.
        guidance_weight: the weight of the guidance term.
        identity_weight: the weight of the identity term.
        pixel_weight: the weight of the L1 term against the partners.
        autocast: precision of the encoders' passes; for another one than float32 the encoders are copied.
            The identity term is computed in float32 where this is bfloat16, whose rounding would outweigh
            the small differences between a picture and its enhanced version.
        identity_scale: factor that brings the identity term to the scale of the published encoder.
    """

    guidance_encoder: Encoder
    identity_encoder: Encoder
    guidance_loss: GuidanceLoss
    guidance_weight: float
    identity_weight: float
    pixel_weight: float
    autocast: torch.dtype = torch.float32
    identity_scale: float = 1.0

    def __post_init__(self) -> None:
        shared = self.identity_encoder is self.guidance_encoder
        identity = self.identity_encoder.with_weights_in(self._identity_precision)
        guidance = identity if shared else self.guidance_encoder.with_weights_in(self.autocast)
        object.__setattr__(self, "guidance_encoder", guidance)
        object.__setattr__(self, "identity_encoder", identity)

    @property
    def _identity_precision(self) -> torch.dtype:
        return torch.float32 if self.autocast == torch.bfloat16 else self.autocast

    def losses(self, backlit: Tensor, light: Tensor, truth: Tensor, warm_up: bool) -> dict[str, Tensor]:
        """Weighted terms and their sum.

        Args:
            backlit: [n, 3, h, w] in [0, 1].
            light: [n, 1, h, w] illumination map, with gradients.
            truth: [n, 3, h, w] partners, read only where `pixel_weight` is not 0.
            warm_up: compute the identity term alone, all stages with weight 1, without `identity_weight`.

        Returns:
            "loss" and its terms "guidance", "identity" and "pixel" (where they take part), [] each.
        """
        enhanced = relight(backlit, light + TRAINING_LIGHT_OFFSET)
        embeddings = None
        with _precision(backlit.device.type, self._identity_precision):
            with torch.no_grad():
                original = self.identity_encoder.stages(backlit)
            if self.guidance_encoder is self.identity_encoder and not warm_up:
                embeddings, stages = self.guidance_encoder.embed_with_stages(enhanced)
            else:
                stages = self.identity_encoder.stages(enhanced)
        if embeddings is None and not warm_up:
            with _precision(backlit.device.type, self.autocast):
                embeddings = self.guidance_encoder.embed(enhanced)
        cost = identity_loss(original, stages, stage_weights(len(stages), warm_up))
        identity = IDENTITY_SCALE * self.identity_scale * cost
        if embeddings is None:
            return {"loss": identity, "identity": identity}
        terms = {
            "guidance": self.guidance_weight * GUIDANCE_SCALE * self.guidance_loss(embeddings),
            "identity": self.identity_weight * identity,
        }
        if self.pixel_weight:
            terms["pixel"] = self.pixel_weight * F.l1_loss(enhanced, truth)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def _precision(device: str, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(device, dtype, enabled=dtype != torch.float32)


@torch.no_grad()
def luma_error(before: Tensor, after: Tensor) -> Tensor:
    """Mean squared error, [], of the Y channel between two batches [n, 3, h, w] in [0, 1]."""
    return mean_squared_error(luma(before), luma(after))
