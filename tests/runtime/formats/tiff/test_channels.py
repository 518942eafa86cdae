"""Channels of a TIFF beyond its colours: transparency stays, others are left out and said."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import TiffImagePlugin

from rave_runtime.photos.decoders import decoding
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.headers.dimensions import read_dimensions
from rave_runtime.photos.reading import read_photo

tifffile = pytest.importorskip("tifffile")

INFRARED = "its further channel of no stated meaning, such as a scanner's infrared, was left out"


@pytest.mark.parametrize(
    ("dtype", "planar", "extra"),  # what Pillow opens at all
    [
        *product((np.uint8, np.uint16), ("contig",), ((0,), (2,))),
        *product((np.uint16,), ("separate",), ((0,), (2,), (0, 0))),
        *product((np.uint8,), ("contig",), ((0, 0), (2, 0))),
    ],
)
def test_a_channel_of_no_stated_meaning_is_no_transparency(
    tmp_path: Path, dtype: type, planar: str, extra: tuple[int, ...]
) -> None:
    pixels = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (12, 16, 3 + len(extra)), dtype)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0).copy()
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, extrasamples=extra, metadata=None
    )
    photo = read_photo(tmp_path / "a.tif")
    np.testing.assert_array_equal(photo.pixels, pixels[..., :3])
    if 2 in extra:
        assert photo.alpha is not None
        np.testing.assert_array_equal(photo.alpha, pixels[..., 3])
    else:
        assert photo.alpha is None
    unknown = extra.count(0)
    assert (INFRARED in photo.warnings) == (unknown == 1)
    assert any("2 further channels" in note for note in photo.warnings) == (unknown == 2)


def test_grey_with_a_further_channel_says_so(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (12, 16, 2), np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig", extrasamples=(0,)
    )
    photo = read_photo(tmp_path / "a.tif")
    np.testing.assert_array_equal(photo.pixels[..., 0], pixels[..., 0])
    assert INFRARED in photo.warnings


@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    ("photometric", "dtype"), [("minisblack", np.uint16), ("miniswhite", np.uint16), ("miniswhite", np.uint8)]
)
def test_grey_beside_another_channel_stays_grey(
    tmp_path: Path, photometric: str, dtype: type, byteorder: str, planar: str, extra: int
) -> None:
    """Pillow does not open it; it was called damaged, and told to be saved as what it is."""
    if photometric == "miniswhite" and extra == 1:
        pytest.skip("what is multiplied by transparency where white is 0, no two programs agree on")
    top = np.iinfo(dtype).max
    pixels = np.random.default_rng(1).integers(0, top, (12, 16, 2), dtype)
    if extra == 1:
        pixels[..., 0] = np.minimum(pixels[..., 0], pixels[..., 1])
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0).copy()
    options = {"planarconfig": planar, "extrasamples": (extra,), "byteorder": byteorder, "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric, **options)
    photo = read_photo(tmp_path / "a.tif")
    grey = top - pixels[..., 0] if photometric == "miniswhite" else pixels[..., 0]
    assert photo.pixels.shape == (12, 16, 1)
    if extra != 1:
        np.testing.assert_array_equal(photo.pixels[..., 0], grey)
    assert photo.warnings == ((INFRARED,) if extra == 0 else ())
    assert (photo.alpha is not None) == (extra != 0)
    encoded = encode_photo(photo, photo.pixels, "TIFF")
    again = read_photo(encoded.content)
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    if photo.alpha is not None:
        np.testing.assert_array_equal(photo.alpha, pixels[..., 1])
        np.testing.assert_array_equal(again.alpha, photo.alpha)
    dimensions = read_dimensions(tmp_path / "a.tif")
    assert dimensions is not None
    assert (dimensions.width, dimensions.height, dimensions.is_deep) == (16, 12, dtype is np.uint16)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_deep_grey_with_white_as_zero_is_read(
    tmp_path: Path, byteorder: str, compression: str | None
) -> None:
    pixels = np.random.default_rng(1).integers(0, 65535, (12, 16), np.uint16)
    options = {"byteorder": byteorder, "compression": compression, "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite", **options)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").pixels[..., 0], 65535 - pixels)


def test_other_programs_in_the_process_see_pillow_as_it_was() -> None:
    before = set(TiffImagePlugin.OPEN_INFO)
    with decoding:
        assert set(TiffImagePlugin.OPEN_INFO) > before
    assert set(TiffImagePlugin.OPEN_INFO) == before
