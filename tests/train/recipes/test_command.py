"""`python -m rave_train.recipes.embedded`: what it writes, says and refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rave_train.checkpoint import read_checkpoint, save_checkpoint
from rave_train.errors import TrainingError
from rave_train.network import EnhancementNetwork
from rave_train.recipes.embedded import main

SHORT = ("--steps", "2", "1", "1", "--pairs", "8", "--threads", "1", "--device", "cpu")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    y, x = np.mgrid[0:1:120j, 0:1:160j]
    for name, frequency in (("a", 9), ("b", 21)):
        wave = 0.5 + 0.3 * np.sin(frequency * x + 5 * y)
        pixels = (255 * np.stack([wave, wave**2, 1 - wave], 2)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["embedded", *map(str, words)])
    main()


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *words)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_it_trains_and_says_how(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "model.safetensors"
    run(monkeypatch, photographs, "--output", output, *SHORT, "--mix", "0", "0", "0.2", "0.2", "0.6")
    checkpoint = read_checkpoint(output)
    assert checkpoint.network.channels == 16
    told = checkpoint.provenance
    assert told["small"] == {"steps": 2, "batch": 12, "scale": 0.5}
    assert told["mix"] == {"view": 0.0, "silhouette": 0.0, "subject": 0.2, "shade": 0.2, "lit": 0.6}
    assert told["photographs"] == 2
    assert told["panoramas"] == 0
    assert told["device"] == "cpu"
    assert told["start"] is None
    assert told["training_size_px"] == 144


def test_it_goes_on_from_a_checkpoint(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    start = EnhancementNetwork(16, "reflect")
    save_checkpoint(start, tmp_path / "start.safetensors", {"seed": 5})
    output = tmp_path / "model.safetensors"
    words = (*SHORT, "--steps", "0", "0", "0", "--init-from", tmp_path / "start.safetensors")
    weights = ("--ssim-weight", "0.3", "--finish", "0.5", "3", "--finish", "0.7", "20")
    run(monkeypatch, photographs, "--output", output, *words, *weights)
    found = read_checkpoint(output)
    for name, weight in found.network.named_parameters():
        torch.testing.assert_close(weight, start.get_parameter(name))
    assert found.provenance["start"] == {"seed": 5}
    assert found.provenance["ssim_weight"] == 0.3
    assert found.provenance["finishes"] == [
        {"shade_preference": 0.5, "backlit_weight": 3.0},
        {"shade_preference": 0.7, "backlit_weight": 20.0},
    ]


def test_a_start_of_another_width_is_refused(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = tmp_path / "narrow.safetensors"
    save_checkpoint(EnhancementNetwork(8, "reflect"), narrow, {})
    words = (photographs, "--output", tmp_path / "x.safetensors", *SHORT)
    said = refused(monkeypatch, capsys, *words, "--init-from", narrow)
    assert "has 8 channels, the recipe's network has 16" in said
    missing = tmp_path / "missing.safetensors"
    assert "missing.safetensors" in refused(monkeypatch, capsys, *words, "--init-from", missing)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--device", "tpu"), "tpu"),
        (("--steps", "-1", "0", "0"), "0 or more steps"),
        (("--steps", "5"), "expected 3 arguments"),
        (("--mix", "1", "-1", "0", "0", "1"), "shares of pairs must be 0 or more"),
        (("--mix", "1", "1", "0", "0", "0"), "all pairs of this --mix are views into panoramas: name some"),
        (("--seed", "-1"), "the seed must be 0 or more"),
        (("--learning-rate", "0"), "learning rates more than 0"),
        (("--ssim-weight", "-1"), "the structural similarity must be 0 or more"),
        (("--finish", "1.1", "3"), "from 0 to 1, got 0.1, [3.0] and [1.1]"),
        (("--finish", "0.5", "0"), "that of backlit pairs more than 0 and"),
        (("--output", "model.bin"), "must end in .safetensors"),
        (("--output", "photos/a.png/model.pth"), "photos"),
        (("--panoramas", "photos"), "no .hdr, .exr, .exr.js in photos"),
        (("--panoramas", "nowhere"), "nowhere"),
    ],
)
@pytest.mark.usefixtures("photographs")
def test_wrong_words_are_refused_before_any_work(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(*_: object) -> None:
        raise AssertionError("it began to work")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rave_train.recipes.embedded.make_bank", work)
    assert said in refused(monkeypatch, capsys, "photos", "--output", "x.safetensors", *words)


def test_a_training_that_diverges_ends_with_its_reason_in_one_line(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverge(*_: object) -> None:
        raise TrainingError("the training diverged 5 times: use a lower --learning-rate")

    monkeypatch.setattr("rave_train.recipes.embedded.train", diverge)
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, photographs, "--output", tmp_path / "x.safetensors", *SHORT)
    assert stopped.value.code == 1
    assert capsys.readouterr().err.endswith(
        "error: the training diverged 5 times: use a lower --learning-rate\n"
    )


def test_without_photographs_there_is_nothing_to_learn_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    words = (tmp_path / "empty", "--output", tmp_path / "new" / "x.safetensors")
    assert "no .png or .jpg in" in refused(monkeypatch, capsys, *words)
    assert (tmp_path / "new").is_dir()
