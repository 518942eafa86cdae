"""PSNR, SSIM, LPIPS and FID are those of other implementations, and of upstream's script."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torchvision import transforms

from rave_train.errors import ConfigError, MetricUnavailableError
from rave_train.measure import learned_metrics, metrics
from rave_train.measure.evaluation import evaluate_folders
from rave_train.measure.learned_metrics import Fid, Lpips
from rave_train.measure.protocol import Protocol


def pixels_of(folder: Path) -> list[np.ndarray]:
    found = []
    for file in sorted(folder.iterdir()):
        with Image.open(file) as image:
            found.append(np.asarray(image, np.float64) / 255)
    return found


def reference_ssim(left: np.ndarray, right: np.ndarray) -> float:
    """Wang et al. 2004, eq. 13: an 11x11 Gaussian window of sigma 1.5, inside the picture only."""

    def blur(x: np.ndarray) -> np.ndarray:
        return np.asarray(gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5])

    mean_l, mean_r = blur(left), blur(right)
    var_l, var_r = blur(left**2) - mean_l**2, blur(right**2) - mean_r**2
    cov = blur(left * right) - mean_l * mean_r
    c1, c2 = 0.01**2, 0.03**2
    ratio = (2 * mean_l * mean_r + c1) * (2 * cov + c2)
    return float((ratio / ((mean_l**2 + mean_r**2 + c1) * (var_l + var_r + c2))).mean())


@pytest.mark.parametrize("values", [1, 700, 4000])
def test_metrics_in_strips_are_those_of_the_whole_picture(
    values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, truth = torch.rand(2, 3, 50, 41, generator=torch.Generator().manual_seed(0))

    def measure() -> list[float]:
        uniform = metrics.ssim_of_uniform_windows(255 * picture[0], 255 * truth[0], 255)
        return [metrics.psnr(picture, truth), metrics.ssim(picture, truth), uniform]

    whole = measure()
    monkeypatch.setattr(metrics, "_STRIP_VALUES", values)
    assert measure() == pytest.approx(whole, rel=1e-12)


def test_large_pictures_are_compared_piece_by_piece() -> None:
    """SSIM of 12 megapixels took 7 GB."""
    sizes = []

    def compare(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        sizes.append(x.numel())
        return x[:, 10:, 10:] - y[:, 10:, 10:]

    large = torch.zeros(1).expand(3, 2000, 3000)
    assert metrics._mean_in_strips(compare, large, large, 11) == 0
    assert sum(sizes) >= 3 * 2000 * 3000
    assert max(sizes) < 1.2 * metrics._STRIP_VALUES


def test_psnr_and_ssim_are_those_of_other_implementations(folders: tuple[Path, Path]) -> None:
    result = evaluate_folders(*folders, metrics=("psnr", "ssim"))
    for (_, values), left, right in zip(result.last.rows, *map(pixels_of, folders), strict=True):
        assert values["psnr"] == pytest.approx(-10 * np.log10(((left - right) ** 2).mean()), abs=1e-3)
        expected = np.mean([reference_ssim(left[..., c], right[..., c]) for c in range(3)])
        assert values["ssim"] == pytest.approx(expected, abs=1e-7)
        theirs = structural_similarity(
            left, right, channel_axis=2, data_range=1.0, gaussian_weights=True, use_sample_covariance=False
        )
        assert values["ssim"] == pytest.approx(theirs, abs=1e-6)
    assert result.last.means["psnr"] == pytest.approx(
        np.mean([values["psnr"] for _, values in result.last.rows])
    )


def test_the_grey_protocol_is_on_rounded_luma(folders: tuple[Path, Path]) -> None:
    result = evaluate_folders(*folders, metrics=("psnr",), protocol=Protocol(gray=True))
    for (_, values), *sides in zip(result.last.rows, *map(pixels_of, folders), strict=True):
        left, right = (np.rint(side * 255 @ [0.299, 0.587, 0.114]) / 255 for side in sides)
        assert values["psnr"] == pytest.approx(-10 * np.log10(((left - right) ** 2).mean()), abs=1e-3)


def test_gt_mean_hides_an_error_of_exposure(folders: tuple[Path, Path]) -> None:
    plain, scaled = (
        evaluate_folders(*folders, metrics=("psnr",), protocol=Protocol(gt_mean=on)).last.means["psnr"]
        for on in (False, True)
    )
    assert scaled > plain + 3


def test_fid_is_the_frechet_distance_of_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an extractor of two features (mean red, mean green) the distance is known."""

    class Extractor(torch.nn.Module):
        def __init__(self, *arguments: object) -> None:
            super().__init__()

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            return (images.float().mean((2, 3))[:, :2] / 255,)

    monkeypatch.setattr("torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3", Extractor)
    monkeypatch.setattr(learned_metrics._Features, "num_features", 2)
    monkeypatch.setattr(learned_metrics, "_require_weights", lambda *_: Path("weights"))
    rng = np.random.default_rng(0)
    sets = [rng.integers(0, high, (40, 8, 8, 3), dtype=np.uint8) for high in (255, 180)]
    fid = Fid(None)
    for picture, true in zip(*sets, strict=True):
        fid.add(picture, true)
    found = fid.distance()
    features = [s[..., :2].mean((1, 2)) / 255 for s in sets]
    means, covs = [f.mean(0) for f in features], [np.cov(f.T) for f in features]
    roots = np.sqrt(np.linalg.eigvals(covs[0] @ covs[1]).real)
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(covs[0]) + np.trace(covs[1]) - 2 * roots.sum()
    assert found == pytest.approx(expected, rel=1e-3)


class _Evil:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def test_nothing_in_a_file_of_weights_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"weight": _Evil(tmp_path / "it ran")}, tmp_path / "evil.pth")
    with pytest.raises(MetricUnavailableError, match="does not hold the weights of"):
        Fid(tmp_path / "evil.pth")
    place = tmp_path / "hub" / "checkpoints"
    place.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in (learned_metrics.INCEPTION_FILE, learned_metrics.LPIPS_NETS["alex"]):
        (tmp_path / "evil.pth").rename(place / name)
        with pytest.raises(MetricUnavailableError, match="does not hold the weights of"):
            Fid(None) if name == learned_metrics.INCEPTION_FILE else Lpips("alex")
        (place / name).rename(tmp_path / "evil.pth")

    def fetch(url: str, target: str, *_: object, **__: object) -> None:
        shutil.copy(tmp_path / "evil.pth", target)

    said: list[str] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO())
    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    with pytest.raises(MetricUnavailableError, match="does not hold the weights of"):
        Fid(None, said.append)
    assert said == [f"FID fetches {learned_metrics._INCEPTION_URL} into {place}"]
    assert not (tmp_path / "it ran").exists()


def test_upstreams_protocol_is_its_script(folders: tuple[Path, Path]) -> None:
    """cv2 reads BGR, which is then taken for RGB; SSIM's range is that of the enhanced picture."""
    cv2 = pytest.importorskip("cv2")
    result = evaluate_folders(*folders, metrics=("psnr", "ssim"), protocol=Protocol("upstream"))
    for name, values in result.last.rows:
        true, picture = (
            cv2.cvtColor(cv2.imread(str(folder / name), 1), cv2.COLOR_RGB2GRAY) for folder in folders[::-1]
        )
        assert values["psnr"] == pytest.approx(cv2.PSNR(true, picture), abs=1e-9)
        contrast = picture.max() - picture.min()
        assert values["ssim"] == pytest.approx(
            structural_similarity(true, picture, data_range=contrast), abs=1e-9
        )
    assert "upstream's script: PSNR on grey with red and blue swapped; SSIM" in result.as_text()
    with pytest.raises(ConfigError, match="upstream's protocol is fixed: leave out --gray"):
        Protocol("upstream", gray=True).check()
    with pytest.raises(ConfigError, match="the protocol is 'theirs': ours or upstream"):
        Protocol("theirs").check()  # type: ignore[arg-type]


def test_upstreams_lpips_is_of_1024_pixels() -> None:
    """Of a side of 196 pixels, 1024 / 196 of them were 1023."""
    for side in (196, 300):
        picture = np.zeros((side, 2 * side, 3), np.uint8)
        expected = transforms.Resize(1024)(Image.fromarray(picture)).size[::-1]
        assert Protocol("upstream").for_lpips(picture).shape[1:] == expected == (1024, 2048)


@pytest.mark.shared
def test_upstreams_lpips_is_of_normalised_pictures(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a quarter of upstream's size, which the test above is about."""
    lpips = pytest.importorskip("lpips")
    monkeypatch.setenv("TORCH_HOME", str(shared / "encoders" / "torch_home"))
    monkeypatch.setattr("rave_train.measure.protocol.UPSTREAM_LPIPS_SIDE_PX", 256)
    with pytest.warns(UserWarning, match="deprecated"):
        theirs = lpips.LPIPS(net="squeeze", verbose=False)
    rng = np.random.default_rng(0)
    left, right = (rng.integers(0, 255, (40, 60, 3), dtype=np.uint8) for _ in range(2))
    transform = transforms.Compose([
        transforms.Resize(256),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])  # fmt: skip
    with torch.no_grad():
        expected = theirs(*(transform(Image.fromarray(p))[None] for p in (left, right))).item()
    found = Lpips("squeeze").of_normalised(*(Protocol("upstream").for_lpips(p) for p in (left, right)))
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.shared
def test_lpips_squeeze_agrees_with_its_authors_package(
    shared: Path, monkeypatch: pytest.MonkeyPatch, folders: tuple[Path, Path]
) -> None:
    lpips = pytest.importorskip("lpips")
    monkeypatch.setenv("TORCH_HOME", str(shared / "encoders" / "torch_home"))
    left, right = (torch.from_numpy(p[0]).permute(2, 0, 1).float() for p in map(pixels_of, folders))
    with pytest.warns(UserWarning, match="deprecated"):
        theirs = lpips.LPIPS(net="squeeze", verbose=False)
    with torch.no_grad():
        expected = theirs(left[None] * 2 - 1, right[None] * 2 - 1).item()
    assert Lpips("squeeze")(left, right) == pytest.approx(expected, rel=1e-3)
