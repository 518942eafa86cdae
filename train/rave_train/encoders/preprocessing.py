"""Turning pictures into an encoder's input, differentiably and as the encoder was trained to see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Interpolation = Literal["bicubic", "bilinear"]


@dataclass(frozen=True)
class Preprocessing:
    """An encoder's input format.

    Attributes:
        size_px: side of the square input.
        resize_px: length of the shorter side before the centre crop; None squashes the picture.
        interpolation: the interpolation of the resizing, always antialiased.
        mean: what is subtracted from each channel of sRGB in [0, 1].
        std: what each channel is then divided by.
        squash_by: how pictures are squashed in the losses: "antialiased" resizes as the encoder was trained,
            "bilinear" takes the four nearest pixels, as the published code does.
    """

    size_px: int
    resize_px: int | None
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    squash_by: str = field(default="antialiased", repr=False)  # so the fingerprint ignores it

    def squash(self, images: Tensor) -> Tensor:
        """Whole pictures, whatever their shape, as the published losses see them.

        Args:
            images: [n, 3, h, w] floating point, sRGB in [0, 1].

        Returns:
            [n, 3, size_px, size_px], normalised; differentiable.
        """
        if images.shape[2:] != (self.size_px, self.size_px):
            size = (self.size_px, self.size_px)
            if self.squash_by == "bilinear":
                images = F.interpolate(images, size, mode="bilinear", align_corners=False)
            else:
                images = self._resize(images, *size)
        return self._normalize(images)

    def frame(self, images: Tensor) -> Tensor:
        """Pictures as the encoder's own evaluation sees them: resized, centre-cropped.

        Args:
            images: [n, 3, h, w] floating point, sRGB in [0, 1].

        Returns:
            [n, 3, size_px, size_px], normalised; differentiable. Equal to what torchvision and timm
            make of the same picture through Pillow, up to Pillow's rounding to 8 bits.
        """
        if self.resize_px is None:
            return self.squash(images)
        height, width = images.shape[2:]
        short = min(height, width)
        tall, wide = (self.resize_px * side // short for side in (height, width))
        images = self._resize(images, tall, wide)
        top = round((tall - self.size_px) / 2)
        left = round((wide - self.size_px) / 2)
        return self._normalize(images[:, :, top : top + self.size_px, left : left + self.size_px])

    def _resize(self, images: Tensor, height: int, width: int) -> Tensor:
        # Bicubic overshoots; Pillow, which the encoders were trained through, cuts at 0 and 1.
        return F.interpolate(images, (height, width), mode=self.interpolation, antialias=True).clamp(0, 1)

    def _normalize(self, images: Tensor) -> Tensor:
        mean = torch.tensor(self.mean, dtype=images.dtype, device=images.device)[:, None, None]
        std = torch.tensor(self.std, dtype=images.dtype, device=images.device)[:, None, None]
        return (images - mean) / std
