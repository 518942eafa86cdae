"""Folders of pictures compared with the truth: which pairs count, what is missing, and what is written."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rave_train.checkpoint import save_checkpoint
from rave_train.data.batches import to_tensor
from rave_train.errors import DataError, MetricUnavailableError
from rave_train.measure import candidates, learned_metrics
from rave_train.measure.candidates import enhance_pixels
from rave_train.measure.evaluation import Evaluation, Measured, evaluate_folders, write_evaluation
from rave_train.measure.learned_metrics import Fid
from rave_train.measure.protocol import METRICS, Protocol
from rave_train.network import EnhancementNetwork, relight


def test_a_metric_without_a_number_is_valid_json(tmp_path: Path) -> None:
    measured = Measured("a", (), {"fid": float("nan")})
    write_evaluation(Evaluation(Protocol(), (measured,), {}), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["candidates"]["a"]["means"] == {"fid": None}


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


def test_one_pair_is_enough_for_all_but_fid(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneFid:
        def __init__(self, *_: object) -> None:
            pass

        def add(self, *_: object) -> None:
            pass

    monkeypatch.setattr("rave_train.measure.evaluation.Fid", OneFid)
    for side in folders:
        for name in ("1.png", "2.png"):
            (side / name).unlink()
    result = evaluate_folders(*folders, metrics=("psnr", "fid"))
    assert list(result.last.means) == ["psnr"]
    assert "fid not measured: it compares sets: at least 2 pairs are needed" in result.as_text()
    (folders[1] / "0.png").rename(folders[1] / "other.png")
    with pytest.raises(DataError, match="at least 1 pair is needed: give partners the same name"):
        evaluate_folders(*folders, metrics=("psnr",))


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


def test_wrong_wishes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="niqe is not a metric: choose among psnr, ssim, lpips, fid"):
        evaluate_folders(*folders, metrics=("psnr", "niqe"))
    with pytest.raises(ValueError, match="'resnet' is not a network of LPIPS: alex, squeeze, vgg is needed"):
        evaluate_folders(*folders, protocol=Protocol(lpips_net="resnet"), metrics=("lpips",))
    with pytest.raises(MetricUnavailableError, match=r"FID: .*absent.pth is not a file"):
        Fid(tmp_path / "absent.pth")
    with pytest.raises(DataError, match="is not a folder"):
        evaluate_folders(folders[0], tmp_path / "absent")


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
