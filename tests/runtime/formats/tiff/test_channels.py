"""Channels of a TIFF beyond its colours: transparency stays, others are left out and said."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

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
