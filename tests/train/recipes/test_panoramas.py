"""Panoramas: how they are read, and views into them."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rave_runtime.arrays import Array
from rave_train.recipes.bank import load_sources
from rave_train.recipes.panoramas import Direction, find_panoramas, load_panorama, panorama_name, view_into
from tests.train.recipes.conftest import make_panorama


def test_a_view_looks_where_it_is_told() -> None:
    height = 180
    rows, cols = np.mgrid[0:height, 0 : 2 * height].astype(np.float32)
    longitude = (cols + 0.5) / (2 * height) * 360 - 180
    latitude = 90 - (rows + 0.5) / height * 180
    panorama = np.stack([longitude, latitude, np.zeros_like(longitude)], -1)
    ahead = view_into(panorama, Direction(30, 10, 60), 21, 31)
    np.testing.assert_allclose(ahead[10, 15, :2], [30, 10], atol=0.6)
    level = view_into(panorama, Direction(0, 0, 90), 11, 91)
    # A rectilinear image shows the angle's tangent: at the edge of 90 degrees, 45 degrees.
    expected = np.rad2deg(np.arctan(np.linspace(-1, 1, 91) * 90 / 91))
    np.testing.assert_allclose(level[5, :, 0], expected, atol=0.6)
    up = view_into(panorama, Direction(0, 40, 60), 21, 21)
    assert up[0, 10, 1] > up[20, 10, 1] + 40
    rolled = view_into(panorama, Direction(0, 0, 60, roll_deg=90), 21, 21)
    assert abs(rolled[10, 20, 1]) > 20  # what was right of the camera lies above or below it


def test_a_view_across_the_seam_is_whole() -> None:
    panorama = make_panorama()
    turned = np.roll(panorama, 64, 1)
    np.testing.assert_allclose(
        view_into(turned, Direction(180, 0, 70), 32, 48),
        view_into(panorama, Direction(0, 0, 70), 32, 48),
        atol=1e-3,
    )


def write_panorama(file: Path, pixels: Array) -> Path:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    file.parent.mkdir(exist_ok=True)
    OpenEXR.File(header, {"RGB": pixels}).write(str(file))
    return file


def test_panoramas_are_read_and_checked(tmp_path: Path) -> None:
    pixels = make_panorama(16)
    pixels[0, 0] = -1
    np.testing.assert_allclose(
        load_panorama(write_panorama(tmp_path / "a.exr", pixels)), np.maximum(pixels, 0)
    )
    with pytest.raises(ValueError, match="16x16: an equirectangular panorama is twice as wide"):
        load_panorama(write_panorama(tmp_path / "b.exr", pixels[:, :16].copy()))
    pixels[..., 0] *= 2
    cv2.imwrite(str(tmp_path / "c.hdr"), np.maximum(pixels, 0)[..., ::-1])
    # Radiance files share one exponent among the three colours of a pixel.
    np.testing.assert_allclose(load_panorama(tmp_path / "c.hdr"), np.maximum(pixels, 0), rtol=0.05, atol=2e-3)
    (tmp_path / "d.hdr").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"d\.hdr cannot be read as a Radiance picture"):
        load_panorama(tmp_path / "d.hdr")


def test_damaged_panoramas_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """OpenCV printed its own error beside ours, and OpenEXR's was a traceback."""
    whole = write_panorama(tmp_path / "whole.exr", make_panorama(16)).read_bytes()
    cv2.imwrite(str(tmp_path / "whole.hdr"), make_panorama(64))
    for name, content in (
        ("cut.hdr", (tmp_path / "whole.hdr").read_bytes()[:3000]),
        ("cut.exr", whole[: len(whole) // 2]),
        ("empty.exr", b""),
        ("cut.exr.js", b"export default 'data:application/exr;base64,AAAA'"),
        ("odd.exr.js", b"\xff\xfe"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="copy or download it again") as caught:
            load_panorama(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name} ")
    assert "OpenCV" not in "".join(capfd.readouterr())


def test_panoramas_with_dots_and_capitals_in_their_names_are_all_found(tmp_path: Path) -> None:
    """Of several names that were equal up to their first dot, one was taken; endings in capitals were not."""
    for name in ("2024.05.01.exr", "2024.05.02.exr", "HALL.EXR"):
        write_panorama(tmp_path / "hdri" / name, make_panorama(64))
    found = find_panoramas([tmp_path / "hdri"])
    assert list(found) == ["hdri/2024.05.01", "hdri/2024.05.02", "hdri/HALL"]
    assert load_panorama(found["hdri/HALL"]).shape == (64, 128, 3)
    assert panorama_name(Path("city.exr.js")) == "city"
    assert panorama_name(Path("city.exr.d.ts")) == ""


def test_panoramas_of_folders_and_modules(tmp_path: Path) -> None:
    """What no camera took is left out, and what is for measuring."""
    pixels = make_panorama(64)
    file = write_panorama(tmp_path / "hdri" / "one.exr", pixels)
    encoded = base64.b64encode(file.read_bytes()).decode()
    module = f"export default 'data:application/exr;base64,{encoded}'"
    (tmp_path / "hdri" / "two.exr.js").write_text(module)
    (tmp_path / "hdri" / "two.exr.d.ts").write_text("")
    write_panorama(tmp_path / "world" / "sky.exr", pixels)
    write_panorama(tmp_path / "world" / "city.exr", pixels)
    folders = [tmp_path / "hdri", tmp_path / "world"]
    found = find_panoramas(folders)
    assert list(found) == ["hdri/one", "hdri/two", "world/city", "world/sky"]
    np.testing.assert_array_equal(load_panorama(found["hdri/one"]), load_panorama(found["hdri/two"]))
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    loaded = load_sources([tmp_path / "p.png"], folders)
    assert len(loaded.panoramas) == 2
    assert len(loaded.photographs) == 1
