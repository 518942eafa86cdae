from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rave_runtime.photos.reading import load_rgb
from rave_train.data import photographs
from rave_train.data.photographs import find_photographs, hash_set, load_photograph, load_square
from rave_train.errors import DataError
from tests.runtime.colours.stated import ADOBE, P3
from tests.runtime.formats.raw.raws import make_dng


def save(file: Path, size: tuple[int, int] = (20, 18), level: int = 90) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 50, 200)).save(file)


def test_pictures_are_found_sorted_and_hashed(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "c.webp"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    found = find_photographs(tmp_path, "backlit")
    assert [p.file.name for p in found.photographs] == ["a.PNG", "b.jpg", "c.webp"]
    assert not found.skipped
    assert len({p.content_hash for p in found.photographs}) == 3
    assert hash_set(found.photographs) != hash_set(found.photographs[::-1])  # partners go by order
    assert hash_set(found.photographs) != hash_set(found.photographs[:2])


@pytest.mark.parametrize(
    ("layout", "role", "split", "expected"),
    [
        (("input", "gt"), "backlit", "train", "input"),
        (("resize_input", "resize_gt", "other"), "well-lit", "train", "resize_gt"),
        (("our485/low", "our485/high", "eval15/low", "eval15/high"), "backlit", "train", "our485/low"),
        (("our485/low", "our485/high", "eval15/low", "eval15/high"), "well-lit", "test", "eval15/high"),
        (("train/input", "train/gt", "test/input", "test/gt"), "backlit", "test", "test/input"),
        (("DIV2K_train_HR", "DIV2K_valid_HR"), "well-lit", "train", "DIV2K_train_HR"),
    ],
)
def test_known_layouts(tmp_path: Path, layout: tuple[str, ...], role, split, expected: str) -> None:  # type: ignore[no-untyped-def]
    for name in layout:
        save(tmp_path / name / "1.png")
        save(tmp_path / name / "2.png")
    assert find_photographs(tmp_path, role, split).folder == tmp_path / expected


def test_unusable_pictures_are_named_and_skipped(tmp_path: Path) -> None:
    save(tmp_path / "good.png")
    save(tmp_path / "also.png")
    save(tmp_path / "dot.png", (1, 1))
    (tmp_path / "text.jpg").write_text("I am no picture")
    whole = (tmp_path / "good.png").read_bytes()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(tmp_path / "sixteen.png")
    Image.fromarray(np.zeros((20, 20), np.float32)).save(tmp_path / "float.tif")
    assert whole
    found = find_photographs(tmp_path, "backlit")
    assert [p.file.name for p in found.photographs] == ["also.png", "good.png"]
    reasons = {file.name: reason for file, reason in found.skipped}
    assert set(reasons) == {"cut.png", "dot.png", "float.tif", "sixteen.png", "text.jpg"}
    assert reasons["dot.png"] == "1x1 px, at least 16 px each way are needed"
    assert "does not decode" in reasons["cut.png"]
    assert reasons["text.jpg"] == "is not a picture, or of a format that is not known here"
    assert "grey of more than 8 bits" in reasons["sixteen.png"]
    assert "convert it to 8 bits" in reasons["float.tif"]


def test_kinds_that_only_the_runtime_reads_are_named(tmp_path: Path) -> None:
    encode = pytest.importorskip("pylibjxl").encode
    pytest.importorskip("rawpy")
    save(tmp_path / "a.png")
    (tmp_path / "b.jxl").write_bytes(encode(np.zeros((40, 40, 3), np.uint8)))
    (tmp_path / "c.dng").write_bytes(make_dng(np.full((40, 40, 3), 0.2)))
    save(tmp_path / "d.png")
    found = find_photographs(tmp_path, "backlit")
    assert [reason for _, reason in found.skipped] == [
        "is a JPEG XL, which training does not read: convert it to JPEG or TIFF first",
        "is a camera raw file: develop it first, for example to an 8-bit TIFF",
    ]


def test_a_picture_that_fails_only_when_it_is_turned_is_skipped(tmp_path: Path) -> None:
    for name in ("a.webp", "b.webp"):
        save(tmp_path / name)
    Image.new("RGB", (20, 18)).save(tmp_path / "c.webp", exif=b"Exif\0\0not a TIFF header")
    found = find_photographs(tmp_path, "backlit")
    assert [p.file.name for p in found.photographs] == ["a.webp", "b.webp"]
    ((file, reason),) = found.skipped
    assert file.name == "c.webp"
    assert reason.startswith("does not decode (not a TIFF file")


def test_postscript_is_not_run_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands PostScript to Ghostscript, which is a program with a history."""
    ran: list[object] = []
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    monkeypatch.setattr("subprocess.check_call", lambda *arguments, **_: ran.append(arguments))
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n"
    for name in ("a.jpg", "b.png", "c.tif"):
        save(tmp_path / f"x{name}")
        (tmp_path / name).write_bytes(script)
    found = find_photographs(tmp_path, "backlit")
    assert [file.name for file, _ in found.skipped] == ["a.jpg", "b.png", "c.tif"]
    for load in (load_photograph, lambda file: load_square(file, 16)):
        with pytest.raises(DataError, match=r"a.jpg is not a picture, or of a format"):
            load(tmp_path / "a.jpg")
    assert ran == []


def test_what_lies_beside_the_pictures_is_named(tmp_path: Path) -> None:
    for name in ("a.png", "b.avif", "c.jp2", "more/d.png", "@eaDir/a.png"):
        save(tmp_path / name)
    for name in ("e.PSD", "f.tga", ".g.png"):
        (tmp_path / name).touch()
    found = find_photographs(tmp_path, "backlit")
    assert [p.file.name for p in found.photographs] == ["a.png", "b.avif", "c.jp2"]
    assert found.describe_skipped() == [
        f"2 pictures in {tmp_path} are of kinds that cannot be read (.psd, .tga): "
        "export as JPEG or TIFF first",
        f"1 folder inside {tmp_path} is not looked into: more",
    ]


def test_a_picture_that_claims_any_size_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / name)
    Image.new("1", (40_000, 9_000)).save(tmp_path / "huge.png")
    ((_, reason),) = find_photographs(tmp_path, "backlit").skipped
    assert reason == "40000x9000 px, over the limit of 300 megapixels"


def test_only_a_few_photographs_are_decoded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty-two threads on a large machine took 17 GB."""
    for index in range(12):
        save(tmp_path / f"{index}.png")
    running: list[int] = []
    peak: list[int] = []

    def slowly(image: Image.Image) -> Image.Image:
        running.append(1)
        peak.append(len(running))
        time.sleep(0.02)
        running.pop()
        return image

    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("rave_train.data.photographs._upright_rgb", slowly)
    find_photographs(tmp_path, "backlit")
    assert max(peak) <= 4


def test_folders_that_will_not_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder: a folder of well-lit photographs is needed"):
        find_photographs(tmp_path / "absent", "well-lit")
    with pytest.raises(DataError, match=r"holds no pictures, .* nor the backlit side of BAID") as caught:
        find_photographs(tmp_path, "backlit")
    assert ".jpg, .png" in str(caught.value)
    assert str(caught.value).count(", .") < 10, "usual endings, and none of what training does not read"
    assert not {".jxl", ".nef"} & set(str(caught.value).replace(",", "").split())
    save(tmp_path / "one.png")
    save(tmp_path / "dot.png", (1, 1))
    with pytest.raises(
        DataError, match=r"holds 1 usable backlit photograph, at least 2 are needed; dot.png: 1x1"
    ):
        find_photographs(tmp_path, "backlit")


def test_panoramas_without_their_option_are_told_of_it(tmp_path: Path) -> None:
    (tmp_path / "hall.hdr").write_bytes(b"#?RADIANCE")
    (tmp_path / "old.tga").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        find_photographs(tmp_path, "well-lit")
    assert "1 picture in" in str(caught.value)
    assert "(.hdr): rave-train synthesize takes views into panoramas with --panoramas" in str(caught.value)
    assert "(.tga): export as JPEG or TIFF first" in str(caught.value)


def test_pictures_are_loaded_upright_and_squashed_whole(tmp_path: Path) -> None:
    picture = np.zeros((30, 40, 3), np.uint8)
    picture[:, 20:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(picture).save(tmp_path / "upright.png")
    found = find_photographs(tmp_path, "backlit").photographs
    assert [photograph.size_px for photograph in found] == [(30, 40), (40, 30)]
    upright = load_photograph(tmp_path / "turned.jpg")
    assert upright.shape == (40, 30, 3)
    assert upright[5].mean() < 10 < 245 < upright[35].mean()
    square = load_square(tmp_path / "turned.jpg", 16)
    assert square.shape == (16, 16, 3)
    assert square[1].mean() < 10 < 245 < square[14].mean()


@pytest.mark.parametrize("profile", [P3, ADOBE])
def test_pictures_are_loaded_in_srgb_as_rave_run_shows_them(tmp_path: Path, profile: bytes) -> None:
    """Phones write Display P3, whose numbers were taken for sRGB's."""
    picture = np.full((24, 32, 3), (60, 160, 70), np.uint8)
    Image.fromarray(picture).save(tmp_path / "wide.png", icc_profile=profile)
    loaded = load_photograph(tmp_path / "wide.png")
    assert np.abs(loaded.astype(int) - picture).max() > 15
    np.testing.assert_array_equal(loaded, load_rgb(tmp_path / "wide.png"))
    np.testing.assert_array_equal(load_square(tmp_path / "wide.png", 16), loaded[:16, :16])


@pytest.mark.parametrize(("memory_mib", "threads"), [(None, 4), (8192, 4), (2048, 2), (1500, 0)])
def test_few_photographs_are_decoded_at_once_where_memory_or_threads_are_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_mib: int | None, threads: int
) -> None:
    """A container of 2 GB was ended by the system where four photographs of 50 megapixels came together."""
    asked = []

    def startable(count: int) -> int:
        asked.append(count)
        return count

    monkeypatch.setattr(photographs, "startable_threads", startable)
    monkeypatch.setattr(photographs, "allowed_memory_mib", lambda: memory_mib)
    for index in range(6):
        save(tmp_path / f"{index}.png", level=10 * index)
    assert len(find_photographs(tmp_path, "backlit").photographs) == 6
    assert max(asked) == max(threads, 1)


def test_a_photograph_is_checked_in_one_copy(tmp_path: Path) -> None:
    """Turned, copied and converted, one of 50 megapixels took 600 MB instead of 150."""
    image = Image.new("RGB", (3000, 2000), (9, 90, 200))
    image.save(tmp_path / "a.png", compress_level=1)
    code = f"""
import resource
from pathlib import Path
from rave_train.data.photographs import _check
from PIL import Image, PngImagePlugin
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert not isinstance(_check(Path({str(tmp_path / "a.png")!r})), str)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2 * 3000 * 2000 * 4
