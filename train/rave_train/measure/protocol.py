"""How an enhanced picture is compared with its truth; figures of different protocols cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rave_runtime.arrays import Picture
from rave_runtime.light.luma import LUMA_BT601
from rave_train.data.batches import to_tensor
from rave_train.data.photographs import load_photograph, load_square
from rave_train.data.shapes import why_not_compared
from rave_train.errors import ConfigError
from rave_train.measure.metrics import psnr, ssim, ssim_of_uniform_windows

METRICS: Final = ("psnr", "ssim", "lpips", "fid")
SMALLEST_COMPARED_PX: Final = 16
"""Least side of pictures that are compared; SSIM's window has 11 pixels."""

UPSTREAM_LPIPS_SIDE_PX: Final = 1024

_UPSTREAM_GREY: Final = np.array([3735, 19235, 9798])
"""OpenCV's fixed-point weights of red, green and blue (BT.601 times 2^15), with red and blue swapped."""

_IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
_IMAGENET_STD: Final = (0.229, 0.224, 0.225)


class ShapesDifferError(Exception):
    """Two pictures differ in aspect ratio, so that a comparison at one size would measure the stretching."""


@dataclass(frozen=True)
class Protocol:
    """How pictures are compared.

    Attributes:
        name: "ours" for the definitions of the metrics' authors; "upstream" for the published script of RAVE
            (compute_metrics.py), to compare with the tables of its paper.
        gray: whether PSNR and SSIM are taken on grey pictures (BT.601, rounded to 8 bits) instead of all
            three channels.
        size_px: side of the square to which both pictures are squashed; None compares at the truth's size,
            to which an enhanced picture of another size is resized.
        gt_mean: whether the enhanced picture is scaled so that its mean grey equals the truth's, as some
            papers do; that hides errors of exposure.
        lpips_net: backbone of LPIPS: "alex", "squeeze" or "vgg".
    """

    name: Literal["ours", "upstream"] = "ours"
    gray: bool = False
    size_px: int | None = None
    gt_mean: bool = False
    lpips_net: str = "alex"

    def check(self) -> None:
        """Finds contradictions.

        Raises:
            ConfigError: a value is unknown or out of range, or upstream's protocol is changed.
        """
        if self.name not in ("ours", "upstream"):
            raise ConfigError(f"the protocol is {self.name!r}: ours or upstream is needed")
        if self.size_px is not None and self.size_px < SMALLEST_COMPARED_PX:
            raise ConfigError(f"size is {self.size_px} px, at least {SMALLEST_COMPARED_PX} are needed")
        if self.name == "upstream" and self != Protocol("upstream"):
            raise ConfigError(
                "upstream's protocol is fixed: leave out --gray, --size, --gt-mean and --lpips-net, or "
                "--protocol upstream"
            )

    def describe(self, metrics: Sequence[str] = METRICS) -> str:
        """One line about the metrics that were asked for."""
        if self.name == "upstream":
            lines = {
                "psnr": "PSNR on grey with red and blue swapped",
                "ssim": "SSIM on that grey, 7x7 windows inside the picture, range of the enhanced picture",
                "lpips": "LPIPS (alex) of ImageNet-normalised pictures at 1024 px",
            }
            return "upstream's script: " + "; ".join(lines[name] for name in metrics if name in lines)
        colour = "grey" if self.gray else "all channels"
        lines = {
            "psnr": f"PSNR on {colour}",
            "ssim": f"SSIM on {colour}, 11x11 Gaussian windows inside the picture",
            "lpips": f"LPIPS ({self.lpips_net})",
            "fid": "FID",
        }
        size = "at the truth's size" if self.size_px is None else f"squashed to {self.size_px}x{self.size_px}"
        mean = ", scaled to the truth's mean" if self.gt_mean else ""
        return "; ".join(lines[name] for name in METRICS if name in metrics) + f"; {size}{mean}"

    def load(self, photograph: Path, truth: Path) -> tuple[Picture, Picture]:
        """Loads both pictures at the size at which they are compared, [h, w, 3] uint8 each.

        Raises:
            ShapesDifferError: their aspect ratios differ.
        """
        if self.size_px is not None:
            return load_square(photograph, self.size_px), load_square(truth, self.size_px)
        picture, true = load_photograph(photograph), load_photograph(truth)
        if picture.shape == true.shape:
            return picture, true
        size = (true.shape[1], true.shape[0])
        reason = why_not_compared((picture.shape[1], picture.shape[0]), truth, size)
        if reason is not None:
            raise ShapesDifferError(reason)
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)), true

    def measure(self, picture: Picture, true: Picture, metrics: Sequence[str]) -> dict[str, float]:
        """PSNR (dB) and SSIM of two pictures [h, w, 3] uint8 by name, those of them that `metrics` names."""
        values = {}
        if self.name == "upstream":
            left, right = (upstream_grey(pixels) for pixels in (picture, true))
            contrast = float(left.max() - left.min()) or 1.0
            if "psnr" in metrics:
                values["psnr"] = psnr(left / 255, right / 255)
            if "ssim" in metrics:
                values["ssim"] = ssim_of_uniform_windows(left, right, contrast)
            return values
        left, right = (grey(pixels) if self.gray else to_tensor(pixels) for pixels in (picture, true))
        if "psnr" in metrics:
            values["psnr"] = psnr(left, right)
        if "ssim" in metrics:
            values["ssim"] = ssim(left, right)
        return values

    def for_lpips(self, pixels: Picture) -> Tensor:
        """A picture in the form in which LPIPS takes it, [h, w, 3] uint8 -> [3, h, w] float32.

        Values are in [-1, 1]. Upstream's script instead scales the shorter side to 1024 px and normalises by
        ImageNet's mean and standard deviation.
        """
        if self.name == "ours":
            return to_tensor(pixels) * 2 - 1
        height, width = (UPSTREAM_LPIPS_SIDE_PX * side // min(pixels.shape[:2]) for side in pixels.shape[:2])
        resized = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
        mean, std = (torch.tensor(values)[:, None, None] for values in (_IMAGENET_MEAN, _IMAGENET_STD))
        return (to_tensor(resized) - mean) / std


def with_mean_of(picture: Picture, true: Picture) -> Picture:
    """The picture scaled so that its mean grey is that of the true one, [h, w, 3] uint8 each."""
    gain = float(grey(true).mean()) / max(float(grey(picture).mean()), 1e-6)
    return (picture.astype(np.float32) * gain + 0.5).clip(0, 255).astype(np.uint8)


def grey(pixels: Picture) -> Tensor:
    """[h, w, 3] uint8 -> [1, h, w] float32 in [0, 1], rounded to 8 bits as a grey file would be."""
    levels = np.rint(pixels.astype(np.float64) @ np.array(LUMA_BT601))
    return torch.from_numpy(levels[None].astype(np.float32) / 255)


def upstream_grey(pixels: Picture) -> Tensor:
    """[h, w, 3] uint8 RGB -> [h, w] float64 in [0, 255]; as upstream takes BGR for RGB, red and blue swap."""
    levels = (pixels.astype(np.int64) @ _UPSTREAM_GREY + (1 << 14)) >> 15
    return torch.from_numpy(levels.astype(np.float64))
