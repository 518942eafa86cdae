"""The identity loss: an enhanced picture keeps the features of the picture it was made from.

Source: CLIP-LIT (arXiv 2303.17569), eq. 4 of RAVE (arXiv 2404.01889); the published code takes mean
squared errors where the paper writes a norm, and so does this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor
from torch.nn import functional as F

PUBLISHED_COST_OF_HALVING: Final = 0.06
"""Identity loss between pictures and their versions at half the brightness, with the published encoder.

This is an estimate: with timm's mobilenetv2_100, whose features give a loss of 12, the weight that trained
best was 0.0045, and the published weight is 0.9. So 12 * 0.0045 / 0.9 = 0.06."""

SCALE_PICTURES: Final = 16
"""Pictures on which that loss is measured for another encoder."""


def stage_weights(stages: int, warm_up: bool) -> list[float]:
    """Weight of each stage: 1, and 0.5 for the deepest once the warm-up is over.

    Published for the five stages of CLIP's RN101 (stem and four layers); the rule carries over to
    encoders with another number of them.
    """
    return [1.0] * stages if warm_up else [1.0] * (stages - 1) + [0.5]


def identity_loss(original: Sequence[Tensor], enhanced: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Weighted sum over stages of the mean squared error between features.

    Args:
        original: per stage [n, ...] features of the backlit pictures; no gradient is needed.
        enhanced: per stage, features of the enhanced versions, of the same shapes.
        weights: one per stage.

    Returns:
        [] mean over the n pictures.

    Raises:
        ValueError: the numbers of stages differ.
    """
    if not len(original) == len(enhanced) == len(weights):
        raise ValueError(
            f"{len(original)} and {len(enhanced)} stages with {len(weights)} weights: "
            "equal numbers are needed"
        )
    terms = [
        weight * F.mse_loss(after, before)
        for before, after, weight in zip(original, enhanced, weights, strict=True)
    ]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
