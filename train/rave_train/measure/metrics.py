"""Metrics of pictures, and the weights that some of them need.

Every figure of this project that compares two pictures is computed here.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from rave_train.data.photographs import Pixels
from rave_train.errors import ConfigError, MetricUnavailableError

LPIPS_NETS: Final = {
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "vgg": "vgg16-397923af.pth",
}
"""Backbones of LPIPS and the file torchvision looks for."""

INCEPTION_FILE: Final = "pt_inception-2015-12-05-6726825d.pth"


PSNR_OF_EQUAL_DB: Final = 100.0
"""Equal pictures have no error; they count as this, so that a mean over pictures stays a number."""

LUMA_BT601: Final = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the grey (Y) of a picture, as upstream's scripts take it."""

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
    error = (picture.double() - truth.double()).square().mean()
    return float((-10 * error.log10()).clamp_max(PSNR_OF_EQUAL_DB))


def luma(images: Tensor) -> Tensor:
    """[n, 3, h, w] sRGB in [0, 1] -> [n, h, w], the Y channel (BT.601)."""
    weights = torch.tensor(LUMA_BT601, dtype=images.dtype, device=images.device)[:, None, None]
    return (images * weights).sum(1)


def ssim(picture: Tensor, truth: Tensor) -> float:
    """Structural similarity of one picture.

    Gaussian windows of 11 px with a sigma of 1.5 px that lie wholly inside the picture (its borders are not
    extended), biased variances, mean over windows and channels.

    Args:
        picture: [channels, h, w] floating point in [0, 1], both sides at least `SSIM_WINDOW_PX`.
        truth: the same shape.

    Source: Wang et al., Image Quality Assessment, IEEE TIP 2004, equation 13.
    """
    offsets = torch.arange(SSIM_WINDOW_PX, dtype=torch.float64) - SSIM_WINDOW_PX // 2
    window = torch.exp(-(offsets**2) / (2 * _SSIM_SIGMA_PX**2))
    window = window / window.sum()

    def mean(values: Tensor) -> Tensor:
        rows = F.conv2d(values[:, None], window[None, None, :, None])
        return F.conv2d(rows, window[None, None, None])[:, 0]

    x, y = picture.double(), truth.double()
    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((similarity / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))).mean())


class Lpips:
    """Learned perceptual distance of pictures, 0 for equal ones.

    Args:
        net: "alex" (as published), "squeeze" or "vgg"; numbers of different nets do not compare.

    Raises:
        MetricUnavailableError: the backbone's weights cannot be had.
    """

    def __init__(self, net: str) -> None:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        if net not in LPIPS_NETS:
            raise ConfigError(f"{net!r} is no network of LPIPS: {', '.join(LPIPS_NETS)} is needed")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._metric = LearnedPerceptualImagePatchSimilarity(net, normalize=True)  # type: ignore[arg-type]
        except OSError as error:
            folder = Path(torch.hub.get_dir()) / "checkpoints"
            raise MetricUnavailableError(
                f"LPIPS ({net}) needs {LPIPS_NETS[net]}, which could not be downloaded: put it into {folder}"
            ) from error

    @torch.no_grad()
    def __call__(self, picture: Tensor, truth: Tensor) -> float:
        """Distance of one picture [3, h, w] in [0, 1] from its truth."""
        self._metric.reset()
        return float(self._metric(picture[None], truth[None]))


class Fid:
    """Fréchet distance between two sets of pictures in the Inception network's pooled features.

    Args:
        weights: of the Inception network as torch-fidelity names it, or None to look in torch's cache
            and download.

    Raises:
        MetricUnavailableError: the weights cannot be had.
    """

    def __init__(self, weights: Path | None) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        folder = Path(torch.hub.get_dir()) / "checkpoints"
        if weights is not None and not weights.is_file():
            raise MetricUnavailableError(f"FID: {weights} is not a file: {INCEPTION_FILE} is needed")
        file = weights or folder / INCEPTION_FILE
        try:
            if file.is_file():  # torch-fidelity would run what is in it: only tensors are let through
                torch.load(file, map_location="cpu", weights_only=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                extractor = FeatureExtractorInceptionV3(
                    "inception-v3-compat", ["2048"], str(file) if file.is_file() else None
                )
        except Exception as error:  # a file of anything makes torch stumble over anything
            if file.is_file():
                raise MetricUnavailableError(
                    f"FID: {file} does not hold the weights of {INCEPTION_FILE}: {str(error).splitlines()[0]}"
                ) from error
            raise MetricUnavailableError(
                f"FID needs {INCEPTION_FILE}, which could not be downloaded: put it into {folder}, "
                "or name it with --inception"
            ) from error
        self._extractor = extractor.eval()

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Pixels], truths: Sequence[Pixels]) -> float:
        """Distance between two sets of [h, w, 3] uint8 pictures, each scaled by the network itself."""
        from torchmetrics.image.fid import FrechetInceptionDistance

        metric = FrechetInceptionDistance(feature=_Features(self._extractor))
        for is_real, side in ((True, truths), (False, pictures)):
            for pixels in side:
                metric.update(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None], real=is_real)
        return float(metric.compute())


class _Features(torch.nn.Module):
    """The extractor as torchmetrics wants a custom one: a tensor in, [n, features] out."""

    num_features = 2048

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.extractor(images.to(torch.uint8))[0]
        return features.flatten(1)
