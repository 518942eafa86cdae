"""Ways in which a file states its colours, in and out: gAMA, EXIF, BMP, JPEG 2000, GIF, ICC."""

from __future__ import annotations

import struct
import zlib
from itertools import product

import numpy as np
import pytest
from PIL import Image

from rave_runtime.errors import PhotoError
from rave_runtime.photos.colour import is_srgb, to_srgb, tone_curve
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.formats import WRITTEN_FORMATS
from rave_runtime.photos.headers.colour_codes import (
    ADOBE_RGB,
    PRIMARIES,
    SRGB,
    SRGB_CURVE,
    Curve,
    make_profile,
)
from rave_runtime.photos.reading import read_photo
from tests.runtime.colours.stated import ADOBE, P3, PIXELS, described, heif_only, png, saved
from tests.runtime.handmade import png_chunk as chunk


def chrm(xy: tuple[float, ...]) -> bytes:
    return struct.pack(">8I", *(round(value * 100_000) for value in (*xy[6:], *xy[:6])))


def gama(exponent: float) -> bytes:
    return struct.pack(">I", round(exponent * 100_000))


def exif(adobe: str, order: str = "<") -> bytes:
    """EXIF that says Adobe RGB as cameras do: by colour space 2, or uncalibrated and rule R03."""
    block = Image.Exif()
    inner = block.get_ifd(0x8769)
    inner[0xA001] = {"number": 2, "rule": 65535, "srgb": 1, "neither": 65535}[adobe]
    if adobe == "rule":
        inner[0xA005] = {1: "R03", 2: b"0100"}
    return block.tobytes()


def iccp(profile: bytes) -> bytes:
    return b"profile\0\0" + zlib.compress(profile)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ([(b"cICP", b"\x0c\x0d\0\1")], P3),
        ([(b"cICP", b"\x0c\x0d\0\1"), (b"sRGB", b"\0")], P3),
        ([(b"cICP", b"\x01\x0d\0\1"), (b"gAMA", gama(1.0))], None),
        ([(b"sRGB", b"\0"), (b"gAMA", gama(1.0))], None),
        ([(b"cICP", b"\2\2\0\1"), (b"cHRM", chrm(SRGB))], None),
        (
            [(b"cICP", b"\2\2\0\1"), (b"cHRM", chrm(PRIMARIES[12]))],
            make_profile("Stated by gamma and primaries", PRIMARIES[12], SRGB_CURVE),
        ),
        ([(b"cICP", b"\2\2\0\0"), (b"iCCP", iccp(P3))], P3),
        ([(b"gAMA", gama(0.45455))], None),
        ([(b"gAMA", gama(0.45455)), (b"cHRM", chrm(SRGB))], None),
        ([(b"cHRM", chrm(SRGB))], None),
        ([(b"gAMA", b"\0")], None),
        ([(b"gAMA", gama(0))], None),
        ([(b"gAMA", gama(0.45455)), (b"cHRM", bytes(32))], None),
        (
            [(b"gAMA", gama(0.45471)), (b"cHRM", chrm(ADOBE_RGB))],
            make_profile("Stated by gamma and primaries", ADOBE_RGB, Curve(563 / 256)),
        ),
        (
            [(b"cHRM", chrm(PRIMARIES[12]))],
            make_profile("Stated by gamma and primaries", PRIMARIES[12], SRGB_CURVE),
        ),
        ([(b"gAMA", gama(1.0))], make_profile("Stated by gamma and primaries", SRGB, Curve(1.0))),
    ],
)
def test_pngs_without_a_profile_state_colour_by_chunks(
    stated: list[tuple[bytes, bytes]], expected: bytes | None
) -> None:
    photo = read_photo(png(*stated))
    assert photo.icc_profile == expected
    assert photo.warnings == ()
    written = encode_photo(photo, photo.pixels, "PNG").content
    assert read_photo(written).icc_profile == expected
    assert all(chunk(*one) in written for one in stated)
    assert read_photo(encode_photo(photo, photo.pixels, "TIFF").content).icc_profile == expected


def test_grey_gets_a_grey_profile() -> None:
    photo = read_photo(png((b"gAMA", gama(1.0)), pixels=PIXELS[..., 0]))
    assert photo.icc_profile is not None
    assert photo.icc_profile[16:20] == b"GRAY"
    curve = tone_curve(photo.icc_profile)
    assert curve is not None
    assert curve[len(curve) // 2] == pytest.approx(0.7354, abs=1e-3)
    assert read_photo(png((b"cICP", b"\x0c\x0d\0\1"), pixels=PIXELS[..., 0])).icc_profile is None


@pytest.mark.parametrize(
    ("format", "words"),  # Pillow writes no rule into a TIFF
    [("TIFF", "number"), *product(("JPEG", "WEBP", "PNG"), ("number", "rule"))],
)
def test_cameras_adobe_rgb_stays_adobe_rgb(format: str, words: str) -> None:
    photo = read_photo(saved(format, exif=exif(words)))
    assert photo.icc_profile == ADOBE
    for target in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF", "BMP"):
        again = read_photo(encode_photo(photo, photo.pixels, target).content)
        assert again.icc_profile == ADOBE, target


@pytest.mark.parametrize("words", ["srgb", "neither"])
def test_other_words_of_exif_mean_srgb(words: str) -> None:
    assert read_photo(saved("JPEG", exif=exif(words))).icc_profile is None
    assert read_photo(saved("JPEG", exif=exif("rule"), icc_profile=P3)).icc_profile == P3


def bmp(kind: bytes, columns: np.ndarray | None = None, gamma: float = 2.2) -> bytes:
    plain = saved("BMP")
    points = np.zeros(9) if columns is None else columns.T.ravel()
    head = struct.pack("<I", 108) + plain[18:54] + bytes(16) + kind
    head += struct.pack("<9i3I", *(round(v * 2**30) for v in points), *[round(gamma * 65536)] * 3)
    return plain[:10] + struct.pack("<I", 14 + 108) + head + plain[54:]


def test_bmp_states_colour_by_its_header() -> None:
    photo = read_photo(saved("PNG", icc_profile=P3))
    again = read_photo(encode_photo(photo, photo.pixels, "BMP").content)
    assert again.icc_profile == P3
    np.testing.assert_array_equal(again.pixels, PIXELS)
    twice = read_photo(encode_photo(again, again.pixels, "BMP").content)
    assert (twice.icc_profile, twice.warnings) == (P3, ())
    assert read_photo(bmp(b"BGRs")).icc_profile is None
    assert read_photo(bmp(bytes(4))).icc_profile is None
    assert read_photo(bmp(b"KNIL")).icc_profile is None
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    xy = np.array(ADOBE_RGB[:6]).reshape(3, 2)
    xyz = np.stack([xy[:, 0] / xy[:, 1], np.ones(3), (1 - xy.sum(1)) / xy[:, 1]])
    adobe = read_photo(bmp(bytes(4), xyz * np.linalg.solve(xyz, white), 563 / 256)).icc_profile
    assert adobe is not None
    shown, expected = (to_srgb(PIXELS, one).astype(int) for one in (adobe, ADOBE))
    assert np.abs(shown - expected).max() <= 1


def jp2(colr: bytes) -> bytes:
    plain = saved("JPEG2000", irreversible=False)
    at = plain.index(b"colr") - 4
    (length,) = struct.unpack_from(">I", plain, at)
    header = plain.index(b"jp2h") - 4
    (outer,) = struct.unpack_from(">I", plain, header)
    box = struct.pack(">I", len(colr) + 8) + b"colr" + colr
    size = struct.pack(">I", outer - length + len(box))
    return plain[:header] + size + plain[header + 4 : at] + box + plain[at + length :]


def test_jpeg_2000_states_colour_by_a_profile_or_a_number() -> None:
    assert read_photo(jp2(b"\x02\0\0" + P3)).icc_profile == P3
    assert read_photo(jp2(b"\x01\0\0\0\0\0\x10")).icc_profile is None
    assert described(read_photo(jp2(b"\x01\0\0\0\0\0\x15")).icc_profile) == "ROMM RGB"
    assert described(read_photo(jp2(b"\x05\0\0\0\x0c\0\x0d\0\0\x80")).icc_profile) == "Display P3"
    with pytest.raises(PhotoError, match="colour space 14"):
        read_photo(jp2(b"\x01\0\0\0\0\0\x0e"))


def test_gifs_profile_is_read() -> None:
    plain = saved("GIF")
    at = 13 + 3 * 2 ** ((plain[10] & 7) + 1)
    pieces = b"".join(bytes([len(P3[i : i + 255])]) + P3[i : i + 255] for i in range(0, len(P3), 255))
    content = plain[:at] + b"\x21\xff\x0bICCRGBG1012" + pieces + b"\0" + plain[at:]
    assert read_photo(content).icc_profile == P3


@pytest.mark.parametrize("deep", [False, True])
def test_ppm_which_cannot_state_colour_gets_srgb_and_says_so(deep: bool) -> None:
    photo = read_photo(saved("PNG", icc_profile=P3))
    pixels = photo.pixels.astype(np.uint16) * 257 if deep else photo.pixels
    encoded = encode_photo(photo, pixels, "PPM")
    assert any("cannot state a colour space" in note and "sRGB" in note for note in encoded.warnings)
    result = read_photo(encoded.content)
    shown = result.pixels // 257 if deep else result.pixels
    assert np.abs(shown.astype(int) - to_srgb(PIXELS, P3).astype(int)).max() <= (2 if deep else 0)


def test_made_profiles_agree_with_known_ones() -> None:
    """Little CMS's own sRGB, and what white and grey must be in every space."""
    assert is_srgb(make_profile("x", SRGB, SRGB_CURVE))
    grey = np.repeat(np.arange(0, 256, 5, dtype=np.uint8)[None, :, None], 3, 2)
    for xy in PRIMARIES.values():
        shown = to_srgb(grey, make_profile("x", xy, SRGB_CURVE))
        assert np.abs(shown.astype(int) - grey).max() <= 1
    red = to_srgb(np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8), P3)
    assert red.tolist() == [[[255, 0, 0], [0, 255, 0]]]
    inner = to_srgb(np.array([[[200, 100, 100]]], np.uint8), P3)[0, 0].astype(int)
    assert np.abs(inner - [215, 95, 97]).max() <= 2


@pytest.mark.parametrize("format", WRITTEN_FORMATS)
def test_a_profile_goes_through_every_format(format: str) -> None:
    heif_only(format)
    photo = read_photo(saved("TIFF", icc_profile=P3))
    again = read_photo(encode_photo(photo, photo.pixels, format).content)
    assert again.icc_profile == (None if format == "PPM" else P3)
