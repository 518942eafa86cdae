from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rave_export.errors import ExportError
from rave_export.int8.calibration import with_darker
from rave_export.pictures import MAX_SIDE_PX, read_pictures


def test_pictures_that_eight_bits_cannot_hold_are_left_out(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 20), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ExportError, match=r"give --calibration others; .*a\.tif: "):
        read_pictures(tmp_path)
    Image.new("RGB", (20, 10)).save(tmp_path / "b.png")
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much")
    said: list[str] = []
    assert len(read_pictures(tmp_path, say=said.append)) == 1, "one that can be read is enough"
    assert [line.split(": ")[0] for line in said] == [f"skipped {tmp_path / n}" for n in ("a.tif", "c.jpg")]


def test_pictures_of_16_bits_keep_their_upper_ones(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 30), 0x7B41, np.uint16)).save(tmp_path / "a.png")
    (picture,) = read_pictures(tmp_path)
    assert picture.shape == (20, 30, 3)
    assert (picture == 0x7B).all()


def test_calibration_reads_a_folder(tmp_path: Path) -> None:
    for index in range(20):
        Image.fromarray(np.full((4, 6, 3), index, np.uint8)).save(tmp_path / f"{index:02}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    found = read_pictures(tmp_path, limit=4)
    assert [picture[0, 0, 0] for picture in found] == [0, 5, 10, 15]
    Image.new("L", (2000, 500), 9).save(tmp_path / "00.png")
    assert read_pictures(tmp_path, limit=4)[0].shape == (MAX_SIDE_PX * 500 // 2000, MAX_SIDE_PX, 3)


def test_calibration_knows_the_dark_as_well() -> None:
    pictures = [np.full((2, 3, 3), value, np.uint8) for value in (200, 100, 60, 40)]
    found = with_darker(pictures)
    assert [int(picture[0, 0, 0]) for picture in found] == [200, 100, 60, 40, 30, 30, 30, 6]
    assert all(picture.dtype == np.uint8 for picture in found)
    assert [int(picture[0, 0, 0]) for picture in with_darker(pictures, 3)] == [200, 100, 60, 40, 30, 12]


def test_calibration_says_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="is not a folder: give --calibration a folder of photographs"):
        read_pictures(tmp_path / "none")
    with pytest.raises(ExportError, match=r"such as \.jpg, \.png, .*: give --calibration"):
        read_pictures(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much")
    with pytest.raises(ExportError, match=r"that can be read: give --calibration others; .*broken.jpg: "):
        read_pictures(tmp_path)
    (tmp_path / "broken.jpg").unlink()
    Image.new("RGB", (5, 1)).save(tmp_path / "line.png")
    with pytest.raises(
        ExportError, match=r"line.png: it has 5 x 1 pixels, --calibration needs at least 2 x 2"
    ):
        read_pictures(tmp_path)
