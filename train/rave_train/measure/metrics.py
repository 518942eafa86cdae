"""Metrics that are formulas: PSNR and SSIM.

Every figure of this project that compares two pictures is computed here or in `learned_metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from rave_runtime.light.luma import LUMA_BT601

PSNR_OF_EQUAL_DB: Final = 100.0
"""PSNR of equal pictures, by convention: without error it would be infinite, and so would means with it."""

_STRIP_VALUES: Final = 1 << 20
"""Values of all channels that are compared at once; each takes about 150 bytes of memory meanwhile."""

SSIM_WINDOW_PX: Final = 11
_SSIM_SIGMA_PX: Final = 1.5


def psnr(picture: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio of one picture, or of several taken together.

    Args:
        picture: [..., h, w] floating point in [0, 1].
        truth: the same shape.

    Returns:
        dB over all values, at most `PSNR_OF_EQUAL_DB`.
    """
    return psnr_of(float(mean_squared_error(picture, truth)))


def psnr_of(error: float) -> float:
    """The PSNR in dB that a mean squared error means, at most `PSNR_OF_EQUAL_DB`."""
    return PSNR_OF_EQUAL_DB if error == 0 else min(-10 * math.log10(error), PSNR_OF_EQUAL_DB)


def mean_squared_error(picture: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error over all values, [] float64; takes what `psnr` takes."""
    return _mean_in_strips(lambda x, y: (x - y).square(), picture, truth)


def luma(images: Tensor) -> Tensor:
    """[n, 3, h, w] sRGB in [0, 1] -> [n, h, w], the Y channel (BT.601)."""
    weights = torch.tensor(LUMA_BT601, dtype=images.dtype, device=images.device)[:, None, None]
    return (images * weights).sum(1)


def ssim(picture: Tensor, truth: Tensor) -> float:
    """Structural similarity of one picture.

    The windows are Gaussian, 11 px wide with a sigma of 1.5 px, and lie wholly inside the picture, whose
    borders are not extended. Variances are biased. The result is the mean over windows and channels.

    Args:
        picture: [channels, h, w] floating point in [0, 1], both sides at least `SSIM_WINDOW_PX`.
        truth: the same shape.
    """
    offsets = torch.arange(SSIM_WINDOW_PX, dtype=torch.float64) - SSIM_WINDOW_PX // 2
    window = torch.exp(-(offsets**2) / (2 * _SSIM_SIGMA_PX**2))
    window = window / window.sum()

    def mean(values: Tensor) -> Tensor:
        rows = F.conv2d(values[:, None], window[None, None, :, None])
        return F.conv2d(rows, window[None, None, None])[:, 0]

    return float(_mean_in_strips(partial(similarity_map, mean), picture, truth, SSIM_WINDOW_PX))


def ssim_of_uniform_windows(picture: Tensor, truth: Tensor, contrast: float) -> float:
    """SSIM as scikit-image computes it by default: 7x7 uniform windows inside the picture.

    Args:
        picture: [h, w] floating point.
        truth: the same shape.
        contrast: difference between the largest and the smallest possible value.
    """
    side = 7
    share = side**2 / (side**2 - 1)  # sample variances

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values[None, None], side, 1)[0, 0]

    compare = partial(similarity_map, mean, contrast=contrast, share=share)
    return float(_mean_in_strips(compare, picture, truth, side))


def similarity_map(
    mean: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, contrast: float = 1.0, share: float = 1.0
) -> Tensor:
    """Returns the structural similarity in each window.

    Source: Wang et al., Image Quality Assessment, IEEE TIP 2004, equation 13, with its constants.

    Args:
        mean: takes the mean of a map over each window.
        x, y: what is compared, of one shape.
        contrast: difference between the largest and the smallest possible value.
        share: factor of variances: 1 for biased ones, n / (n - 1) for those of a sample.
    """
    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = share * (mean(x**2) - mean_x**2), share * (mean(y**2) - mean_y**2)
    covariance = share * (mean(x * y) - mean_x * mean_y)
    c1, c2 = (0.01 * contrast) ** 2, (0.03 * contrast) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return likeness / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))


def _mean_in_strips(
    compare: Callable[[Tensor, Tensor], Tensor], picture: Tensor, truth: Tensor, window_px: int = 1
) -> Tensor:
    """Mean of a map over all windows of two pictures, computed strip by strip to save memory.

    All at once, pictures of 12 megapixels took 7 GB.

    Args:
        compare: makes a map of two strips in float64, with a value for each window inside them.
        picture: [..., h, w].
        truth: the same shape.
        window_px: side of the windows.

    Returns:
        [] float64.
    """
    windows = picture.shape[-2] - window_px + 1
    rows = max(1, _STRIP_VALUES // max(1, picture[..., 0, :].numel()))
    total, count = torch.zeros((), dtype=torch.float64, device=picture.device), 0
    for top in range(0, windows, rows):
        strip = slice(top, min(top + rows, windows) + window_px - 1)
        values = compare(picture[..., strip, :].double(), truth[..., strip, :].double())
        total, count = total + values.sum(), count + values.numel()
    return total / count
