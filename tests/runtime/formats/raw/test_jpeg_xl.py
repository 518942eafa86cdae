"""DNGs whose pixels are compressed as JPEG XL, as iPhones write ProRAW, are developed like any other."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rave_runtime.errors import PhotoError
from rave_runtime.photos.headers.dimensions import read_dimensions
from rave_runtime.photos.reading import read_photo
from tests.runtime.formats.raw.developed import make_scene, shown
from tests.runtime.formats.raw.raws import LONG, big_endian, change_entry, jpeg_xl_of, make_dng

pytest.importorskip("rawpy")
pytest.importorskip("imagecodecs")

SCENE = make_scene(96, 160)


@pytest.mark.parametrize("options", [{}, {"tile_px": 32}, {"tile_px": 32, "interleaved": True}])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("is_turned", [False, True])
def test_values_are_those_of_the_same_file_without_compression(
    options: dict[str, Any], linear: bool, is_turned: bool
) -> None:
    plain = make_dng(SCENE, linear=linear, orientation=6, preview=shown(SCENE, 1.5))
    packed = make_dng(SCENE, linear=linear, orientation=6, preview=shown(SCENE, 1.5), jpeg_xl=True, **options)
    expected, photo = read_photo(plain), read_photo(big_endian(packed) if is_turned else packed)
    assert photo.exif is not None
    assert np.array_equal(photo.pixels, expected.pixels)
    assert photo.warnings == expected.warnings


def test_values_of_eight_bits_stay_what_they_are() -> None:
    plain = read_photo(make_dng(SCENE, bits=8, linear=True)).pixels
    packed = make_dng(SCENE, bits=8, linear=True, jpeg_xl=True)
    values = np.clip(SCENE * np.array((0.6, 1.0, 0.5)) * 255 + 0.5, 0, 255).astype(np.uint8)
    strip = jpeg_xl_of(values)
    content = change_entry(packed + strip, 273, LONG, 1, struct.pack("<II", 1, len(packed)))
    content = change_entry(content, 279, LONG, 1, struct.pack("<II", 1, len(strip)))
    assert np.array_equal(read_photo(content).pixels, plain)


def test_dimensions_are_known_without_decoding(tmp_path: Path) -> None:
    (tmp_path / "a.dng").write_bytes(make_dng(SCENE, jpeg_xl=True))
    dimensions = read_dimensions(tmp_path / "a.dng")
    assert dimensions is not None
    assert (dimensions.format, dimensions.width, dimensions.height) == ("RAW", 160, 96)


def test_too_large_pictures_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(PhotoError, match="megapixels"):
        read_photo(make_dng(SCENE, jpeg_xl=True), max_megapixels=0.01)


@pytest.mark.parametrize("shape", [(64, 32), (16, 32), (32, 32, 3)])
def test_tiles_of_another_size_than_stated_are_damaged(shape: tuple[int, ...]) -> None:
    content = make_dng(SCENE, jpeg_xl=True, tile_px=32)
    at = content.index(struct.pack("<HHI", 324, LONG, 15)) + 8
    (places,) = struct.unpack_from("<I", content, at)
    (lengths,) = struct.unpack_from("<I", content, at + 12)
    tile = jpeg_xl_of(np.zeros(shape, np.uint16))
    other = bytearray(content + tile)
    struct.pack_into("<I", other, places + 4, len(content))
    struct.pack_into("<I", other, lengths + 4, len(tile))
    with pytest.raises(PhotoError, match=r"^is damaged: the tiles of its picture do not fit together$"):
        read_photo(bytes(other))


def test_a_damaged_tile_is_called_that() -> None:
    content = make_dng(SCENE, jpeg_xl=True)
    at = content.index(struct.pack("<HHI", 273, LONG, 1)) + 8
    (place,) = struct.unpack_from("<I", content, at)
    for new in (bytes(8), content[place : place + 8] + b"\xff" * 24):
        with pytest.raises(PhotoError, match=r"^is damaged"):
            read_photo(content[:place] + new + content[place + len(new) :])


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    content = make_dng(SCENE, jpeg_xl=True)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(PhotoError, match=r"^is a DNG that is compressed as JPEG XL: pip install .*\[jxl\]"):
        read_photo(content)
