"""Quality over pairs, on pictures whose quality is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from benchmarks.suites.quality import PairsError, find_pairs, measure_quality, psnr_db, structural_similarity


def write(folder: Path, name: str, height: int = 24, width: int = 32, shift: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    picture = np.random.default_rng(0).integers(0, 200, (height, width, 3), dtype=np.uint8) + shift
    PIL.Image.fromarray(picture.astype(np.uint8)).save(folder / name)


def test_pairs_are_those_of_one_stem_evenly_picked(tmp_path: Path) -> None:
    for name in "abcdef":
        write(tmp_path / "in", f"{name}.png")
        write(tmp_path / "out", f"{name}.png")
    write(tmp_path / "in", "alone.png")
    (tmp_path / "in" / "notes.txt").write_text("")
    pairs = find_pairs(tmp_path / "in", tmp_path / "out")
    assert [p.photograph.stem for p in pairs] == list("abcdef")
    assert [p.truth.stem for p in find_pairs(tmp_path / "in", tmp_path / "out", 3)] == ["a", "c", "e"]


def test_no_pairs_or_unequal_ones_are_errors(tmp_path: Path) -> None:
    write(tmp_path / "in", "a.png")
    write(tmp_path / "out", "b.png")
    with pytest.raises(PairsError, match="has a partner of the same name"):
        find_pairs(tmp_path / "in", tmp_path / "out")
    with pytest.raises(PairsError, match="no pairs to measure"):
        measure_quality(lambda p: p, [])
    write(tmp_path / "out", "a.png", 24, 33)
    with pytest.raises(PairsError, match=r"a.png is 32x24, its truth .* is 33x24"):
        measure_quality(lambda p: p, find_pairs(tmp_path / "in", tmp_path / "out"))


def test_a_known_shift_has_its_known_quality(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "in", f"{name}.png")
        write(tmp_path / "out", f"{name}.png", shift=10)
    pairs = find_pairs(tmp_path / "in", tmp_path / "out")
    found = measure_quality(lambda p: p, pairs, lambda a, b: float(b.mean()) - float(a.mean()))
    assert found["psnr_db"] == pytest.approx(10 * np.log10(255**2 / 100))
    assert found["lpips"] == pytest.approx(10)
    assert 0.9 < found["ssim"] < 1
    assert found["pairs"] == 2
    healed = measure_quality(lambda p: p + np.uint8(10), pairs)
    assert (healed["psnr_db"], healed["ssim"], healed["lpips"]) == (100.0, 1.0, None)


def test_worse_pictures_measure_worse() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(60, 200, (32, 32, 3), dtype=np.uint8)
    noisy = [
        np.clip(truth + generator.normal(0, sigma, truth.shape), 0, 255).astype(np.uint8) for sigma in (5, 20)
    ]
    assert psnr_db(noisy[0], truth) > psnr_db(noisy[1], truth)
    assert structural_similarity(noisy[0], truth) > structural_similarity(noisy[1], truth)
