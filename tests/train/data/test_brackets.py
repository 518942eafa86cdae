from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rave_train.cli import app
from rave_train.data.bracket_pairs import STOPS_BELOW, make_pairs_of_brackets, merge_bracket
from rave_train.data.brackets import Shot, find_brackets, read_shot
from rave_train.data.pairs import match_pairs
from rave_train.data.photographs import find_photographs, load_photograph
from rave_train.data.synthesis import linear_to_srgb
from rave_train.errors import DataError

SIZE = (192, 128)


def light_of_a_scene(seed: int) -> np.ndarray:
    """A textured room with a window a hundred times as bright, linear, 1 where the middle shot clips."""
    rng = np.random.default_rng(seed)
    texture = cv2.resize(rng.random((32, 48, 3)).astype(np.float32), SIZE, interpolation=cv2.INTER_CUBIC)
    light = 0.04 + 0.12 * texture.clip(0, 1)
    light[20:80, 60:130] *= 40
    return light


def shoot(
    folder: Path, name: str, light: np.ndarray, stops: float, second: int, shift: tuple[int, int] = (0, 0),
    **exif: object,
) -> None:  # fmt: skip
    """Writes a photograph at some stops from 1/60 s, with EXIF that says so."""
    folder.mkdir(parents=True, exist_ok=True)
    exposed = np.roll(light, shift, (0, 1)) * 2.0**stops
    values = np.rint(linear_to_srgb(np.minimum(exposed, 1).astype(np.float32)) * 255).astype(np.uint8)
    tags = Image.Exif()
    tags[271], tags[272], tags[274] = "Maker", "Model", exif.get("orientation", 1)
    inside = tags.get_ifd(0x8769)
    inside[33434] = exif.get("seconds", 2.0**stops / 60)
    inside[33437], inside[34855] = 8.0, exif.get("iso", 100)
    inside[36867] = exif.get("taken", f"2024:05:01 12:{second // 60:02}:{second % 60:02}")
    inside[37521] = str(exif.get("subsecond", "00"))
    if not exif.get("bare"):
        Image.fromarray(values).save(folder / name, exif=tags, quality=98, subsampling=0)
    else:
        Image.fromarray(values).save(folder / name, quality=98)


def names(folder: Path) -> tuple[list[list[str]], str]:
    search = find_brackets(find_photographs(folder, "backlit").photographs)
    groups = [[shot.photograph.file.name for shot in bracket] for bracket in search.brackets]
    return groups, "\n".join(search.left_out)


def test_shots_are_grouped_by_what_their_exif_says(tmp_path: Path) -> None:
    light = light_of_a_scene(0)
    for i, stops in enumerate((0, -2, 2)):  # as cameras order them
        shoot(tmp_path, f"a{i}.jpg", light, stops, 10 + i)
    for i, stops in enumerate((0, -2, 2)):  # the next bracket right after: an exposure comes again
        shoot(tmp_path, f"b{i}.jpg", light, stops, 13 + i)
    shoot(tmp_path, "c.jpg", light, 0, 200)
    for i, part in enumerate((-0.3, 0.3)):
        shoot(tmp_path, f"d{i}.jpg", light, part, 300 + i)
    shoot(tmp_path, "e0.jpg", light, -2, 400)
    shoot(tmp_path, "e1.jpg", light, 2, 420)  # twenty seconds later
    shoot(tmp_path, "f.jpg", light, 0, 500, bare=True)
    for i, iso in enumerate((100, 1600)):  # bracketed by sensitivity
        shoot(tmp_path, f"g{i}.jpg", light, 0, 600 + i, iso=iso)
    groups, left_out = names(tmp_path)
    assert groups == [
        ["a1.jpg", "a0.jpg", "a2.jpg"], ["b1.jpg", "b0.jpg", "b2.jpg"], ["g0.jpg", "g1.jpg"]
    ]  # fmt: skip
    for line in (
        "c.jpg: a single shot", "d0.jpg and 1 more: 0.6 stops apart, 2 are needed", "e0.jpg: a single shot",
        "f.jpg: its EXIF has no exposure time",
    ):  # fmt: skip
        assert line in left_out


def test_a_superscript_in_the_time_is_not_a_digit(tmp_path: Path) -> None:
    """Python counts it as one, and then makes no number of it."""
    shoot(tmp_path, "odd.jpg", light_of_a_scene(0), 0, 0, subsecond="abc")
    file = tmp_path / "odd.jpg"
    file.write_bytes(file.read_bytes().replace(b"abc\0", "²²²\0".encode("latin-1")))
    (shot,) = find_photographs(tmp_path, "backlit", least=1).photographs
    found = read_shot(shot)
    assert isinstance(found, Shot)
    assert found.taken_at.microsecond == 0


def test_an_impossible_exposure_or_time_leaves_out_its_photograph_only(tmp_path: Path) -> None:
    light = light_of_a_scene(0)
    shoot(tmp_path, "a.jpg", light, 0, 0, seconds=2**32 - 1)  # all later shots would lie within it
    shoot(tmp_path, "b.jpg", light, 0, 0, taken="9999:12:31 23:59:59", seconds=60)  # ends after the last year
    shoot(tmp_path, "c0.jpg", light, -2, 10)
    shoot(tmp_path, "c1.jpg", light, 2, 11)
    groups, left_out = names(tmp_path)
    assert groups == [["c0.jpg", "c1.jpg"]]
    for name in ("a.jpg", "b.jpg"):
        assert f"{name}: its EXIF has an impossible exposure or time of capture" in left_out


def test_a_bracket_becomes_the_light_of_its_scene(tmp_path: Path) -> None:
    """Shifted by a few pixels, as a tripod in the wind, and still right to the digit."""
    light = light_of_a_scene(1)
    for i, (stops, shift) in enumerate(((-3, (0, 0)), (0, (2, -3)), (3, (-1, 2)))):
        shoot(tmp_path, f"s{i}.jpg", light, stops, 10 + i, shift)
    (bracket,) = find_brackets(find_photographs(tmp_path, "backlit").photographs).brackets
    scene = merge_bracket(bracket, 1000)
    assert scene.span_stops == pytest.approx(6, abs=0.01)
    height, width = scene.light.shape[:2]
    assert SIZE[0] - 8 <= width < SIZE[0]
    assert SIZE[1] - 6 <= height < SIZE[1]

    errors = [
        np.abs(np.log2(scene.light / light[y : y + height, x : x + width])).mean()
        for y in range(SIZE[1] - height + 1)
        for x in range(SIZE[0] - width + 1)
    ]

    assert min(errors) < 0.06, "stops"
    assert scene.render(0).max() == pytest.approx(1, abs=1e-6)
    window = slice(25, 70), slice(70, 115)
    assert scene.render(0)[window].std() == pytest.approx(0, abs=1e-3), "burnt in the middle exposure"
    assert scene.fuse()[window].std() > 0.02, "and not in the truth"


def test_a_folder_of_brackets_becomes_pairs(tmp_path: Path) -> None:
    for number in range(2):
        for i, stops in enumerate((0, -2.5, 2.5)):
            shoot(tmp_path / "in", f"IMG_{number}{i}.jpg", light_of_a_scene(number), stops, 100 * number + i)
    shoot(tmp_path / "in", "single.jpg", light_of_a_scene(3), 0, 900)
    result = CliRunner().invoke(app, ["brackets", str(tmp_path / "in"), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert f"{2 * len(STOPS_BELOW)} pairs in" in result.output
    assert "single.jpg: a single shot" in result.output
    sides = [
        find_photographs(tmp_path / "out" / side, role).photographs  # type: ignore[arg-type]
        for side, role in (("input", "backlit"), ("gt", "well-lit"))
    ]
    pairing = match_pairs(*sides)
    assert len(pairing.pairs) == 2 * len(STOPS_BELOW)
    assert not pairing.backlit_alone
    means = [load_photograph(pair[0].file).mean() for pair in pairing.pairs[: len(STOPS_BELOW)]]
    assert means == sorted(means, reverse=True)
    assert (tmp_path / "out" / "contact_sheet.png").is_file()
    with pytest.raises(DataError, match="is not empty: give another folder"):
        make_pairs_of_brackets(tmp_path / "in", tmp_path / "out")


def test_an_archive_is_looked_through_folder_by_folder(tmp_path: Path) -> None:
    """Of one time and camera, yet in two folders: two brackets, whose pairs keep apart names."""
    archive = tmp_path / "archive"
    for folder in (archive, archive / "day_1", archive / "day" / "1"):
        for i, stops in enumerate((0, -2.5, 2.5)):
            shoot(folder, f"IMG_{i}.jpg", light_of_a_scene(1), stops, 100 + i)
    for second in range(5):
        shoot(archive / "day_1", f"single{second}.jpg", light_of_a_scene(3), 0, 900 + 9 * second)
    shoot(archive / ".trash", "IMG_0.jpg", light_of_a_scene(1), 0, 100)
    (archive / "day" / "round").symlink_to(archive)
    result = make_pairs_of_brackets(archive, tmp_path / "out", 64)
    assert result.pairs == 3 * len(STOPS_BELOW)
    written = {file.name for file in (tmp_path / "out" / "input").iterdir()}
    assert written == {
        f"{name}_e{index}.png"
        for name in ("IMG_0", "day_1_IMG_0", "day_1_IMG_0-2")
        for index in range(len(STOPS_BELOW))
    }
    assert result.left_out == (f"day_1{os.sep}single0.jpg, single1.jpg and 3 more, each: a single shot",)


def test_shots_of_two_kinds_of_files_do_not_replace_each_other(tmp_path: Path) -> None:
    for ending, second in ((".jpg", 100), (".JPEG", 200)):
        for i, stops in enumerate((0, -2.5, 2.5)):
            shoot(tmp_path / "in", f"IMG_{i}{ending}", light_of_a_scene(second), stops, second + i)
    assert make_pairs_of_brackets(tmp_path / "in", tmp_path / "out", 64).pairs == 2 * len(STOPS_BELOW)
    assert len(list((tmp_path / "out" / "gt").iterdir())) == 2 * len(STOPS_BELOW)


def test_an_archive_without_photographs_says_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "in" / "day1").mkdir(parents=True)
    with pytest.raises(
        DataError, match=r"in with the folders in it holds no usable photographs.*\.jpg, \.png"
    ):
        make_pairs_of_brackets(tmp_path / "in", tmp_path / "out")


def test_shots_that_do_not_belong_together_are_left_out_by_name(tmp_path: Path) -> None:
    for i, stops in enumerate((-2, 0, 2)):
        shoot(tmp_path / "moved", f"m{i}.jpg", light_of_a_scene(i), stops, 10 + i)
        shoot(tmp_path / "far", f"f{i}.jpg", light_of_a_scene(9), stops, 10 + i, (0, 30 * i))
    with pytest.raises(
        DataError, match=r"no exposure bracket that can be used .*m1.jpg and 2 more: its shots"
    ):
        make_pairs_of_brackets(tmp_path / "moved", tmp_path / "out")
    with pytest.raises(DataError, match=r"f1.jpg and 2 more: its shots (are shifted too far|do not show)"):
        make_pairs_of_brackets(tmp_path / "far", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bracket_of_mixed_orientation_is_left_out_and_stops_nothing(tmp_path: Path) -> None:
    """A camera that points down may call one shot upright and the next one lying."""
    for i, stops in enumerate((-2, 0, 2)):
        shoot(
            tmp_path / "in" / "down",
            f"d{i}.jpg",
            light_of_a_scene(0),
            stops,
            10 + i,
            orientation=1 + 5 * (i % 2),
        )
        shoot(tmp_path / "in" / "good", f"g{i}.jpg", light_of_a_scene(1), stops, 10 + i)
    made = make_pairs_of_brackets(tmp_path / "in", tmp_path / "out")
    assert made.pairs == len(STOPS_BELOW)
    (line,) = made.left_out
    assert "d1.jpg and 2 more: some of its shots are upright and others lie" in line


def test_a_missing_folder_of_brackets_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none is not a folder: a folder of exposure brackets is needed"):
        make_pairs_of_brackets(tmp_path / "none", tmp_path / "out")


def test_panoramas_become_pairs_of_views(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(2):
        light = cv2.resize(rng.random((8, 16, 3)).astype(np.float32), (512, 256)) * 0.1 + 0.02
        light[40:110, 100:220] += 6
        light[60:120, 330:420] += 4
        (tmp_path / "panoramas").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "panoramas" / f"hall{number}.hdr"), light)
    (tmp_path / "panoramas" / "flat.hdr").write_bytes(b"#?RADIANCE\nnothing")
    command = ["synthesize", str(tmp_path / "panoramas"), "--panoramas", "--versions", "2", "--size", "96"]
    for out in ("one", "two"):
        result = CliRunner().invoke(app, [*command, str(tmp_path / out)])
        assert result.exit_code == 0, result.output
        assert "4 pairs in" in result.output
        assert "flat.hdr cannot be read" in result.output
        assert result.output.count("flat.hdr") == 1
    names = sorted(file.name for file in (tmp_path / "one" / "input").iterdir())
    assert names == ["hall0_v0.png", "hall0_v1.png", "hall1_v0.png", "hall1_v1.png"]
    for name in names:
        sides = [load_photograph(tmp_path / "one" / side / name) for side in ("input", "gt")]
        assert max(sides[0].shape) == 96
        assert sides[0].mean() < sides[1].mean()
        again = load_photograph(tmp_path / "two" / "input" / name)
        assert np.array_equal(sides[0], again)
    refused = CliRunner().invoke(app, ["synthesize", str(tmp_path / "one" / "gt"), "x", "--panoramas"])
    assert refused.exit_code == 2
    assert "holds no panoramas (.hdr, .exr" in refused.output
