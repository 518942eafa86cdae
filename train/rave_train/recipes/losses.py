"""What the loss of the embedded model's recipe is made of."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from rave_train.encoders import Encoder
from rave_train.guidance.residual import Residual, mean_direction, residual_loss, residual_vector
from rave_train.recipes.bank import Bank, Pixels, to_tensor

_DIM: Final = 0.02
_GLARING: Final = 0.97
"""What is darker or brighter than these says nothing of the light."""


class ResidualGuidance:
    """RAVE's guidance (eq. 12) with the encoder frozen, the vector from the bank's own pictures."""

    def __init__(self, encoder: Encoder, bank: Bank, pictures: int = 192) -> None:
        self._encoder = encoder
        sides = [
            torch.cat([self._embed(pixels[: pictures // len(side)]) for pixels in side])
            for side in (bank.backlit, bank.truth)
        ]
        direction = residual_vector(*sides)
        self._residual = Residual(direction, torch.dot(mean_direction(sides[1]), direction))

    def __call__(self, enhanced: Tensor) -> Tensor:
        """[n, 3, h, w] in [0, 1] -> [] loss."""
        return residual_loss(self._encoder.embed(enhanced), self._residual)

    @torch.no_grad()
    def _embed(self, pixels: Pixels) -> Tensor:
        device = next(self._encoder.parameters()).device
        return torch.cat([self._encoder.embed(part) for part in torch.split(to_tensor(pixels, device), 16)])


def light_error(backlit: Tensor, truth: Tensor, light: Tensor) -> Tensor:
    """Mean absolute error of the light in the log domain, where the pictures tell the true one.

    Args:
        backlit: [n, 3, h, w] in [0, 1].
        truth: likewise.
        light: [n, 1, h, w].

    Returns:
        [] in nepers; pixels that are black in the backlit picture or white in the true one do not count.
    """
    true = (backlit * truth).sum(1, True) / (truth.square().sum(1, True) + _DIM**2)
    known = ((backlit.amax(1, True) > _DIM) & (truth.amin(1, True) < _GLARING)).float()
    error = ((light + _DIM) / (true + _DIM)).log().abs()
    return (error * known).sum() / known.sum().clamp_min(1)


def similarity(picture: Tensor, truth: Tensor, window: int = 7) -> Tensor:
    """Mean structural similarity over square windows, [n, 1, h, w] in [0, 1] each -> [].

    Source: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity,
    2004, eq. 13, with its constants.
    """

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, window, 1)

    mean_x, mean_y = mean(picture), mean(truth)
    var_x, var_y = mean(picture**2) - mean_x**2, mean(truth**2) - mean_y**2
    covariance = mean(picture * truth) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (alike / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean()
