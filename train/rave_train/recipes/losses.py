"""The terms of the loss of the embedded model's recipe."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from rave_train.measure.metrics import similarity_map
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


def similarity(picture: Tensor, truth: Tensor) -> Tensor:
    """Mean structural similarity over windows of 7x7 pixels, [n, channels, h, w] in [0, 1] each -> []."""
    return similarity_map(lambda values: F.avg_pool2d(values, 7, 1), picture, truth).mean()
