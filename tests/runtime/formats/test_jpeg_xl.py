"""JPEG XL, in and out: pixels, depth, transparency, colours and metadata, checked by libjxl's programs."""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.arrays import Pixels
from rave_runtime.cli.command import run_folder
from rave_runtime.errors import PhotoError
from rave_runtime.photos.codecs.jpeg_xl import distance_of, encode_jxl
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.headers.colour_codes import PRIMARIES, SRGB, SRGB_CURVE, make_profile
from rave_runtime.photos.headers.dimensions import read_dimensions
from rave_runtime.photos.headers.jpeg_xl import JxlHeader, missing_bytes, read_jxl_header
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo
from rave_runtime.run.memory import estimate_need
from rave_runtime.run.options import RunOptions
from tests.runtime.pictures import MakePicture, make_pixels

pytest.importorskip("pylibjxl")
imagecodecs = pytest.importorskip("imagecodecs")

P3 = make_profile("Display P3", PRIMARIES[12], SRGB_CURVE)
GREY = make_profile("Grey", SRGB, SRGB_CURVE, grey=True)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
OPTIONS = RunOptions(device="cpu", precision="fp32", working_size=32)


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[271], exif[274] = "Testcam", orientation
    exif.get_ifd(34665)[36867] = "2024:05:06 07:08:09"
    exif.get_ifd(34853)[1] = "N"
    return exif.tobytes()


def make_photo(channels: int, dtype: type = np.uint8, icc: bytes | None = None) -> Photo:
    pixels = make_pixels(channels, dtype)
    colours = 1 if channels < 3 else 3
    return Photo(
        pixels=np.ascontiguousarray(pixels[..., :colours]),
        alpha=np.ascontiguousarray(pixels[..., colours]) if channels > colours else None,
        format="PNG",
        icc_profile=icc,
        exif=exif_block(),
        xmp=XMP,
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_depth_transparency_and_metadata_go_out_and_in(channels: int, dtype: type) -> None:
    photo = make_photo(channels, dtype)
    encoded = encode_photo(photo, photo.pixels, "JXL", quality=100)
    back = read_photo(encoded.content)
    assert not encoded.warnings
    assert (back.format, str(back.pixels.dtype)) == ("JXL", dtype.__name__)
    np.testing.assert_array_equal(np.broadcast_to(photo.pixels, back.pixels.shape), back.pixels)
    assert (back.alpha is None) == (photo.alpha is None)
    if photo.alpha is not None:
        np.testing.assert_array_equal(back.alpha, photo.alpha)
    assert back.xmp == XMP
    assert back.exif == exif_block()


@pytest.mark.parametrize(("channels", "icc"), [(3, P3), (4, P3), (1, GREY)], ids=["P3", "P3 alpha", "grey"])
def test_profiles_are_kept_and_bits_give_way_to_them(channels: int, icc: bytes) -> None:
    photo = make_photo(channels, np.uint8, icc)
    encoded = encode_photo(photo, photo.pixels, "JXL", quality=100)
    back = read_photo(encoded.content)
    assert back.icc_profile == icc
    np.testing.assert_array_equal(back.pixels, photo.pixels)
    deep = make_photo(channels, np.uint16, icc)
    encoded = encode_photo(deep, deep.pixels, "JXL", quality=100)
    (warning,) = encoded.warnings
    assert (
        warning
        == "JXL has 8 bits per channel here outside of sRGB: 16 were reduced, --format tiff keeps them"
    )
    back = read_photo(encoded.content)
    assert (back.pixels.dtype, back.icc_profile) == (np.dtype(np.uint8), icc)


def test_quality_is_that_of_jpeg_s_scale_and_what_was_lossless_stays_so() -> None:
    assert [distance_of(quality) for quality in (100, 90, 30)] == [0, pytest.approx(1.0), pytest.approx(6.4)]
    assert distance_of(10) > distance_of(29) > 6.4
    photo = make_photo(3)
    lossy = encode_photo(photo, photo.pixels, "JXL").content
    assert not read_jxl_header(lossy).is_lossless
    lossless = encode_photo(photo, photo.pixels, "JXL", quality=100).content
    assert read_jxl_header(lossless).is_lossless
    again = read_photo(lossless)
    assert encode_photo(again, again.pixels, "JXL").content == lossless
    assert not read_jxl_header(encode_photo(again, again.pixels, "JXL", quality=80).content).is_lossless


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_other_depths_are_read_on_the_scale_of_16_bits(bits: int) -> None:
    values = make_pixels(3, np.uint16).astype(np.uint32) * (2**bits - 1) // 65535
    content = imagecodecs.jpegxl_encode(values.astype(np.uint16), lossless=True, bitspersample=bits)
    back = read_photo(content).pixels
    np.testing.assert_allclose(back / 65535, values / (2**bits - 1), atol=1e-5)
    assert read_jxl_header(content).bits == bits


@pytest.mark.parametrize(
    "pixels", [make_pixels(channels, dtype) for channels in (1, 3, 4) for dtype in (np.uint8, np.uint16)]
)
def test_headers_are_read_without_a_decoder(pixels: Pixels, tmp_path: Path) -> None:
    for quality in (90, 100):
        content = encode_jxl(pixels, quality, None, None, None)
        header = read_jxl_header(content)
        assert (header.width, header.height) == (56, 40)
        assert header.bits == (8 if pixels.dtype == np.uint8 else 16)
        assert header.extra_channels == ((0,) if pixels.shape[2] == 4 else ())
        assert header.is_lossless == (quality == 100)
        dimensions = read_dimensions(content)
        assert dimensions is not None
        assert (dimensions.format, dimensions.width, dimensions.height) == ("JXL", 56, 40)
        assert dimensions.is_deep == (pixels.dtype == np.uint16)
        assert estimate_need(content).photo_bytes >= 56 * 40 * 26


@pytest.mark.parametrize(
    "size", [(8, 8), (64, 64), (256, 40), (300, 200), (640, 480), (1200, 1000), (1, 700)]
)
def test_sizes_of_every_way_of_writing_them(size: tuple[int, int]) -> None:
    width, height = size
    content = imagecodecs.jpegxl_encode(np.zeros((height, width), np.uint8))
    header = read_jxl_header(content)
    assert (header.width, header.height) == size


@pytest.mark.skipif(shutil.which("cjxl") is None, reason="needs cjxl (Debian: libjxl-tools)")
@pytest.mark.parametrize("settings", [["-j", "0"], ["-j", "1"], ["-j", "0", "-d", "0"]], ids=" ".join)
def test_files_of_cjxl_turned_by_their_codestream_are_upright(
    settings: list[str], picture: MakePicture, tmp_path: Path
) -> None:
    Image.fromarray(picture(40, 64)).save(tmp_path / "a.jpg", exif=exif_block(6), xmp=XMP, quality=95)
    command = ["cjxl", str(tmp_path / "a.jpg"), str(tmp_path / "a.jxl"), *settings]
    subprocess.run(command, check=True, capture_output=True)
    photo, jpeg = read_photo(tmp_path / "a.jxl"), read_photo(tmp_path / "a.jpg")
    assert photo.pixels.shape == (64, 40, 3)
    assert np.abs(photo.pixels.astype(int) - jpeg.pixels).mean() < 2
    assert photo.orientation == 6
    if photo.exif is not None:
        tree = Image.Exif()
        tree.load(photo.exif)
        assert (tree[271], tree[274]) == ("Testcam", 1)
    assert not photo.save_options["lossless"] or settings[-1] == "0"


@pytest.mark.skipif(shutil.which("djxl") is None, reason="needs djxl (Debian: libjxl-tools)")
@pytest.mark.parametrize(("dtype", "icc"), [(np.uint8, P3), (np.uint8, None), (np.uint16, None)])
def test_djxl_reads_the_same_pixels_and_colours(dtype: type, icc: bytes | None, tmp_path: Path) -> None:
    photo = make_photo(3, dtype, icc)
    (tmp_path / "a.jxl").write_bytes(encode_photo(photo, photo.pixels, "JXL", quality=100).content)
    subprocess.run(["djxl", tmp_path / "a.jxl", tmp_path / "a.png"], check=True, capture_output=True)
    theirs = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(theirs.pixels, photo.pixels)
    if icc is not None:
        assert theirs.icc_profile == icc


def test_a_folder_is_enhanced_into_jpeg_xl_and_again_out_of_it(tmp_path: Path, picture: MakePicture) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(picture(48, 64)).save(tmp_path / "in" / "a.jpg", exif=exif_block(), icc_profile=P3)
    options = RunOptions(device="cpu", precision="fp32", working_size=32, format="jxl")
    (result,) = run_folder(tmp_path / "in", tmp_path / "out", options)
    assert (result.status, result.error, result.warnings) == ("done", None, ())
    (back,) = run_folder(tmp_path / "out", tmp_path / "back", OPTIONS)
    assert (back.status, back.job.target.name) == ("copied", "a.jxl")  # it says that it was enhanced
    options = RunOptions(device="cpu", precision="fp32", working_size=32, again=True)
    (again,) = run_folder(tmp_path / "out", tmp_path / "again", options)
    assert (again.status, again.job.target.name) == ("done", "a.jxl")
    photo = read_photo(tmp_path / "again" / "a.jxl")
    assert photo.icc_profile == P3
    assert photo.exif is not None


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
def test_exiftool_reads_the_same_words_before_and_after(tmp_path: Path) -> None:
    photo = make_photo(3, icc=P3)
    for name in ("TIFF", "JXL"):
        (tmp_path / name).write_bytes(encode_photo(photo, photo.pixels, name).content)
    before, after = _tags(tmp_path / "TIFF"), _tags(tmp_path / "JXL")
    wanted: dict[str, object] = {"IFD0:Make": "Testcam", "ExifIFD:DateTimeOriginal": "2024:05:06 07:08:09"}
    wanted |= {"XMP-xmp:Rating": 4, "GPS:GPSLatitudeRef": "N"}
    assert {tag: before.get(tag) for tag in wanted} == wanted
    assert {tag: after.get(tag) for tag in wanted} == wanted


def _tags(file: Path) -> dict[str, Any]:
    done = subprocess.run(["exiftool", "-j", "-G1", "-n", file], capture_output=True, check=True)
    (tags,) = json.loads(done.stdout)
    return dict(tags)


def test_truncated_and_damaged_files_fail_in_one_line() -> None:
    photo = make_photo(3)
    content = encode_photo(photo, photo.pixels, "JXL").content
    assert missing_bytes(content) == 0
    for stop in range(2, len(content), max(1, len(content) // 50)):
        with pytest.raises(PhotoError) as caught:
            read_photo(content[:stop])
        assert "\n" not in str(caught.value)
    draw = random.Random(1)
    for _ in range(100):
        damaged = bytearray(content)
        damaged[draw.randrange(12, len(content))] = draw.randrange(256)
        assert "\n" not in outcome_of(bytes(damaged))


def test_packed_metadata_is_read_unless_it_unpacks_beyond_measure() -> None:
    content = encode_jxl(np.zeros((40, 56, 3), np.uint8), 100, None, None, None)

    def with_box(payload: bytes) -> bytes:
        packed: bytes = b"xml " + imagecodecs.brotli_encode(payload)
        return content + struct.pack(">I4s", 8 + len(packed), b"brob") + packed

    assert read_photo(with_box(XMP)).xmp == XMP
    bomb = with_box(bytes(100_000_000))
    assert len(bomb) < 10_000
    photo = read_photo(bomb)
    assert (photo.xmp, photo.pixels.shape) == (None, (40, 56, 3))


def outcome_of(content: bytes) -> str:
    try:
        return str(read_photo(content, max_megapixels=1).pixels.shape)
    except PhotoError as error:
        return str(error)


def test_what_has_no_agreed_range_or_is_too_large_is_refused() -> None:
    floating = imagecodecs.jpegxl_encode(make_pixels(3).astype(np.float32) / 255)
    with pytest.raises(PhotoError, match="holds floating point values"):
        read_photo(floating)
    large = encode_jxl(np.zeros((40, 56, 3), np.uint8), 90, None, None, None)
    with pytest.raises(PhotoError, match=r"is 56 x 40, over the limit of 0.001 megapixels"):
        read_photo(large, max_megapixels=0.001)


def test_without_the_extra_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = make_photo(3)
    content = encode_photo(photo, photo.pixels, "JXL").content
    monkeypatch.setitem(sys.modules, "pylibjxl", None)
    with pytest.raises(PhotoError, match=r"is JPEG XL: pip install 'rave-backlit\[jxl\]' to read it"):
        read_photo(content)
    with pytest.raises(PhotoError, match=r"cannot be written as JPEG XL: pip install 'rave-backlit\[jxl\]'"):
        encode_photo(photo, photo.pixels, "JXL")


def test_animations_give_their_first_frame(picture: MakePicture) -> None:
    frames: NDArray[np.uint8] = np.stack([picture(16, 16), picture(16, 16, 1)])
    content = imagecodecs.jpegxl_encode(frames, lossless=True)
    photo = read_photo(content)
    np.testing.assert_array_equal(photo.pixels, frames[0])
    assert "only the first of its frames or pages was taken" in photo.warnings
    assert read_jxl_header(content).is_animated


def test_a_bare_codestream_is_read() -> None:
    coded = imagecodecs.jpegxl_encode(make_pixels(3), lossless=True, usecontainer=False)
    content = coded if coded.startswith(b"\xff\x0a") else coded[coded.index(b"jxlc") + 4 :]
    assert content.startswith(b"\xff\x0a")
    np.testing.assert_array_equal(read_photo(content).pixels, make_pixels(3))
    assert isinstance(read_jxl_header(content), JxlHeader)
    with pytest.raises(EOFError):
        read_jxl_header(io.BytesIO(content).read(3))


def test_a_film_behind_it_is_named() -> None:
    content = encode_jxl(np.full((40, 56, 3), 90, np.uint8), 90, None, None, None)
    film = b"\0\0\0\x18ftypisom\0\0\0\0mp42isom" + b"\0\0\0\x10moov" + bytes(8)
    assert read_photo(content).warnings == ()
    assert read_photo(content + bytes(40) + film).warnings == ("its film (motion photo) was left behind",)
    with pytest.raises(PhotoError):  # libjxl takes its boxes for the picture's own
        read_photo(content + film)
