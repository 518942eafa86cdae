from __future__ import annotations

import csv
import io
import json
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

from rave_train.checkpoint import save_checkpoint
from rave_train.data.batches import to_tensor
from rave_train.errors import ConfigError, DataError, MetricUnavailableError
from rave_train.measure import candidates, learned_metrics, metrics
from rave_train.measure.candidates import enhance_pixels
from rave_train.measure.evaluation import Evaluation, Measured, evaluate_folders, write_evaluation
from rave_train.measure.learned_metrics import Fid, Lpips
from rave_train.measure.protocol import METRICS, Protocol
from rave_train.network import EnhancementNetwork, relight


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three pictures and the same ones with noise and less light."""
    rng = np.random.default_rng(0)
    for index in range(3):
        true = (rng.random((6, 8, 3)) * 255).astype(np.uint8)
        picture = np.asarray(Image.fromarray(true).resize((120, 96), Image.Resampling.BICUBIC))
        worse = (picture * 0.8 + rng.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8)
        for side, pixels in (("enhanced", worse), ("truth", picture)):
            (tmp_path / side).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / side / f"{index}.png")
    return tmp_path / "enhanced", tmp_path / "truth"


def pixels_of(folder: Path) -> list[np.ndarray]:
    found = []
    for file in sorted(folder.iterdir()):
        with Image.open(file) as image:
            found.append(np.asarray(image, np.float64) / 255)
    return found


def test_a_metric_without_a_number_is_valid_json(tmp_path: Path) -> None:
    measured = Measured("a", (), {"fid": float("nan")})
    write_evaluation(Evaluation(Protocol(), (measured,), {}), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["candidates"]["a"]["means"] == {"fid": None}


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


def test_sizes_are_matched_and_the_protocol_says_so(folders: tuple[Path, Path]) -> None:
    with Image.open(folders[0] / "0.png") as image:
        image.resize((20, 16)).save(folders[0] / "0.png")
    assert "at the truth's size" in evaluate_folders(*folders, metrics=("psnr",)).as_text()
    squashed = evaluate_folders(*folders, metrics=("psnr",), protocol=Protocol(size_px=24, gray=True))
    assert "PSNR on grey; squashed to 24x24" in squashed.as_text()


def test_a_picture_of_another_shape_is_left_out_by_name(folders: tuple[Path, Path]) -> None:
    with Image.open(folders[0] / "1.png") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(folders[0] / "1.png")
    result = evaluate_folders(*folders, metrics=("psnr",))
    assert [name for name, _ in result.last.rows] == ["0.png", "2.png"]
    assert f"skipped {folders[0] / '1.png'}: 96x120 pixels cannot be compared" in result.as_text()
    assert result.last.means["psnr"] == pytest.approx(
        np.mean([values["psnr"] for _, values in result.last.rows])
    )


def test_pairs_of_which_none_can_be_compared_are_an_error(folders: tuple[Path, Path]) -> None:
    for file in folders[0].iterdir():
        with Image.open(file) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(file)
    with pytest.raises(DataError, match=r"no pair can be compared\nskipped .*0\.png"):
        evaluate_folders(*folders, metrics=("psnr",))


def test_a_checkpoint_is_run_over_the_pairs(folders: tuple[Path, Path], tmp_path: Path) -> None:
    network = EnhancementNetwork(channels=4)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(network.cond_add1.bias, 0.8)  # type: ignore[arg-type]
    save_checkpoint(network, tmp_path / "net.safetensors")
    before = evaluate_folders(*folders, metrics=("psnr",)).last.means["psnr"]
    after = evaluate_folders(*folders, [str(tmp_path / "net.safetensors")], ("psnr",)).last.means["psnr"]
    assert after > before + 3


def test_missing_weights_are_named_and_the_rest_reported(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))

    def no_network(*arguments: object, **more: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    assert evaluate_folders(*folders).missing == {}, "what was not asked for is not missing"
    result = evaluate_folders(*folders, metrics=METRICS)
    where = tmp_path / "empty" / "hub" / "checkpoints"
    assert result.missing == {
        "lpips": "LPIPS (alex) needs alexnet-owt-7be5be79.pth, which could not be downloaded "
        f"(download.pytorch.org cannot be reached: no network here): put it into {where}",
        "fid": f"FID needs {learned_metrics.INCEPTION_FILE}, which could not be downloaded "
        f"(github.com cannot be reached: no network here): put it into {where}, "
        "or name it with --inception",
    }
    assert set(result.last.means) == {"psnr", "ssim"}
    assert "fid not measured: FID needs" in result.as_text()
    write_evaluation(result, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["candidates"]["enhanced"]["means"].keys() == {"psnr", "ssim"}
    assert written["protocol"]["description"] == result.protocol.describe(("psnr", "ssim"))
    assert "LPIPS" not in written["protocol"]["description"]
    with (tmp_path / "out" / "table.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["candidate", "picture", "psnr", "ssim"]
    assert [row[:2] for row in rows[1:]] == [
        ["enhanced", f"{n}"] for n in ("0.png", "1.png", "2.png", "mean")
    ]
    assert float(rows[-1][2]) == pytest.approx(result.last.means["psnr"], abs=1e-5)


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


def test_wrong_wishes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="niqe is not a metric: choose among psnr, ssim, lpips, fid"):
        evaluate_folders(*folders, metrics=("psnr", "niqe"))
    with pytest.raises(ValueError, match="'resnet' is not a network of LPIPS: alex, squeeze, vgg is needed"):
        evaluate_folders(*folders, protocol=Protocol(lpips_net="resnet"), metrics=("lpips",))
    with pytest.raises(MetricUnavailableError, match=r"FID: .*absent.pth is not a file"):
        Fid(tmp_path / "absent.pth")
    with pytest.raises(DataError, match="is not a folder"):
        evaluate_folders(folders[0], tmp_path / "absent")


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


@pytest.mark.shared
def test_upstreams_lpips_is_of_normalised_pictures(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lpips = pytest.importorskip("lpips")
    monkeypatch.setenv("TORCH_HOME", str(shared / "encoders" / "torch_home"))
    with pytest.warns(UserWarning, match="deprecated"):
        theirs = lpips.LPIPS(net="squeeze", verbose=False)
    rng = np.random.default_rng(0)
    left, right = (rng.integers(0, 255, (40, 60, 3), dtype=np.uint8) for _ in range(2))
    transform = transforms.Compose([
        transforms.Resize(1024),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])  # fmt: skip
    with torch.no_grad():
        expected = theirs(*(transform(Image.fromarray(p))[None] for p in (left, right))).item()
    found = Lpips("squeeze").of_normalised(*(Protocol("upstream").for_lpips(p) for p in (left, right)))
    assert found == pytest.approx(expected, rel=1e-4)


def test_several_candidates_have_a_row_each_below_the_input(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    for name, bias in (("a", 0.8), ("b", 0.6)):
        network = EnhancementNetwork(channels=4)
        torch.nn.init.constant_(network.cond_add1.bias, bias)  # type: ignore[arg-type]
        save_checkpoint(network, tmp_path / f"{name}.safetensors")
    models = [str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"), "embedded"]
    result = evaluate_folders(*folders, models, ("psnr", "ssim"))
    names = [measured.name for measured in result.candidates]
    assert names[0] == "input"
    assert names[1:3] == [f"{model} (full resolution)" for model in models[:2]]
    assert names[3].startswith("embedded (int8, light at")
    assert result.candidates[0].means == evaluate_folders(*folders, (), ("psnr", "ssim")).last.means
    assert len({measured.means["psnr"] for measured in result.candidates}) == 4
    lines = result.as_text().splitlines()
    assert lines[0].split() == ["mean", "of", "3", "psnr", "ssim"]
    assert [line.split()[0] for line in lines[1:5]] == ["input", *models]
    assert len(lines) == 6, "a summary: pictures are in table.csv"


def test_where_nothing_was_measured_only_the_reason_is_said() -> None:
    measured = Measured("b", (("a.png", {}),), {})
    result = Evaluation(Protocol(), (measured,), {"lpips": "its weights are not here"}, ("c.png left out",))
    assert result.as_text().splitlines() == ["lpips not measured: its weights are not here", "c.png left out"]


def test_a_checkpoint_runs_in_tiles_equal_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole picture of 1.6 megapixels took 3.3 GB."""
    torch.manual_seed(0)
    network = EnhancementNetwork(channels=8).eval()
    torch.nn.init.constant_(network.cond_add1.bias, 0.7)  # type: ignore[arg-type]
    pixels = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
    image = to_tensor(pixels)[None]
    with torch.no_grad():
        whole = (relight(image, network(image))[0].permute(1, 2, 0) * 255 + 0.5).to(torch.uint8).numpy()
    seen: list[int] = []
    features = network.features

    def counted(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[-1])
        return features(x)

    monkeypatch.setattr(network, "features", counted, raising=False)
    monkeypatch.setattr(candidates, "TILE_PX", 64)
    tiled = enhance_pixels(network, pixels)
    assert max(seen) <= 64
    assert np.abs(tiled.astype(int) - whole).max() <= 1
    assert (tiled == whole).mean() > 0.999


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


def test_what_is_left_out_is_named_and_equal_pictures_are_valid_json(
    scenes: tuple[Path, Path], tmp_path: Path
) -> None:
    backlit, _ = scenes
    (backlit / "extra.png").write_bytes(sorted(backlit.iterdir())[0].read_bytes())
    truth = tmp_path / "truth"
    shutil.copytree(backlit, truth)
    (truth / "extra.png").unlink()
    (truth / "broken.png").write_text("no picture")
    result = evaluate_folders(backlit, truth, metrics=["psnr"])
    assert any("broken.png" in line for line in result.left_out)
    assert any("extra.png" in line for line in result.left_out)
    assert "extra.png" in result.as_text()
    write_evaluation(result, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["candidates"]["backlit"]["means"]["psnr"] == 100
    assert len(content["left_out"]) == 2
