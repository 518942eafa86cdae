"""The colour spaces of JPEG XL: by number, by profile, and of 16 bits; checked by libjxl's programs."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rave_runtime.errors import PhotoError
from rave_runtime.photos.codecs.jpeg_xl import encode_jxl
from rave_runtime.photos.colour import tone_curve
from rave_runtime.photos.headers.bits import LowBitReader
from rave_runtime.photos.headers.colour_codes import (
    ADOBE_RGB,
    PRIMARIES,
    SRGB,
    SRGB_CURVE,
    SRGB_TRANSFER,
    Curve,
    make_profile,
)
from rave_runtime.photos.headers.jpeg_xl import read_jxl_header
from rave_runtime.photos.headers.jpeg_xl_colours import read_colours
from rave_runtime.photos.reading import read_photo
from tests.runtime.pictures import make_pixels

pytest.importorskip("pylibjxl")
pytest.importorskip("imagecodecs")

P3 = make_profile("Display P3", PRIMARIES[12], SRGB_CURVE)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("quality", [90, 100])
def test_sixteen_bits_are_stated_and_stored_in_srgb_s_curve(channels: int, quality: int) -> None:
    pixels = make_pixels(channels, np.uint16)
    content = encode_jxl(pixels, quality, None, None, None)
    assert read_jxl_header(content).colours.transfer == SRGB_TRANSFER
    back = read_photo(content)
    assert back.icc_profile is None
    colours = pixels[..., : 1 if channels < 3 else 3].astype(float)
    assert np.abs(back.pixels - colours).mean() < (600 if quality == 90 else 0.5)


@pytest.mark.skipif(shutil.which("cjxl") is None, reason="needs cjxl (Debian: libjxl-tools)")
@pytest.mark.parametrize(
    ("space", "profile"),
    [
        ("RGB_D65_SRG_Per_SRG", None),
        ("RGB_D65_DCI_Per_SRG", P3),
        ("RGB_D65_SRG_Per_Lin", make_profile("BT.709, other curve", SRGB, Curve(1.0))),
        ("RGB_D65_202_Per_g0.5", make_profile("BT.2020, other curve", PRIMARIES[9], Curve(2.0))),
    ],
)
@pytest.mark.parametrize("distance", ["0", "1"])
def test_colours_stated_by_number_become_a_profile(
    space: str, profile: bytes | None, distance: str, tmp_path: Path
) -> None:
    source, file = tmp_path / "a.ppm", tmp_path / "a.jxl"
    Image.fromarray(make_pixels(3)).save(source)
    command = ["cjxl", str(source), str(file), "-d", distance, "-x", f"color_space={space}"]
    subprocess.run(command, check=True, capture_output=True)
    photo = read_photo(file)
    assert photo.icc_profile == profile
    assert np.abs(photo.pixels.astype(int) - make_pixels(3)).mean() < 3


@pytest.mark.skipif(shutil.which("cjxl") is None, reason="needs cjxl (Debian: libjxl-tools)")
def test_primaries_of_their_own_and_an_exponent_are_read(tmp_path: Path) -> None:
    source, file = tmp_path / "a.png", tmp_path / "a.jxl"
    chunks = PngInfo()
    white_first = (*ADOBE_RGB[6:], *ADOBE_RGB[:6])
    chunks.add(b"cHRM", struct.pack(">8I", *(round(1e5 * value) for value in white_first)))
    chunks.add(b"gAMA", struct.pack(">I", 45455))
    Image.fromarray(make_pixels(3)).save(source, pnginfo=chunks)
    subprocess.run(["cjxl", source, file, "-d", "0"], check=True, capture_output=True)
    colours = read_jxl_header(file.read_bytes()).colours
    assert colours.chromaticities == pytest.approx(ADOBE_RGB, abs=1e-5)
    assert colours.encoding_exponent == pytest.approx(1 / 2.2, abs=1e-5)
    profile = read_photo(file).icc_profile
    assert profile is not None
    assert tone_curve(profile) is not None


@pytest.mark.skipif(shutil.which("cjxl") is None, reason="needs cjxl (Debian: libjxl-tools)")
def test_hdr_and_colours_that_decoders_do_not_give_back_are_refused(tmp_path: Path) -> None:
    source, file = tmp_path / "a.ppm", tmp_path / "a.jxl"
    Image.fromarray(make_pixels(3)).save(source)
    for curve, name in (("PeQ", "PQ"), ("HLG", "HLG")):
        command = ["cjxl", str(source), str(file), "-x", f"color_space=RGB_D65_202_Per_{curve}"]
        subprocess.run(command, check=True, capture_output=True)
        with pytest.raises(PhotoError, match=rf"is an HDR picture \({name}\)"):
            read_photo(file)
    source = tmp_path / "a.png"
    curved = make_profile("Its own curve", SRGB, Curve(2.0, 0.9, 0.1, 0.5, 0.1))
    Image.fromarray(make_pixels(3)).save(source, icc_profile=curved)
    subprocess.run(["cjxl", source, file, "-d", "0"], check=True, capture_output=True)
    np.testing.assert_array_equal(read_photo(file).pixels, make_pixels(3))
    subprocess.run(["cjxl", source, file, "-d", "1"], check=True, capture_output=True)
    with pytest.raises(PhotoError, match="is lossy and has an ICC profile"):
        read_photo(file)


@pytest.mark.skipif(shutil.which("djxl") is None, reason="needs djxl (Debian: libjxl-tools)")
@pytest.mark.parametrize("quality", [90, 100])
def test_djxl_gives_sixteen_bits_in_srgb_s_curve(quality: int, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    pixels = make_pixels(3, np.uint16)
    (tmp_path / "a.jxl").write_bytes(encode_jxl(pixels, quality, None, None, None))
    subprocess.run(["djxl", tmp_path / "a.jxl", tmp_path / "a.ppm"], check=True, capture_output=True)
    theirs = read_photo(tmp_path / "a.ppm").pixels
    assert np.abs(theirs.astype(float) - pixels).mean() < (600 if quality == 90 else 0.5)


def test_headers_of_colours_that_end_early_or_make_no_sense() -> None:
    with pytest.raises(EOFError):
        read_colours(LowBitReader(b""))
    with pytest.raises(EOFError):
        read_colours(LowBitReader(b"\0"))
    colours = read_colours(LowBitReader(bytes(8)))  # all primaries and the transfer function are number 0
    with pytest.raises(PhotoError, match=r"transfer 0"):
        colours.profile(grey=False)
