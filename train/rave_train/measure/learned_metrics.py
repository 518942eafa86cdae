"""LPIPS and FID: metrics by networks whose weights are fetched; no code in those files is ever run."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from rave_runtime.arrays import Picture
from rave_runtime.errors import reason_of
from rave_train.encoders.hub import require_reachable
from rave_train.errors import ConfigError, MetricUnavailableError, reason_of_loading

LPIPS_NETS: Final = {
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "vgg": "vgg16-397923af.pth",
}
"""Backbones of LPIPS, each with the file that torchvision looks for."""

INCEPTION_FILE: Final = "pt_inception-2015-12-05-6726825d.pth"
_TORCHVISION_URL: Final = "https://download.pytorch.org/models/"
_INCEPTION_URL: Final = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)

Announce = Callable[[str], None]
"""Called with a line about a file before it is fetched."""


def weights_place(name: str) -> Path:
    """The path at which torch keeps a file of weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / name


class Lpips:
    """Learned perceptual distance of pictures, 0 for equal ones.

    Args:
        net: "alex" (as published), "squeeze" or "vgg"; figures of different ones cannot be compared.
        announce: told of a file before it is fetched.

    Raises:
        ConfigError: another net.
        MetricUnavailableError: the backbone's weights cannot be had.
    """

    def __init__(self, net: str, announce: Announce | None = None) -> None:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        if net not in LPIPS_NETS:
            raise ConfigError(f"{net!r} is not a network of LPIPS: {', '.join(LPIPS_NETS)} is needed")
        _require_weights(f"LPIPS ({net})", LPIPS_NETS[net], _TORCHVISION_URL + LPIPS_NETS[net], announce)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._net: Any = LearnedPerceptualImagePatchSimilarity(net).net  # type: ignore[arg-type]

    @torch.no_grad()
    def __call__(self, picture: Tensor, truth: Tensor) -> float:
        """Distance of one picture [3, h, w] in [0, 1] from its truth."""
        return self.of_normalised(picture * 2 - 1, truth * 2 - 1)

    @torch.no_grad()
    def of_normalised(self, picture: Tensor, truth: Tensor) -> float:
        """The same distance for pictures that are in [-1, 1] already, or normalised in another way."""
        return float(self._net(picture[None], truth[None]).squeeze())


class Fid:
    """Fréchet distance between two sets of pictures in the Inception network's pooled features, from 0 up.

    Pictures are added one after another, and only sums of their features are kept.

    Args:
        weights: the weights of the Inception network as torch-fidelity names it, or None to look in torch's
            cache and download.
        announce: told of a file before it is fetched.

    Raises:
        MetricUnavailableError: the weights cannot be had.
    """

    def __init__(self, weights: Path | None, announce: Announce | None = None) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        if weights is not None and not weights.is_file():
            raise MetricUnavailableError(f"FID: {weights} is not a file: {INCEPTION_FILE} is needed")
        if weights is None:
            otherwise = ", or name it with --inception"
            file = _require_weights("FID", INCEPTION_FILE, _INCEPTION_URL, announce, otherwise)
        else:
            file = weights
            _require_tensors("FID", file, INCEPTION_FILE)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                extractor = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(file))
        except Exception as error:  # other weights make torch raise errors of any class
            raise MetricUnavailableError(
                f"FID: {file} does not hold the weights of {INCEPTION_FILE}: {reason_of(error)}"
            ) from error
        self._extractor = extractor.eval()
        self.start()

    def start(self) -> None:
        """Begins two new, empty sets."""
        from torchmetrics.image.fid import FrechetInceptionDistance

        self._metric = FrechetInceptionDistance(feature=_Features(self._extractor))

    @torch.no_grad()
    def add(self, picture: Picture, truth: Picture) -> None:
        """Adds a picture to each set, [h, w, 3] uint8 of any size; the network scales them itself."""
        for is_real, pixels in ((True, truth), (False, picture)):
            self._metric.update(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None], real=is_real)

    @torch.no_grad()
    def distance(self) -> float:
        """Distance between the two sets."""
        return float(self._metric.compute())


class _Features(torch.nn.Module):
    """The extractor in the form that torchmetrics needs: [n, 3, h, w] uint8 -> [n, features]."""

    num_features = 2048

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.extractor(images)[0]
        return features


def _require_weights(
    metric: str, name: str, url: str, announce: Announce | None, otherwise: str = ""
) -> Path:
    """A file of weights in torch's cache, which is fetched if it is missing, and holds tensors only.

    Raises:
        MetricUnavailableError: it cannot be fetched, or holds something else.
    """
    file = weights_place(name)
    if not file.is_file():
        try:
            require_reachable(url)
            if announce is not None:
                announce(f"{metric} fetches {url} into {file.parent}")
            file.parent.mkdir(parents=True, exist_ok=True)
            match = re.search(r"-([0-9a-f]{8})[.]pth$", name)
            prefix = match[1] if match and name != INCEPTION_FILE else None
            torch.hub.download_url_to_file(url, str(file), prefix, progress=False)
        except (OSError, RuntimeError) as error:
            raise MetricUnavailableError(
                f"{metric} needs {name}, which could not be downloaded ({reason_of(error)}): "
                f"put it into {file.parent}{otherwise}"
            ) from error
    _require_tensors(metric, file, name)
    return file


def _require_tensors(metric: str, file: Path, name: str) -> None:
    """Checks that a file holds tensors only, since the libraries that load it next would run anything else.

    Raises:
        MetricUnavailableError: it holds something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another kind makes torch raise errors of any class
        raise MetricUnavailableError(
            f"{metric}: {file} does not hold the weights of {name}: {reason_of_loading(error)}"
        ) from error
