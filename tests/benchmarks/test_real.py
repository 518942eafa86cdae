"""Real scenes by exposure, and what becomes of pictures without a truth, where the figures are known."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.contestants.ours import light_at
from benchmarks.records import report
from benchmarks.records.results import read_result
from benchmarks.studies import backlit_score, before_after, panorama_scenes
from benchmarks.suites.quality import PairsError
from benchmarks.suites.real_scenes import (
    STOPS_BELOW_MIDDLE,
    find_low_key,
    find_scenes,
    linear_luminance,
    measure_lift,
    measure_mean_changes,
    measure_scenes,
    measure_unchanged,
    select_part,
)
from rave_runtime import Enhancer
from rave_runtime.arrays import Picture
from rave_runtime.bundle import embedded_bundle
from rave_runtime.photos.reading import load_rgb


def make_picture(seed: int, height: int = 60, width: int = 80) -> Picture:
    rng = np.random.default_rng(seed)
    small = rng.integers(20, 200, (height // 10, width // 10, 3), dtype=np.uint8)
    return np.asarray(PIL.Image.fromarray(small).resize((width, height), PIL.Image.Resampling.BICUBIC))


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    folder = tmp_path / "real"
    folder.mkdir()
    for seed, name in enumerate("abc"):
        truth = make_picture(seed)
        PIL.Image.fromarray(truth).save(folder / f"{name}.png")
        for i, stops in enumerate(STOPS_BELOW_MIDDLE):
            dark = (truth * 0.8**stops).astype(np.uint8)
            PIL.Image.fromarray(dark).save(folder / f"{name}-{i}.jpg", quality=95)
    return folder


def test_scenes_are_found_and_split_by_name(scenes: Path) -> None:
    found = find_scenes(scenes)
    assert [scene.name for scene in found] == ["a", "b", "c"]
    assert [file.name for file in found[1].photographs] == ["b-0.jpg", "b-1.jpg", "b-2.jpg", "b-3.jpg"]
    assert [scene.name for scene in select_part(found, "steering")] == ["a", "b"]
    assert [scene.name for scene in select_part(found, "aside")] == ["c"]
    assert select_part(found, "all") == found
    with pytest.raises(ValueError, match="one of all, steering and aside is needed"):
        select_part(found, "half")


def test_a_scene_that_lacks_an_exposure_is_named(scenes: Path, tmp_path: Path) -> None:
    (scenes / "b-2.jpg").unlink()
    with pytest.raises(PairsError, match=r"the truth b\.png but not b-2\.jpg"):
        find_scenes(scenes)
    with pytest.raises(PairsError, match="has no scenes"):
        find_scenes(tmp_path)


def test_darker_exposures_are_farther_from_the_truth(scenes: Path) -> None:
    records = measure_scenes(lambda picture: picture, find_scenes(scenes))
    decibels = [record["psnr_db"] for record in records]
    assert [record.get("stops_below") for record in records] == [*STOPS_BELOW_MIDDLE, None]
    assert decibels[0] < decibels[1] < decibels[2] < decibels[3]
    assert decibels[4] == pytest.approx(np.mean(decibels[:4]))
    assert records[4]["ssim"] == pytest.approx(np.mean([record["ssim"] for record in records[:4]]))


def test_what_stays_and_what_changes_is_told(tmp_path: Path) -> None:
    files = []
    for seed, share in enumerate((1.0, 0.3, 0.6)):
        files.append(tmp_path / f"{seed}.png")
        PIL.Image.fromarray((make_picture(seed) * share).astype(np.uint8)).save(files[-1])
    assert measure_unchanged(lambda picture: picture, files) == 60
    assert measure_unchanged(lambda picture: picture + np.uint8(10), files) == pytest.approx(28.13, abs=0.01)
    assert [file.stem for file in find_low_key(files)] == ["1", "2", "0"]
    assert set(measure_mean_changes(lambda picture: picture, files).values()) == {0}
    lighter = measure_mean_changes(lambda picture: np.minimum(picture * 1.2, 255).astype(np.uint8), files)
    assert all(0.3 < change < 0.7 for change in lighter.values())


def test_a_lift_is_told_in_stops() -> None:
    picture = np.full((10, 10, 3), 100, np.uint8)
    picture[:4], picture[8:] = 20, 250
    result = picture.copy()
    result[:4] = 40
    result[9:] = 255
    lift = measure_lift(picture, result)
    levels = linear_luminance(np.array([[[20] * 3, [40] * 3]], np.uint8))[0]
    assert lift.dark_ev == pytest.approx(np.log2(levels[1] / levels[0]), abs=0.01)
    assert 0 < lift.bright_ev < 0.1
    assert lift.clipped_points == pytest.approx(10)
    assert linear_luminance(np.full((1, 1, 3), 255, np.uint8))[0, 0] == pytest.approx(1)


def test_a_checkpoint_is_measured_in_the_runtimes_way() -> None:
    picture = make_picture(4, 120, 160)
    ours = Enhancer(precision="fp32", device="cpu", working_size=64, threads=1).enhance(picture)
    torch_way = light_at(embedded_bundle() / "checkpoint.safetensors", 64)(picture)
    assert np.abs(ours.astype(int) - torch_way).max() <= 1


def test_the_command_writes_every_table(scenes: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    lit = tmp_path / "lit"
    lit.mkdir()
    PIL.Image.fromarray(make_picture(9)).save(lit / "x.png")
    checkpoint = str(embedded_bundle() / "checkpoint.safetensors")
    words = ["quality-real", str(scenes), "--well-lit", str(lit), "--backlit", str(lit)]
    words += ["--model", str(tiny_bundle), "--checkpoint", checkpoint, "--output", str(tmp_path / "out")]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    assert "| The photograph as it is |" in run.output
    assert "strength 2" in run.output
    result = read_result(tmp_path / "out" / "quality-real-cpu.json")
    methods = {row["method"] for row in result.rows}
    assert methods == {"input", "gamma-0.6", "lime-0.5", "checkpoint", "ours", "rounding"}
    assert sum("stops_below" in row for row in result.rows) == 5 * 5
    assert str(tmp_path) not in result.command
    real = report._real_block(result)
    assert "quality-real-cpu.json" in real
    assert real.index("| Gamma 0.6 |") < real.index("## Backlit and low-key photographs")
    assert "| The photograph as it is | +0.00 / +0.00 / +0.0 | +0.00, at most +0.00 |" in real
    assert "dB or more from float32 on " in real


@pytest.mark.parametrize(
    ("stopped_in", "kept"),
    [("measure_rounding", ["ours"]), ("load_enhancer", ["input", "ours", "rounding"])],
)
def test_a_run_that_is_stopped_keeps_what_was_measured(
    scenes: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stopped_in: str,
    kept: list[str],
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"benchmarks.suites.real_quality.{stopped_in}", stop)
    words = ["quality-real", str(scenes), "--backlit", str(scenes), "--model", str(tiny_bundle)]
    run = CliRunner().invoke(app, [*words, "--output", str(tmp_path / "out")])
    assert run.exit_code != 0
    result = read_result(tmp_path / "out" / "quality-real-cpu.json")
    assert list(dict.fromkeys(row["method"] for row in result.rows)) == kept
    assert len((tmp_path / "out" / "quality-real-cpu.csv").read_text().splitlines()) == len(result.rows) + 1
    assert report._real_block(result).count("| rave-backlit, light at 48 px, int8 |") == 2
    assert sorted(file.suffix for file in (tmp_path / "out").iterdir()) == [".csv", ".json"]


def test_the_command_says_what_is_wrong(scenes: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["quality-real", str(tmp_path), "--output", str(tmp_path)])
    assert run.exit_code == 1
    assert "has no scenes" in run.output
    run = CliRunner().invoke(app, ["quality-real", str(scenes), "--part", "most", "--output", str(tmp_path)])
    assert run.exit_code == 1
    assert "one of all, steering and aside" in run.output


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--model", "is not a bundle"),
        ("--precision", "the bundle has no .* graphs"),
        ("--checkpoint", "wrong is not a bundle"),
        ("--well-lit", "has no pictures"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_measured(
    scenes: Path, tmp_path: Path, option: str, reason: str
) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    run = CliRunner().invoke(
        app, ["quality-real", str(scenes), option, str(wrong), "--output", str(tmp_path)]
    )
    assert run.exit_code == 1, run.exception
    assert re.search(reason, run.output), run.output
    assert "gamma" not in run.output


def test_a_panorama_becomes_scenes_and_a_sheet(tiny_bundle: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    room = rng.uniform(0.02, 0.05, (64, 128, 3)).astype(np.float32)
    room[20:34, 40:60] = 3
    file = tmp_path / "room.hdr"
    cv2.imwrite(str(file), room[..., ::-1])
    folder = tmp_path / "scenes"
    panorama_scenes.main([str(file), "--output", str(folder), "--views", "6", "--long-side", "60"])
    scenes = find_scenes(folder)
    assert scenes
    assert all(scene.name.startswith("room_") for scene in scenes)
    means = [load_rgb(scenes[0].photographs[i]).mean() for i in range(4)]
    assert means == sorted(means)
    sheet = tmp_path / "docs" / "sheet.png"
    words = [str(folder), "--names", scenes[0].name, "--model", str(tiny_bundle), "--output", str(sheet)]
    before_after.main(words)
    drawn = load_rgb(sheet)
    assert drawn.shape == (8 + 40 + 18 + 8, 3 * 68 + 8, 3)
    np.testing.assert_array_equal(drawn[26:66, 8:68], load_rgb(scenes[0].photographs[1]))
    np.testing.assert_array_equal(drawn[26:66, 144:204], load_rgb(scenes[0].truth))
    with pytest.raises(SystemExit):
        before_after.main([str(folder), "--names", "other", "--output", str(sheet)])


def test_the_shares_that_count_as_backlit_fall_with_the_score(scenes: Path, tmp_path: Path) -> None:
    bright = tmp_path / "bright"
    bright.mkdir()
    PIL.Image.fromarray(255 - make_picture(9) // 4).save(bright / "a.png")
    output = tmp_path / "found.json"
    backlit_score.main(["--real", str(scenes), "--well-lit", str(bright), "--output", str(output)])
    findings = json.loads(output.read_text())
    assert set(findings["percent_taken"]["bright"].values()) == {0.0}
    assert findings["pictures"]["real, 2 stops below the middle"] == 3
    for shares in findings["percent_taken"].values():
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
    dark, truth = (
        findings["median_score"][f"real, {which}"] for which in ("2 stops below the middle", "fused brackets")
    )
    assert dark > truth
