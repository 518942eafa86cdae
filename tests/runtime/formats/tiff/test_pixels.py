"""Pixels of TIFFs: strips, tiles and planes, JPEG inside, and compressions that cannot be written."""

from __future__ import annotations

import io
import struct
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image, features
from PIL.JpegImagePlugin import JpegImageFile

from rave_runtime.errors import PhotoError
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.tiff import strips as tiff_strips
from rave_runtime.photos.tiff import structure as tiff_module
from rave_runtime.photos.tiff.structure import write_tiff
from tests.runtime.formats.tiff.tagged import pixels_of, tags_of
from tests.runtime.handmade import scene, tiff
from tests.runtime.zoo.animal import save


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("quality", "subsampling"), [(40, 2), (75, 1), (95, 0)])
def test_jpeg_inside_tiff_keeps_its_tables_and_subsampling(
    quality: int, subsampling: int, channels: int
) -> None:
    jpeg = Image.open(io.BytesIO(save(scene(), "JPEG", quality=quality)))
    assert isinstance(jpeg, JpegImageFile)
    tables = jpeg.quantization
    options = {"compression": "jpeg", "qtables": list(tables.values()), "subsampling": subsampling}
    content = write_tiff(pixels_of(channels, np.uint8), options)
    photo = read_photo(content)
    assert photo.pixels.shape == (40, 56, channels)
    assert photo.save_options["qtables"] == list(tables.values())[:channels]
    assert channels == 1 or photo.save_options["subsampling"] == subsampling
    again = encode_photo(photo, photo.pixels, "TIFF").content
    assert abs(len(again) - len(content)) < 40
    assert read_photo(again).save_options == photo.save_options
    with Image.open(io.BytesIO(content)) as image:
        shown = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    assert np.abs(shown.astype(int) - photo.pixels.squeeze()).max() == 0


def test_a_tiff_over_four_gigabytes_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_module, "_MAX_BYTES", 5000)
    with pytest.raises(PhotoError, match="which holds 4 GB at most: --format png can hold it"):
        encode_photo(Photo(scene(), "TIFF", save_options={"compression": "raw"}), scene(), "TIFF")


def test_writing_colour_of_16_bits_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    deep = scene(dtype=np.uint16)
    assert features.check("libtiff")
    content = encode_photo(Photo(deep, "PNG"), deep, "TIFF").content
    assert tags_of(content)["0x0102"] == (3, 3, struct.pack("<3H", 16, 16, 16))


def test_tiles_planes_and_fax_become_strips_that_hold_the_same_picture() -> None:
    pixels = pixels_of(3, np.uint8)
    padded = np.pad(pixels, ((0, 24), (0, 8), (0, 0)))
    tiles = [padded[y : y + 32, x : x + 32].tobytes() for y in (0, 32) for x in (0, 32)]
    base = {256: (4, 56), 257: (4, 40), 258: (3, [8, 8, 8]), 259: (3, 1), 262: (3, 2), 277: (3, 3)}
    content = tiff(base | {322: (4, 32), 323: (4, 32)}, tiles, tiled=True)
    photo = read_photo(content)
    again = encode_photo(photo, photo.pixels, "TIFF").content
    assert not {"0x0142", "0x0143", "0x0144", "0x0145"} & set(tags_of(again))
    np.testing.assert_array_equal(read_photo(again).pixels, pixels)


def test_a_compression_that_cannot_be_written_becomes_deflate_with_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fax = save(Image.fromarray(scene(channels=1)).convert("1"), "TIFF", compression="group4")
    photo = read_photo(fax)
    encoded = encode_photo(photo, photo.pixels, "TIFF")
    note = "its compression (group4) was replaced by Deflate, which loses nothing"
    assert encoded.warnings == (note,)
    np.testing.assert_array_equal(read_photo(encoded.content).pixels, photo.pixels)
    monkeypatch.setattr(tiff_strips, "can_compress", lambda name: name != "zstd")
    without = Photo(scene(), "TIFF", save_options={"compression": "zstd"})
    encoded = encode_photo(without, scene(), "TIFF")
    assert encoded.warnings == (note.replace("group4", "zstd"),)
    assert tags_of(encoded.content)["0x0103"] == (3, 1, struct.pack("<H", 8))


@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate", "packbits"])
@pytest.mark.parametrize(("channels", "extra"), [(2, [2]), (4, [2]), (4, [1]), (4, [0]), (5, [2, 0])])
def test_channels_that_lie_apart_are_not_mixed_up(
    channels: int, extra: list[int], compression: str | None
) -> None:
    """Pillow gives grey with transparency in planes wrong pixels, and refuses others."""
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    colours = channels - len(extra)
    pixels = np.random.default_rng(1).integers(0, 256, (24, 32, channels), np.uint8)
    pixels[..., colours] |= 128
    if extra == [0] and compression is None:
        pytest.skip("Pillow does not open it, which is said")
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        np.moveaxis(pixels, -1, 0),
        photometric="minisblack" if colours == 1 else "rgb",
        planarconfig="separate",
        extrasamples=extra,
        compression=compression,
        metadata=None,
    )
    photo = read_photo(file.getvalue())
    expected = pixels[..., :colours].astype(np.float64)
    if extra[0] == 1:
        expected = np.minimum(255, expected * 255 / pixels[..., colours : colours + 1])
    assert np.abs(photo.pixels - expected).max() <= 1
    if extra[0]:
        assert photo.alpha is not None
        assert np.array_equal(photo.alpha, pixels[..., colours])
    else:
        assert photo.alpha is None


@pytest.mark.parametrize("scale", [1, 257])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_colours_of_a_palette_may_be_8_bits(order: str, scale: int) -> None:
    """Old programs wrote them so; the whole picture became black."""
    colours = np.arange(3 * 256, dtype=np.uint8) * 7
    indices = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32)
    tags: dict[int, tuple[int, Any]] = {256: (4, 32), 257: (4, 24), 258: (3, 8), 259: (3, 1), 262: (3, 3)}
    tags |= {277: (3, 1), 278: (4, 24), 320: (3, (colours.astype(int) * scale).tolist())}
    pixels = read_photo(tiff(tags, [indices.tobytes()], order)).pixels
    np.testing.assert_array_equal(pixels, colours.reshape(3, 256).T[indices])


@pytest.mark.parametrize("sampling", [(2, 1), (2, 2), None])
def test_colours_for_several_pixels_without_compression_are_called_that(
    sampling: tuple[int, int] | None,
) -> None:
    """A whole file was called damaged."""
    tags: dict[int, tuple[int, Any]] = {256: (4, 32), 257: (4, 24), 258: (3, [8] * 3), 259: (3, 1)}
    tags |= {262: (3, 6), 277: (3, 3), 278: (4, 24)} | ({} if sampling is None else {530: (3, sampling)})
    samples_per_px = 2 if sampling == (2, 1) else 1.5
    with pytest.raises(PhotoError, match="is a TIFF of YCbCr with fewer colours than pixels"):
        read_photo(tiff(tags, [bytes(int(24 * 32 * samples_per_px))]))
