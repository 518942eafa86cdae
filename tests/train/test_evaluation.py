from __future__ import annotations

import csv
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

from rave_train.checkpoint import save_checkpoint
from rave_train.errors import DataError, MetricUnavailableError
from rave_train.measure import metrics
from rave_train.measure.evaluation import Evaluation, Protocol, evaluate_folders, write_evaluation
from rave_train.measure.metrics import Fid, Lpips
from rave_train.network import EnhancementNetwork


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
    write_evaluation(Evaluation(Protocol(), (), {"fid": float("nan")}, {}), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["means"] == {"fid": None}


def reference_ssim(left: np.ndarray, right: np.ndarray) -> float:
    """Wang et al. 2004, eq. 13: an 11x11 Gaussian window of sigma 1.5, inside the picture only."""

    def blur(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5]

    mean_l, mean_r = blur(left), blur(right)
    var_l, var_r = blur(left**2) - mean_l**2, blur(right**2) - mean_r**2
    cov = blur(left * right) - mean_l * mean_r
    c1, c2 = 0.01**2, 0.03**2
    ratio = (2 * mean_l * mean_r + c1) * (2 * cov + c2)
    return float((ratio / ((mean_l**2 + mean_r**2 + c1) * (var_l + var_r + c2))).mean())


def test_psnr_and_ssim_are_those_of_other_implementations(folders: tuple[Path, Path]) -> None:
    result = evaluate_folders(*folders, metrics=("psnr", "ssim"))
    for (_, values), left, right in zip(result.rows, *map(pixels_of, folders), strict=True):
        assert values["psnr"] == pytest.approx(-10 * np.log10(((left - right) ** 2).mean()), abs=1e-3)
        expected = np.mean([reference_ssim(left[..., c], right[..., c]) for c in range(3)])
        assert values["ssim"] == pytest.approx(expected, abs=1e-7)
        theirs = structural_similarity(
            left, right, channel_axis=2, data_range=1.0, gaussian_weights=True, use_sample_covariance=False
        )
        assert values["ssim"] == pytest.approx(theirs, abs=1e-6)
    assert result.means["psnr"] == pytest.approx(np.mean([values["psnr"] for _, values in result.rows]))


def test_the_grey_protocol_is_on_rounded_luma(folders: tuple[Path, Path]) -> None:
    result = evaluate_folders(*folders, metrics=("psnr",), protocol=Protocol(gray=True))
    for (_, values), *sides in zip(result.rows, *map(pixels_of, folders), strict=True):
        left, right = (np.rint(side * 255 @ [0.299, 0.587, 0.114]) / 255 for side in sides)
        assert values["psnr"] == pytest.approx(-10 * np.log10(((left - right) ** 2).mean()), abs=1e-3)


def test_gt_mean_hides_an_error_of_exposure(folders: tuple[Path, Path]) -> None:
    plain, scaled = (
        evaluate_folders(*folders, metrics=("psnr",), protocol=Protocol(gt_mean=on)).means["psnr"]
        for on in (False, True)
    )
    assert scaled > plain + 3


def test_sizes_are_matched_and_the_protocol_says_so(folders: tuple[Path, Path]) -> None:
    with Image.open(folders[0] / "0.png") as image:
        image.resize((20, 16)).save(folders[0] / "0.png")
    assert "at the truth's size" in evaluate_folders(*folders, metrics=("psnr",)).as_text()
    squashed = evaluate_folders(*folders, metrics=("psnr",), protocol=Protocol(size_px=24, gray=True))
    assert (
        "PSNR and SSIM on grey (upstream's), LPIPS (alex), squashed to 24x24, no GT-mean"
        in squashed.as_text()
    )


def test_a_picture_of_another_shape_is_left_out_by_name(folders: tuple[Path, Path]) -> None:
    with Image.open(folders[0] / "1.png") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(folders[0] / "1.png")
    result = evaluate_folders(*folders, metrics=("psnr",))
    assert [name for name, _ in result.rows] == ["0.png", "2.png"]
    assert f"skipped {folders[0] / '1.png'}: 96x120 pixels cannot be compared" in result.as_text()
    assert result.means["psnr"] == pytest.approx(np.mean([values["psnr"] for _, values in result.rows]))


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
    before = evaluate_folders(*folders, metrics=("psnr",)).means["psnr"]
    after = evaluate_folders(*folders, checkpoint=tmp_path / "net.safetensors", metrics=("psnr",)).means[
        "psnr"
    ]
    assert after > before + 3


def test_missing_weights_are_named_and_the_rest_reported(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))

    def no_network(*arguments: object, **more: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    monkeypatch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", no_network)
    result = evaluate_folders(*folders)
    where = tmp_path / "empty" / "hub" / "checkpoints"
    assert result.missing == {
        "lpips": "LPIPS (alex) needs alexnet-owt-7be5be79.pth, which could not be downloaded: "
        f"put it into {where}",
        "fid": f"FID needs {metrics.INCEPTION_FILE}, which could not be downloaded: put it into {where}, "
        "or name it with --inception",
    }
    assert set(result.means) == {"psnr", "ssim"}
    assert "fid not measured: FID needs" in result.as_text()
    write_evaluation(result, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["means"].keys() == {"psnr", "ssim"}
    assert written["protocol"]["description"] == result.protocol.describe()
    with (tmp_path / "out" / "table.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["picture", "psnr", "ssim"]
    assert [row[0] for row in rows[1:]] == ["0.png", "1.png", "2.png", "mean"]
    assert float(rows[-1][1]) == pytest.approx(result.means["psnr"], abs=1e-5)


def test_fid_is_the_frechet_distance_of_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an extractor of two features (mean red, mean green) the distance is known."""

    class Extractor(torch.nn.Module):
        def __init__(self, *arguments: object) -> None:
            super().__init__()

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            return (images.float().mean((2, 3))[:, :2] / 255,)

    monkeypatch.setattr("torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3", Extractor)
    monkeypatch.setattr(metrics._Features, "num_features", 2)
    rng = np.random.default_rng(0)
    sets = [rng.integers(0, high, (40, 8, 8, 3), dtype=np.uint8) for high in (255, 180)]
    found = Fid(None)(list(sets[0]), list(sets[1]))
    features = [s[..., :2].mean((1, 2)) / 255 for s in sets]
    means, covs = [f.mean(0) for f in features], [np.cov(f.T) for f in features]
    roots = np.sqrt(np.linalg.eigvals(covs[0] @ covs[1]).real)
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(covs[0]) + np.trace(covs[1]) - 2 * roots.sum()
    assert found == pytest.approx(expected, rel=1e-3)


def test_wrong_wishes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="niqe is no metric: psnr, ssim, lpips, fid are"):
        evaluate_folders(*folders, metrics=("psnr", "niqe"))
    with pytest.raises(ValueError, match="'resnet' is no network of LPIPS: alex, squeeze, vgg is needed"):
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


def test_nothing_in_a_file_of_weights_is_run(tmp_path: Path) -> None:
    torch.save({"weight": _Evil(tmp_path / "it ran")}, tmp_path / "evil.pth")
    with pytest.raises(MetricUnavailableError, match="does not hold the weights of"):
        Fid(tmp_path / "evil.pth")
    assert not (tmp_path / "it ran").exists()


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
    assert content["means"]["psnr"] == 100
    assert len(content["left_out"]) == 2
