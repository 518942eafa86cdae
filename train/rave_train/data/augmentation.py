"""The published augmentations: flips, transposition, zoom and rotation with reflected borders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """How pictures are varied.

    Attributes:
        flip: probability of each of horizontal flip, vertical flip and transposition.
        zoom: probability of zooming.
        zoom_range: smallest and largest factor of zooming; each axis has a factor drawn for it.
        rotation: probability of rotating.
        rotation_deg: largest angle either way, in degrees.
    """

    flip: float = 0.5
    zoom: float = 0.3
    zoom_range: tuple[float, float] = (0.7, 1.3)
    rotation: float = 0.3
    rotation_deg: float = 90.0


FOR_ENHANCEMENT: Final = Augmentation()
FOR_GUIDANCE: Final = Augmentation(zoom_range=(0.5, 1.5))


@dataclass(frozen=True)
class Placement:
    """One draw of an `Augmentation`, applicable to both pictures of a pair.

    Attributes:
        mirrored: left and right swapped.
        upside_down: top and bottom swapped.
        transposed: rows and columns swapped.
        matrix: the two rows of the matrix that maps a position (x, y) of the output to the position in the
            picture whose value it takes, both from the centre in units of half a side; None leaves the
            pixels untouched.
    """

    mirrored: bool
    upside_down: bool
    transposed: bool
    matrix: tuple[tuple[float, float], tuple[float, float]] | None


def draw_placement(augmentation: Augmentation, rng: np.random.Generator) -> Placement:
    """Draws a placement; the same generator state gives the same one."""
    flips = rng.random(3) < augmentation.flip
    zooms, turns = rng.random() < augmentation.zoom, rng.random() < augmentation.rotation
    factors = rng.uniform(*augmentation.zoom_range, size=2) if zooms else np.ones(2)
    limit = augmentation.rotation_deg
    angle = np.deg2rad(rng.uniform(-limit, limit)) if turns else 0.0
    matrix = None
    if zooms or turns:
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        x, y = (1 / float(factor) for factor in factors)
        matrix = ((cos * x, -sin * x), (sin * y, cos * y))
    return Placement(bool(flips[0]), bool(flips[1]), bool(flips[2]), matrix)


def place(image: Tensor, placement: Placement) -> Tensor:
    """Applies a placement to a square picture, [3, size, size] float32 in [0, 1] -> the same."""
    if placement.transposed:
        image = image.transpose(1, 2)
    if placement.mirrored:
        image = image.flip(2)
    if placement.upside_down:
        image = image.flip(1)
    if placement.matrix is None:
        return image.contiguous()
    theta = torch.tensor([[*placement.matrix[0], 0.0], [*placement.matrix[1], 0.0]])
    grid = F.affine_grid(theta[None], [1, *image.shape], align_corners=False)
    return F.grid_sample(image[None], grid, padding_mode="reflection", align_corners=False)[0]
