"""PNG with EXIF, XMP and IPTC as texts of hexadecimal digits, which ImageMagick writes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.exif import orientation_of
from rave_runtime.photos.headers.stated_colour import profile_of_numbers
from rave_runtime.photos.png import chunks, png_blocks, raw_profile
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import exif, inner_exif, png, png_chunk
from tests.runtime.zoo.animal import HAS_DEEP, HAS_HEIF, HAS_JXL, RGB, turned

NOTE = b"maker note" * 9
BLOCK = exif({0x0112: (3, 6)}, inner=inner_exif(56, 40, NOTE, 8 + 2 + 12 * 2 + 4))
XMP = b'<x tiff:Orientation="6"/>'
IPTC = b"8BIM\4\4\0\0\0\0\0\x0b\x1c\2\x78\0\6A view\0"
SAMPLE = Path(__file__).parents[4] / "shared" / "data" / "faults" / "09-png-raw-profile-exif.png"


def text_chunk(kind: bytes, name: str, data: bytes) -> bytes:
    keyword, text = b"Raw profile type " + name.encode(), raw_profile(name, data).encode()
    if kind == b"zTXt":
        return png_chunk(kind, keyword + b"\0\0" + zlib.compress(text))
    if kind == b"iTXt":
        return png_chunk(kind, keyword + b"\0\1\0\0\0" + zlib.compress(text))
    return png_chunk(kind, keyword + b"\0" + text)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
@pytest.mark.parametrize(("name", "data"), [("exif", BLOCK), ("APP1", BLOCK), ("exif", BLOCK[6:])])
@pytest.mark.parametrize("target", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_in_a_text_turns_the_picture_and_is_kept(
    target: str, name: str, data: bytes, kind: bytes
) -> None:
    photo = read_photo(png(RGB, 2, before=text_chunk(kind, name, data)))
    np.testing.assert_array_equal(photo.pixels, turned(RGB, 6))
    encoded = encode_photo(photo, photo.pixels, target)
    again = read_photo(encoded.content)
    assert encoded.warnings == ()
    assert again.pixels.shape == (56, 40, 3)
    assert again.exif is not None
    assert NOTE in again.exif
    assert orientation_of(again.exif, None) == 1
    read = Image.Exif()
    read.load(again.exif)
    assert (read.get_ifd(0x8769)[0xA002], read.get_ifd(0x8769)[0xA003]) == (40, 56)


P3 = profile_of_numbers(12, 13, grey=False)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("name", ["icc", "icm", "ICC"])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("target", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF", "BMP", "JXL", "HEIF"])
def test_a_colour_profile_in_a_text_states_the_colours_of_every_result(
    target: str, deep: bool, name: str, kind: bytes
) -> None:
    """The picture came out as sRGB, and paler."""
    if not {"JXL": HAS_JXL, "HEIF": HAS_HEIF}.get(target, True) or (deep and not HAS_DEEP):
        pytest.skip("its extra is not installed")
    assert P3 is not None
    gamma = png_chunk(b"gAMA", struct.pack(">I", 45455))
    pixels = RGB.astype(np.uint16) * 257 if deep else RGB
    content = png(pixels, 2, 16 if deep else 8, before=gamma + text_chunk(kind, name, P3))
    photo = read_photo(content)
    assert photo.icc_profile == P3
    encoded = encode_photo(photo, photo.pixels, target).content
    again = read_photo(encoded).icc_profile
    assert again == P3 or (target == "JXL" and again is not None)  # libjxl writes its own words
    if target == "PNG":
        kinds = [kind for kind, _ in chunks(encoded)]
        assert kinds.count(b"iCCP") == 1, "where other programs look for it"
        assert b"Raw profile" not in encoded


def test_a_chunk_that_states_the_colours_overrules_a_profile_in_a_text() -> None:
    assert P3 is not None
    text = text_chunk(b"zTXt", "icc", P3)
    srgb = png(RGB, 2, before=png_chunk(b"sRGB", b"\0") + text)
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    both = png(RGB, 2, before=png_chunk(b"iCCP", b"x\0\0" + zlib.compress(own)) + text)
    for content, profile in ((srgb, None), (both, own)):
        photo = read_photo(content)
        assert photo.icc_profile == profile
        again = read_photo(encode_photo(photo, photo.pixels, "PNG").content)
        assert again.icc_profile == profile


def test_a_grey_profile_in_a_text_of_a_colour_picture_is_left_out() -> None:
    grey = profile_of_numbers(1, 8, grey=True)  # linear
    assert grey is not None
    photo = read_photo(png(RGB, 2, before=text_chunk(b"zTXt", "icc", grey)))
    assert photo.icc_profile is None
    assert photo.warnings == ("its colour profile is not one for such pixels and was left out",)
    assert b"Raw profile" not in encode_photo(photo, photo.pixels, "PNG").content


def test_other_programs_read_the_corrected_text() -> None:
    photo = read_photo(png(RGB, 2, before=text_chunk(b"tEXt", "exif", BLOCK)))
    with Image.open(io.BytesIO(encode_photo(photo, photo.pixels, "PNG").content)) as image:
        assert image.getexif()[0x0112] == 1


@pytest.mark.parametrize("name", ["xmp", "APP1"])
def test_xmp_in_a_text_turns_the_picture_and_is_kept(name: str) -> None:
    header = b"http://ns.adobe.com/xap/1.0/\0" if name == "APP1" else b""
    photo = read_photo(png(RGB, 2, before=text_chunk(b"zTXt", name, header + XMP)))
    np.testing.assert_array_equal(photo.pixels, turned(RGB, 6))
    for target in ("PNG", "JPEG"):
        again = read_photo(encode_photo(photo, photo.pixels, target).content)
        assert again.xmp == XMP.replace(b"6", b"1")
        assert again.pixels.shape == (56, 40, 3)


@pytest.mark.parametrize(("name", "data"), [("iptc", IPTC), ("8bim", IPTC), ("iptc", IPTC[12:])])
def test_captions_in_a_text_reach_jpeg_and_tiff_and_come_back(name: str, data: bytes) -> None:
    photo = read_photo(png(RGB, 2, before=text_chunk(b"zTXt", name, data)))
    for target in ("JPEG", "TIFF", "PNG"):
        encoded = encode_photo(photo, photo.pixels, target)
        assert encoded.warnings == ()
        assert b"A view" in encoded.content or target == "PNG"
        back = read_photo(encoded.content)
        again = encode_photo(back, back.pixels, "PNG")
        assert again.warnings == ()
        assert b"A view" in (png_blocks(again.content).captions or b"")


def test_exifs_own_chunk_comes_first() -> None:
    upright = exif({0x0112: (3, 1)})
    photo = read_photo(
        png(RGB, 2, before=text_chunk(b"tEXt", "exif", BLOCK) + png_chunk(b"eXIf", upright[6:]))
    )
    np.testing.assert_array_equal(photo.pixels, RGB)


def test_other_texts_and_damaged_ones_stay() -> None:
    texts = [
        text_chunk(b"zTXt", "icm", b"a profile"),
        png_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\nno digits\n"),
        png_chunk(b"zTXt", b"Raw profile type exif\0\0not packed"),
        png_chunk(b"tEXt", b"Raw profile type exif"),
    ]
    photo = read_photo(png(RGB, 2, before=b"".join(texts)))
    assert (photo.exif, photo.xmp) == (None, None)
    content = encode_photo(photo, photo.pixels, "PNG").content
    for text in texts:
        assert text in content


@given(st.binary(max_size=120), st.sampled_from([b"tEXt", b"zTXt", b"iTXt"]))
def test_no_text_breaks_the_reading(data: bytes, kind: bytes) -> None:
    content = png(RGB, 2, before=png_chunk(kind, b"Raw profile type exif\0" + data))
    png_blocks(content)
    photo = read_photo(content)
    assert dict(chunks(encode_photo(photo, photo.pixels, "PNG").content))[b"IHDR"]


@pytest.mark.skipif(not SAMPLE.exists(), reason="needs ../shared/data/faults")
def test_the_sample_of_a_public_report() -> None:
    photo = read_photo(SAMPLE)
    assert photo.pixels.shape == (160, 100, 3)
    again = read_photo(encode_photo(photo, photo.pixels, "JPEG").content)
    assert b"ACME\0" in (again.exif or b"")
    assert b"2020:01:02 03:04:05" in (again.exif or b"")
