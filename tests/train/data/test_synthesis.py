from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from rave_train.data.photographs import find_photographs, load_photograph
from rave_train.data.synthesis import (
    SynthesisRange,
    guided_filter,
    linear_to_srgb,
    shade_mask,
    srgb_to_linear,
    synthesize_backlit,
)
from rave_train.data.synthesize_folder import synthesize_folder
from rave_train.errors import DataError

CLEAN = SynthesisRange(
    glare=(0, 0), read_noise=(0, 0), shot_noise=(0, 0), jpeg_quality=(95, 95), untouched=0.0
)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """A bright sky over darker ground with texture, [60, 80, 3]."""
    rng = np.random.default_rng(0)
    image = np.full((60, 80, 3), 0.35, np.float32)
    image[:25] = 0.9
    image += 0.05 * ndimage.gaussian_filter(rng.standard_normal(image.shape), (1, 1, 0))
    return image.clip(0, 1).astype(np.float32)


def test_srgb_round_trip_and_known_points() -> None:
    levels = np.linspace(0, 1, 256, dtype=np.float32)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(levels)), levels, atol=1e-6)
    assert srgb_to_linear(np.array([0.5], np.float32))[0] == pytest.approx(0.21404, abs=1e-5)


def test_the_same_seed_gives_the_same_picture(photograph: np.ndarray) -> None:
    first, second, other = (synthesize_backlit(photograph, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    assert first.dtype == np.float32
    assert first.shape == photograph.shape
    assert 0 <= first.min() <= first.max() <= 1


def test_the_sky_stays_brighter_than_the_ground_is_dark(photograph: np.ndarray) -> None:
    scene = dataclasses.replace(
        CLEAN, foreground_stops=(-3, -3), background_stops=(0, 0), coverage=(0.55, 0.55), field_weight=(0, 0)
    )
    made = synthesize_backlit(photograph, np.random.default_rng(0), scene)
    before, after = srgb_to_linear(photograph), srgb_to_linear(made)
    stops = np.log2((after + 1e-4) / (before + 1e-4)).mean(-1)
    assert stops[5:15].mean() > -0.5
    assert -4 < stops[40:].mean() < -2


def test_the_mask_follows_edges(photograph: np.ndarray) -> None:
    scene = dataclasses.replace(SynthesisRange(), field_weight=(0, 0), coverage=(0.58, 0.58))
    mask = shade_mask(photograph, np.random.default_rng(0), scene)
    assert mask.shape == (60, 80)
    assert mask.dtype == np.float32
    assert mask[:20].mean() < 0.3
    assert mask[30:].mean() > 0.7


def test_noise_grows_in_the_shade(photograph: np.ndarray) -> None:
    dark = dataclasses.replace(
        CLEAN,
        foreground_stops=(-4, -4),
        background_stops=(-4, -4),
        shot_noise=(6e-4, 6e-4),
        jpeg_quality=(96, 96),
    )
    flat = np.full((64, 64, 3), 0.5, np.float32)
    relative = []
    for scene in (dataclasses.replace(dark, foreground_stops=(0, 0), background_stops=(0, 0)), dark):
        made = srgb_to_linear(synthesize_backlit(flat, np.random.default_rng(0), scene))
        relative.append(made.std() / made.mean())
    assert relative[1] > 2 * relative[0]


def test_a_guided_filter_keeps_an_edge_that_blurring_loses() -> None:
    guide = np.zeros((20, 40), np.float32)
    guide[:, 20:] = 1
    noisy = guide + 0.1 * np.random.default_rng(0).standard_normal(guide.shape).astype(np.float32)
    smooth = guided_filter(noisy, guide, 4, 1e-4)
    blurred = ndimage.uniform_filter(noisy, 9)
    assert abs(smooth[:, 21].mean() - smooth[:, 18].mean()) > 0.9
    assert abs(blurred[:, 21].mean() - blurred[:, 18].mean()) < 0.5
    assert smooth[:, :15].std() < 0.5 * noisy[:, :15].std()


def test_a_folder_becomes_pairs_with_a_contact_sheet(scenes: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "pairs"
    assert synthesize_folder(scenes[1], out, longest_side_px=24, versions=2, seed=5).pairs == 12
    made = find_photographs(out / "input", "backlit").photographs
    assert [p.file.name for p in made[:2]] == ["scene0_v0.png", "scene0_v1.png"]
    assert load_photograph(out / "gt" / "scene0_v0.png").shape == (18, 24, 3)
    assert load_photograph(out / "contact_sheet.png").shape[1] > 2 * 24
    again = tmp_path / "again"
    synthesize_folder(scenes[1], again, longest_side_px=24, versions=2, seed=5)
    assert [p.content_hash for p in find_photographs(again / "input", "backlit").photographs] == [
        p.content_hash for p in made
    ]
    with pytest.raises(DataError, match="is not empty: give another folder"):
        synthesize_folder(scenes[1], out)


def test_a_full_disk_is_told_by_the_name_of_the_picture_and_leaves_no_half_of_it(
    scenes: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fill_the_disk)
    with pytest.raises(OSError, match=r"scene0.png cannot be written: No space .* is the disk full"):
        synthesize_folder(scenes[1], tmp_path / "out")
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))


def test_names_that_would_clash_and_odd_options_are_refused_before_anything_is_made(
    scenes: tuple[Path, Path], tmp_path: Path
) -> None:
    first = sorted(scenes[1].iterdir())[0]
    twin = first.with_suffix(".bmp")
    Image.open(first).save(twin)
    with pytest.raises(DataError, match=f"{twin.name} and {first.name} would both be written as one pair"):
        synthesize_folder(scenes[1], tmp_path / "out")
    twin.unlink()
    with pytest.raises(DataError, match="size is 0 px, at least"):
        synthesize_folder(scenes[1], tmp_path / "out", longest_side_px=0)
    with pytest.raises(DataError, match="seed is -1"):
        synthesize_folder(scenes[1], tmp_path / "out", seed=-1)
    assert not (tmp_path / "out").exists()
    (scenes[1] / "broken.jpg").write_text("no picture")
    made = synthesize_folder(scenes[1], tmp_path / "out")
    assert [line.split(": ")[0] for line in made.left_out] == [f"skipped {scenes[1] / 'broken.jpg'}"]
