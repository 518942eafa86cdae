"""What the web page saves: the data of a JPEG, and several photographs as a zip, against Pillow's reading."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, IptcImagePlugin

from rave_runtime import Enhancer
from rave_runtime.photos.jpeg import PHOTOSHOP_SEGMENT, XMP_SEGMENT, jpeg_segments, make_segment
from tests.export.web.chromium import Page, until_it_says
from tests.export.web.saving import CAPTION, EXIF_IFD, MAKER, ORIENTATION, resource, saved

THUMBNAIL_AT = 0x201
TAKEN, WIDTH, HEIGHT = 0x9003, 0xA002, 0xA003
GPS_IFD = 0x8825


def scene(width: int, height: int) -> Any:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 120, (6, 8, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def photograph(file: Path, xmp: bytes, orientation: int = 6) -> None:
    """A JPEG of 120 x 80 with EXIF and its thumbnail, XMP, a caption and a comment."""
    exif = Image.Exif()
    exif[MAKER], exif[ORIENTATION] = "Maker", orientation
    exif.get_ifd(EXIF_IFD).update({TAKEN: "2024:05:06 07:08:09", WIDTH: 120, HEIGHT: 80})
    exif.get_ifd(GPS_IFD).update({1: "N", 2: (48.0, 8.0, 0.0)})
    exif._ifds[1] = {THUMBNAIL_AT: 0, 0x103: 6}
    scene(120, 80).save(file, quality=95, exif=exif, comment=b"by hand")
    photoshop = PHOTOSHOP_SEGMENT + resource(1036, b"thumbnail") + resource(1028, CAPTION)
    segments = make_segment(0xE1, XMP_SEGMENT + xmp) + make_segment(0xED, photoshop)
    content = file.read_bytes()
    file.write_bytes(content[:2] + segments + content[2:])


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_keeps_its_data(page: Page, tmp_path: Path, orientation: int) -> None:
    xmp = b'<x:xmpmeta><r:D tiff:Orientation="6" dc:rights="\xc3\xa9"/></x:xmpmeta>'
    photograph(tmp_path / "photo.jpg", xmp, orientation)
    page.choose(tmp_path / "photo.jpg")
    page.wait_for("done")
    (content,) = saved(page)
    result = Image.open(io.BytesIO(content), formats=["JPEG"])
    assert result.size == ((80, 120) if orientation == 6 else (120, 80))
    exif = result.getexif()
    assert (exif[MAKER], exif[ORIENTATION]) == ("Maker", 1)
    inner = exif.get_ifd(EXIF_IFD)
    assert (inner[TAKEN], inner[WIDTH], inner[HEIGHT]) == ("2024:05:06 07:08:09", *result.size)
    assert exif.get_ifd(GPS_IFD)[2] == (48.0, 8.0, 0.0)
    assert not exif.get_ifd(1), "the thumbnail shows the photograph as it was"
    assert result.info["xmp"] == xmp.replace(b"6", b"1")
    assert result.info["comment"] == b"by hand"
    assert result.info["photoshop"].keys() == {1028}
    assert (IptcImagePlugin.getiptcinfo(result) or {})[2, 0x78] == b"bridg"
    upright = Image.open(tmp_path / "photo.jpg", formats=["JPEG"])
    turned = upright.transpose(Image.Transpose.ROTATE_270) if orientation == 6 else upright
    expected = Enhancer(device="cpu", precision="fp32").enhance(np.asarray(turned))
    assert np.abs(np.asarray(result).astype(int) - expected).mean() < 3


@pytest.mark.parametrize(
    ("xmp", "orientation"),
    [
        (b'<x hdrgm:Version="1.0"/>', 1),
        (b'<x GCamera:MotionPhoto="1"/>', 1),
        (b'<x mwg-rs:Regions="" tiff:Orientation="6"/>', 6),
    ],
)
def test_xmp_of_what_is_no_longer_there_is_left_out(
    page: Page, tmp_path: Path, xmp: bytes, orientation: int
) -> None:
    photograph(tmp_path / "photo.jpg", xmp, orientation)
    page.choose(tmp_path / "photo.jpg")
    page.wait_for("done")
    (content,) = saved(page)
    kinds = [payload[:4] for marker, payload in jpeg_segments(content) if marker == 0xE1]
    assert kinds == [b"Exif"]


def test_damaged_data_is_left_out(page: Page, tmp_path: Path) -> None:
    photograph(tmp_path / "photo.jpg", b"<x/>")
    content = (tmp_path / "photo.jpg").read_bytes()
    at = content.index(b"Exif\0\0") + 6
    (tmp_path / "photo.jpg").write_bytes(content[: at + 4] + b"\xff" * 4 + content[at + 8 :])
    page.choose(tmp_path / "photo.jpg")
    page.wait_for("done")
    (result,) = saved(page)
    assert [payload[:4] for marker, payload in jpeg_segments(result) if marker == 0xE1] == [b"http"]


def test_several_photographs_are_saved_as_a_zip(page: Page, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.png", "broken.jpg", "c.jpg", "a.jpg")]
    for file in files:
        scene(90, 60).save(file)
    files[1].write_bytes(b"\xff\xd8\xff no picture")
    page.choose(*files)
    page.wait_for("done")
    names = "[...document.querySelectorAll('#photographs button')].map((each) => each.textContent)"
    assert page.evaluate(names) == [file.name for file in files]
    page.evaluate("document.querySelectorAll('#photographs button')[2].click()")
    until_it_says(page, "c.jpg: 90 × 60")
    (content,) = saved(page, "save-all")
    until_it_says(page, "3 photographs are saved · broken.jpg is of no kind that this browser opens")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["a-enhanced.jpg", "c-enhanced.jpg", "a-enhanced 2.jpg"]
        assert archive.testzip() is None
        found = np.asarray(Image.open(archive.open("a-enhanced.jpg"), formats=["JPEG"]))
    expected = Enhancer(device="cpu", precision="fp32").enhance(np.asarray(scene(90, 60)))
    assert np.abs(found.astype(int) - expected).mean() < 3
    assert page.evaluate("document.getElementById('strength').disabled") is False
    page.choose(tmp_path / "c.jpg")
    page.wait_for("done")
    assert page.evaluate("document.getElementById('save-all').hidden") is True


def test_saving_all_can_be_stopped(page: Page, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for file in files:
        scene(90, 60).save(file)
    page.choose(*files)
    page.wait_for("done")
    page.evaluate(
        "{ const button = document.getElementById('save-all'); button.click();"
        " window.label = button.textContent; button.click(); null }"
    )
    until_it_says(page, "Stopped after 0 of 4, which were not saved")
    assert page.evaluate("label") == "Stop"
    assert page.evaluate("document.getElementById('save-all').disabled") is False
    assert len(zipfile.ZipFile(io.BytesIO(saved(page, "save-all")[0])).namelist()) == 4
