"""16 bits per channel through PNG, TIFF and PPM, and what is said where the libraries are missing."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from rave_runtime.errors import PhotoError
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.exif import upright_exif
from rave_runtime.photos.headers.dimensions import read_dimensions
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.sixteen_bit import write_deep_ppm
from tests.runtime.handmade import exif, inner_exif, png, png_chunk, scene, tiff_of

NOTE = b"maker note" * 9
DEEP = scene(dtype=np.uint16)


def deep_photo(channels: int, format: str = "TIFF", **more: Any) -> Photo:
    pixels = scene(channels=channels, dtype=np.uint16).reshape(40, 56, channels)
    alpha = pixels[..., -1] if channels in (2, 4) else None
    return Photo(pixels[..., : channels - (alpha is not None)], format, alpha, **more)


@pytest.mark.parametrize("missing", ["imagecodecs", "tifffile"])
def test_a_missing_library_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    kind, content = ("PNG", png(DEEP, 2, 16)) if missing == "imagecodecs" else ("TIFF", tiff_of(DEEP))
    words = rf"is a {kind} of 16 bits per channel.*: pip install 'rave-backlit\[deep\]' to read and write it"
    with pytest.raises(PhotoError, match=words):
        read_photo(content)
    if kind == "PNG":
        with pytest.raises(PhotoError, match=words):
            encode_photo(deep_photo(3), DEEP, kind)
    else:
        assert encode_photo(deep_photo(3), DEEP, kind).content, "writing TIFF needs no library"


@pytest.mark.parametrize("bits", [1, 4, 9, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_white_of_a_jpeg_2000_is_white_at_every_depth(channels: int, bits: int) -> None:
    codecs = pytest.importorskip("imagecodecs")
    top, most = (1 << bits) - 1, 255 if bits < 8 else 65535
    ramp = np.linspace(0, top, 40 * 56).round().astype(np.uint8 if bits < 8 else np.uint16).reshape(40, 56)
    values = np.dstack([ramp] * channels) if channels > 1 else ramp
    content = codecs.jpeg2k_encode(values, level=0, reversible=True, codecformat="jp2", bitspersample=bits)
    dimensions = read_dimensions(content)
    assert dimensions is not None
    assert dimensions.is_deep == (bits > 8)
    photo = read_photo(content)
    assert (photo.pixels.dtype == np.uint8) == (bits < 8)
    assert not photo.warnings
    expected = ramp.astype(float)[..., None] * most / top
    np.testing.assert_allclose(np.broadcast_to(expected, photo.pixels.shape), photo.pixels, atol=most / 512)
    assert photo.alpha is None or np.array_equal(photo.alpha, photo.pixels[..., 0])


def test_a_jpeg_2000_of_16_bits_needs_a_library_for_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.fromarray(scene()).save(file, "JPEG2000")
    content = bytearray(file.getvalue())
    content[content.index(b"\xff\x4f\xff\x51") + 42] = 15
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(PhotoError, match=r"is a JPEG 2000 of 16 bits per channel: pip install .*\[deep\]"):
        read_photo(bytes(content))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_deep_pixels_survive_writing_and_reading(format: str, channels: int) -> None:
    if channels > 1:
        pytest.importorskip("imagecodecs")
        pytest.importorskip("tifffile")
    photo = deep_photo(channels, format)
    content = encode_photo(photo, photo.pixels, format).content
    again = read_photo(content)
    shown, expected = np.broadcast_arrays(again.pixels, photo.pixels)
    np.testing.assert_array_equal(shown, expected)
    if photo.alpha is not None:
        np.testing.assert_array_equal(again.alpha, photo.alpha)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (5, 1), (2, 3), (9, 8), (40, 56)])
def test_an_interlaced_png_is_whole(height: int, width: int) -> None:
    pytest.importorskip("imagecodecs")
    for channels, colour in ((2, 4), (3, 2), (4, 6)):
        pixels = scene(height, width, channels, np.uint16)
        photo = read_photo(png(pixels, colour, 16, interlaced=True))
        np.testing.assert_array_equal(photo.pixels, pixels[..., : 1 if channels == 2 else 3])
        if channels != 3:
            np.testing.assert_array_equal(photo.alpha, pixels[..., -1])
        with pytest.raises(PhotoError, match=r"is damaged or truncated|header makes no sense"):
            read_photo(png(pixels, colour, 16, interlaced=True, size=(width, height + 7)))


@pytest.mark.parametrize("interlaced", [True, False])
def test_a_deep_png_is_read_without_a_word_of_libpng(tmp_path: Path, interlaced: bool) -> None:
    """libpng printed a warning of interlaced ones when the process ended, and of each odd chunk."""
    pytest.importorskip("imagecodecs")
    odd = png_chunk(b"cHRM", b"short") + png_chunk(b"eXIf", b"Exif\0\0II*\0")
    (tmp_path / "a.png").write_bytes(png(DEEP, 2, 16, before=odd, interlaced=interlaced))
    code = (
        "import sys\nfrom pathlib import Path\nfrom rave_runtime.photos.reading import read_photo\n"
        "read_photo(Path(sys.argv[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.png")], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("channels", [1, 3])
def test_ppm_needs_no_library(channels: int) -> None:
    pixels = scene(channels=channels, dtype=np.uint16).reshape(40, 56, channels)
    again = read_photo(write_deep_ppm(pixels))
    np.testing.assert_array_equal(again.pixels, pixels)
    assert encode_photo(again, pixels, "PPM").content == write_deep_ppm(pixels)


@pytest.mark.parametrize("top", [1, 100, 1000])
@pytest.mark.parametrize(("kind", "channels"), [(b"P5", 1), (b"P6", 3)])
def test_a_ppm_may_have_any_largest_value(kind: bytes, channels: int, top: int) -> None:
    """Pillow reads one of less than 255 pixel by pixel, which looked like a file in too many pieces."""
    values = np.random.default_rng(0).integers(0, top, (400, 400, channels), endpoint=True)
    content = kind + b" 400 400 %d\n" % top + values.astype(">u2" if top > 255 else "u1").tobytes()
    pixels = read_photo(content).pixels
    most = np.iinfo(pixels.dtype).max
    assert most == (65535 if top > 255 else 255)
    np.testing.assert_allclose(pixels, values * most / top, atol=0.5)
    with pytest.raises(PhotoError, match="damaged or truncated: 1 bytes are missing"):
        read_photo(content[:-1])


def test_tags_of_a_deep_tiff_keep_their_types() -> None:
    tifffile = pytest.importorskip("tifffile")
    tags = Image.Exif()
    tags[0x829A], tags[0x013B], tags[0x8298] = IFDRational(1, 100), "Müller".encode("latin-1"), "text"
    tags[50001], tags[50002], tags[50003] = IFDRational(3, 7), (1.5, 2.5), (-3, 4)
    tags[50004], tags[50005] = 5, b"bytes"
    content = encode_photo(deep_photo(3, exif=tags.tobytes()), DEEP, "TIFF").content
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        found = {tag.code: (tag.dtype.name, tag.value) for tag in file.pages.first.tags}
    assert found[0x829A] == ("RATIONAL", (1, 100))
    assert found[50001] == ("RATIONAL", (3, 7))
    assert found[50002] == ("DOUBLE", (1.5, 2.5))
    assert found[50003] == ("SSHORT", (-3, 4))
    assert found[50004] == ("SHORT", 5)
    assert found[50005] == ("UNDEFINED", b"bytes") or found[50005] == ("BYTE", b"bytes")
    assert found[0x8298] == ("ASCII", "text")
    assert found[0x013B][0] == "ASCII"
    assert list(found) == sorted(found), "readers may rely on the order of tags"
    assert len(found) == len(set(found))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_a_deep_tiff_keeps_all_that_it_says(compression: str | None) -> None:
    pytest.importorskip("imagecodecs")
    pytest.importorskip("tifffile")
    block = exif({0x0112: (3, 1), 0x4746: (3, 5)}, inner=inner_exif(56, 40, NOTE, 8 + 2 + 12 * 3 + 4))
    tags = Image.Exif()
    tags.load(block)
    tags[0x010F], tags[0x8298], tags[0x013B] = "Maker", "© Jürgen".encode(), "Artist"
    tags[0x010E], tags[0x0131] = "a description", "software 1"
    tags.get_ifd(0x8825)[1] = "N"
    tags.get_ifd(0x8825)[2] = (48.0, 30.5, 0.0)
    tags[0x8825] = tags.get_ifd(0x8825)
    before = upright_exif(tags.tobytes(), 56, 40)
    options = {"compression": compression or "raw"}
    photo = deep_photo(
        3, exif=before, xmp=b"<xmp/>", icc_profile=b"profile!", dpi=(300, 300), save_options=options
    )
    content = encode_photo(photo, DEEP, "TIFF").content
    with Image.open(io.BytesIO(content)) as image:
        assert image.info["compression"] == (compression or "raw")
    again = read_photo(content)
    np.testing.assert_array_equal(again.pixels, DEEP)
    assert (again.xmp, again.icc_profile, again.dpi) == (b"<xmp/>", b"profile!", (300, 300))
    assert again.exif is not None
    read = Image.Exif()
    read.load(again.exif)
    for tag in (0x010F, 0x8298, 0x013B, 0x010E, 0x0131, 0x4746):
        value = read[tag].encode("latin-1") if isinstance(tags[tag], bytes) else read[tag]
        assert value == tags[tag], hex(tag)
    inner = read.get_ifd(0x8769)
    assert (inner[0x927C], inner[0xA002], inner[0xA003]) == (NOTE, 56, 40)
    assert read.get_ifd(0x8825)[2] == (48.0, 30.5, 0.0)
    twice = encode_photo(again, DEEP, "TIFF").content
    assert read_photo(twice).exif == again.exif


def test_metadata_of_other_formats_reaches_a_deep_png() -> None:
    pytest.importorskip("imagecodecs")
    block = exif({0x0112: (3, 1), 0x4746: (3, 5)})
    photo = deep_photo(3, exif=block, xmp=b"<xmp/>", icc_profile=b"profile!", dpi=(300, 300))
    again = read_photo(encode_photo(photo, DEEP, "PNG").content)
    np.testing.assert_array_equal(again.pixels, DEEP)
    assert (again.exif, again.xmp, again.icc_profile) == (block, b"<xmp/>", b"profile!")
    assert again.dpi == pytest.approx((300, 300), abs=0.1)


def test_layouts_that_would_lose_values_are_refused() -> None:
    pytest.importorskip("tifffile")
    cmyk = tiff_of(scene(channels=4, dtype=np.uint16), tags={262: (3, 5), 338: (3, 0)})
    with pytest.raises(
        PhotoError, match=r"is a 16-bit TIFF that is not RGB: convert it|a kind of TIFF that cannot be read"
    ):
        read_photo(cmyk)


def test_twelve_bits_of_grey_fill_sixteen() -> None:
    values = (scene(channels=1, dtype=np.uint16) >> 4).astype(np.uint32)
    packed = (values[:, ::2] << 12 | values[:, 1::2]).astype(">u4").view(np.uint8).reshape(40, 28, 4)[..., 1:]
    content = tiff_of(values.astype(np.uint16), tags={258: (3, 12), 279: (4, packed.size)})
    start = len(content) - values.size * 2
    photo = read_photo(content[:start] + packed.tobytes())
    expected = np.round(values / 4095 * 65535)
    assert np.abs(photo.pixels[..., 0].astype(float) - expected).max() <= 1


def test_colour_that_was_multiplied_by_its_alpha_is_divided_again() -> None:
    tifffile = pytest.importorskip("tifffile")
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    alpha = rng.integers(20000, 65536, (5, 7, 1)).astype(np.uint16)
    alpha[0] = 0
    stored = (colour.astype(np.uint64) * alpha // 65535).astype(np.uint16)
    buffer = io.BytesIO()
    associated = np.concatenate([stored, alpha], 2)
    tifffile.imwrite(buffer, associated, photometric="rgb", extrasamples=["assocalpha"])
    photo = read_photo(buffer.getvalue())
    assert photo.alpha is not None
    assert np.array_equal(photo.alpha, alpha[..., 0])
    assert np.abs(photo.pixels[1:].astype(int) - colour[1:]).max() <= 4
    assert not photo.pixels[0].any(), "nothing is known of what cannot be seen"
