"""HEIC of 10 bits, as cameras write it, is read with all its bits and comes back with them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rave_runtime import Enhancer
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.reading import read_photo
from tests.runtime.cli.program import run_here

pillow_heif = pytest.importorskip("pillow_heif", reason="the extra `heif` is not installed")

DISPLAY_P3 = 12


def ramp(height: int = 64, width: int = 1024, channels: int = 3) -> NDArray[np.uint16]:
    """Every value of 10 bits, in the highest of 16 bits, as pillow-heif has them."""
    across = np.arange(width)[None, :, None] % 1024
    down = np.arange(height)[:, None, None]
    return np.asarray((across + down * np.arange(channels)) % 1024 << 6, np.uint16)


def heic(pixels: NDArray[np.uint16], quality: int = -1, **options: Any) -> bytes:
    """Without loss, unless another quality is given."""
    height, width, channels = pixels.shape
    file = io.BytesIO()
    picture = pillow_heif.from_bytes(
        "RGB;16" if channels == 3 else "RGBA;16", (width, height), pixels.tobytes()
    )
    if quality < 0:
        options |= {"chroma": "444", "matrix_coefficients": 0}
    picture.save(file, quality=quality, **options)
    return file.getvalue()


def scaled(stored: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Values of 10 bits in those of 16."""
    return np.asarray((stored >> 6) * (65535 / 1023))


def bits_of(content: bytes) -> int:
    with Image.open(io.BytesIO(content), formats=["HEIF"]) as image:
        return int(image.info["bit_depth"])


@pytest.mark.parametrize("channels", [3, 4])
def test_every_value_of_ten_bits_comes_back(channels: int) -> None:
    stored = ramp(channels=channels)
    photo = read_photo(heic(stored))
    assert photo.warnings == ()
    assert np.abs(photo.pixels - scaled(stored[..., :3])).max() <= 0.5
    assert (photo.alpha is None) == (channels == 3)
    encoded = encode_photo(photo, photo.pixels, "HEIF")
    assert encoded.warnings == ()
    assert bits_of(encoded.content) == 10
    np.testing.assert_array_equal(read_photo(encoded.content).pixels, photo.pixels)


def test_a_turned_one_stands_upright() -> None:
    stored = ramp(48, 96)
    exif = Image.Exif()
    exif[0x112], exif[0x10F] = 6, "Maker"
    photo = read_photo(heic(stored, exif=exif.tobytes()))
    upright = np.rot90(scaled(stored), -1)
    assert photo.pixels.shape == (96, 48, 3)
    assert np.abs(photo.pixels - upright).max() <= 0.5
    again = read_photo(encode_photo(photo, photo.pixels, "HEIF").content)
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    assert again.exif is not None
    assert b"Maker" in again.exif


@pytest.mark.parametrize("format", ["TIFF", "PNG"])
def test_other_formats_get_its_bits(format: str) -> None:
    if format == "PNG":
        pytest.importorskip("imagecodecs")
    photo = read_photo(heic(ramp()))
    pytest.importorskip("tifffile")
    np.testing.assert_array_equal(
        read_photo(encode_photo(photo, photo.pixels, format).content).pixels, photo.pixels
    )


def test_twelve_bits_are_read_and_become_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", True)
    stored = ramp() >> np.uint16(2)
    content = heic(stored)
    assert bits_of(content) == 12
    photo = read_photo(content)
    assert np.abs(photo.pixels - (stored >> 4) * (65535 / 4095)).max() <= 0.5
    monkeypatch.undo()
    encoded = encode_photo(photo, photo.pixels, "HEIF")
    assert encoded.warnings == (
        "HEIC has 10 bits per channel here: 12 were reduced, --format tiff keeps them",
    )
    assert bits_of(encoded.content) == 10


def test_large_ones_become_tiles_and_sampling_stays() -> None:
    photo = read_photo(heic(ramp(2200, 2200), 80, chroma="422"))
    content = encode_photo(photo, photo.pixels, "HEIF").content
    assert b"grid" in content[:4000]
    with Image.open(io.BytesIO(content), formats=["HEIF"]) as image:
        assert (image.size, image.info["bit_depth"], image.info["chroma"]) == ((2200, 2200), 10, 422)
    written = read_photo(content).pixels.astype(int)
    assert np.abs(written - photo.pixels).mean() < 0.02 * 65535


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    content = heic(ramp(256, 256), 90)
    (tmp_path / "broken.heic").write_bytes(content[: len(content) // 2])
    done = run_here(tmp_path / "broken.heic", tmp_path / "out")
    assert done.returncode == 1
    assert "is damaged or truncated" in done.stderr


def test_shade_is_lifted_in_ten_bits(tmp_path: Path) -> None:
    """The result is near that of eight bits, and has more values than eight bits know."""
    y, x = np.mgrid[0:240, 0:320]
    dark = np.where(y < 80, 900, 60 + 40 * x / 320 + 20 * np.sin(y / 9))
    stored = np.round(dark)[..., None].repeat(3, 2).astype(np.uint16) << np.uint16(6)
    (tmp_path / "dark.hif").write_bytes(heic(stored, color_primaries=DISPLAY_P3, transfer_characteristics=13))
    done = run_here(tmp_path / "dark.hif", tmp_path / "out", "--device", "cpu", "--quality", "100")
    assert done.returncode == 0, done.stderr
    content = (tmp_path / "out" / "dark.hif").read_bytes()
    assert bits_of(content) == 10
    lit = read_photo(content)
    assert lit.icc_profile is not None, "Display P3"
    eight = Enhancer(device="cpu").enhance((stored >> np.uint16(8)).astype(np.uint8)).astype(float)
    ground = lit.pixels[100:] / 257
    assert ground.mean() > 1.3 * (stored[100:] >> 8).mean()
    assert np.abs(ground - eight[100:]).mean() < 2
    assert len(np.unique(lit.pixels[100:, :, 1])) > 1.5 * len(np.unique(eight[100:, :, 1]))
