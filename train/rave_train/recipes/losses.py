"""The terms of the loss of the embedded model's recipe."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from rave_train.recipes.bank import STAYS

_DIM: Final = 0.02
_GLARING: Final = 0.97
"""Pixels darker than the one or brighter than the other tell nothing about the light."""

_SHADE: Final = (0.3, 0.6)
"""Values of the brightest channel up to which a pixel lies in the shade, and from which on it does not."""


def light_error(photograph: Tensor, truth: Tensor, light: Tensor) -> Tensor:
    """Mean absolute error of the light in the log domain, over the pixels where the true light is known.

    Args:
        photograph: [n, 3, h, w] in [0, 1].
        truth: [n, 3, h, w] in [0, 1], the picture that the photograph should become.
        light: [n, 1, h, w], the network's light.

    Returns:
        [] in nepers; pixels that are black in the photograph or white in the truth do not count.
    """
    true = (photograph * truth).sum(1, True) / (truth.square().sum(1, True) + _DIM**2)
    known = ((photograph.amax(1, True) > _DIM) & (truth.amin(1, True) < _GLARING)).float()
    error = ((light + _DIM) / (true + _DIM)).log().abs()
    return (error * known).sum() / known.sum().clamp_min(1)


def preference_weights(photograph: Tensor, truth: Tensor, error: Tensor, preference: float) -> Tensor:
    """Weights of errors with which a network that is not sure lifts shade rather too much than too little.

    A dark value that comes out too dark counts 1 + p times, one that comes out too bright 1 - p times, where
    p is the preference. It fades out over `_SHADE`, and is 0 for pictures that stay as they are. The best
    guess is then a quantile above the median of what could be true, and the truth where the network knows it.

    Args:
        photograph: [n, 3, h, w] in [0, 1].
        truth: [n, 3, h, w] in [0, 1].
        error: [n, 3, h, w], the result minus the truth.
        preference: 0 to 1; 0 gives weights of 1.

    Returns:
        [n, 3, h, w], without a gradient.
    """
    full, none = _SHADE
    shade = ((none - photograph.amax(1, True)) / (none - full)).clamp(0, 1)
    changes = ((photograph - truth).abs().mean((1, 2, 3), keepdim=True) >= STAYS).float()
    return 1 - preference * torch.sign(error.detach()) * shade * changes


def similarity(picture: Tensor, truth: Tensor, window: int = 7) -> Tensor:
    """Mean structural similarity over square windows, [n, channels, h, w] in [0, 1] each -> [].

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
