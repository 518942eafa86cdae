"""Profiles: which are sRGB, what the network sees of the others, and their tone curves."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from rave_runtime import Enhancer
from rave_runtime.photos import colour
from rave_runtime.photos.colour import cmyk_to_rgb, is_srgb, is_without_grey, to_srgb, tone_curve
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo
from tests.runtime.colours.stated import ADOBE as ADOBE_RGB
from tests.runtime.colours.stated import P3
from tests.runtime.pictures import make_picture

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""Adobe RGB's primaries in D50, X Y Z each."""


def profile(curve: bytes, primaries: tuple[tuple[float, ...], ...] = ADOBE, space: bytes = b"RGB ") -> bytes:
    """A matrix profile with one curve for all channels."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve += bytes(-len(curve) % 4)
    tags = {b"wtpt": xyz((0.9642, 1.0, 0.8249)), b"cprt": b"text\0\0\0\0CC0\0"}
    tags |= {name: xyz(value) for name, value in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC", b"kTRC"), curve)
    tags[b"desc"] = b"desc\0\0\0\0\0\0\0\x02x\0" + bytes(78) + b"\0\0"
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data
    size = struct.pack(">I", start + len(body))
    head = size + b"lcms\x02\x10\0\0mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


def lab_profile() -> bytes:
    """A profile for pixels whose red, green and blue are a*, L* and b*, by a table."""
    ramp = bytes(range(256)) * 3
    corners = bytes(255 * bit for red, green, blue in np.ndindex(2, 2, 2) for bit in (green, red, blue))
    one = struct.pack(">9i", *(65536 * (place % 4 == 0) for place in range(9)))
    table = b"mft1\0\0\0\0\3\3\2\0" + one + ramp + corners + ramp
    head = bytearray(profile(gamma(1.0))[:128])
    head[:4] = struct.pack(">I", 144 + len(table))
    head[12:24] = b"scnrRGB Lab "
    return bytes(head) + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def srgb_encoded(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_srgb_is_srgb() -> None:
    assert is_srgb(None)
    assert is_srgb(SRGB)
    assert tone_curve(None) is None
    assert tone_curve(SRGB) is None
    assert not is_srgb(profile(gamma(2.2)))


# Named, because littleCMS writes the time into the profile: two processes see different bytes.
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"x" * 200, id="text"),
        pytest.param(SRGB[:100], id="cut in its header"),
        pytest.param(SRGB[:300], id="cut in its tags"),
        pytest.param(b"\xff" * 5000, id="all ones"),
    ],
)
def test_a_broken_profile_counts_as_srgb(broken: bytes) -> None:
    assert is_srgb(broken)
    assert tone_curve(broken) is None
    pixels = np.full((2, 2, 3), 99, np.uint8)
    np.testing.assert_array_equal(to_srgb(pixels, broken), pixels)


def test_wide_gamut_is_shown_in_srgb() -> None:
    adobe = profile(gamma(2.19921875))
    shown = to_srgb(np.array([[[128, 128, 128], [100, 200, 100]]], np.uint8), adobe)
    assert np.abs(shown[0, 0].astype(int) - 127).max() <= 2
    assert shown[0, 1, 0] < 50  # Adobe RGB's green is greener than sRGB can show
    assert shown[0, 1, 1] >= 200


@pytest.mark.parametrize("exponent", [1.0, 1.8, 2.6])
def test_the_curve_is_the_profiles_own_to_16_bits(exponent: float) -> None:
    curve = tone_curve(profile(gamma(exponent)))
    assert curve is not None
    stated = round(exponent * 256) / 256
    expected = srgb_encoded(np.linspace(0, 1, len(curve)) ** stated)
    np.testing.assert_allclose(curve, expected, atol=1e-6)
    straight, values = np.linspace(0, 1, len(curve)), np.arange(65536) / 65535
    back = np.interp(np.interp(values, straight, curve), curve, straight)
    np.testing.assert_allclose(back, values, atol=0.1 / 65535)


@pytest.mark.parametrize(
    "stated",
    [
        b"curv\0\0\0\0\0\0\0\0",
        b"curv\0\0\0\0" + struct.pack(">I4H", 4, 0, 21845, 43690, 65535),
        b"para\0\0\0\0\0\0\0\0" + struct.pack(">i", 65536),
        b"para\0\0\0\0\0\x01\0\0" + struct.pack(">3i", 65536, 65536, 0),
        b"para\0\0\0\0\0\x02\0\0" + struct.pack(">4i", 65536, 65536, 0, 0),
        b"para\0\0\0\0\0\x03\0\0" + struct.pack(">5i", 65536, 65536, 0, 65536, 6554),
        b"para\0\0\0\0\0\x04\0\0" + struct.pack(">7i", 65536, 65536, 0, 65536, 6554, 0, 0),
    ],
    ids=["empty", "table", "para0", "para1", "para2", "para3", "para4"],
)
def test_all_ways_to_state_linear_light_agree(stated: bytes) -> None:
    curve = tone_curve(profile(stated))
    assert curve is not None
    np.testing.assert_allclose(curve, srgb_encoded(np.linspace(0, 1, len(curve))), atol=1e-4)


@given(st.binary(max_size=60), st.sampled_from([b"curv\0\0\0\0", b"para\0\0\0\0", b""]))
def test_no_curve_breaks_the_reading(data: bytes, kind: bytes) -> None:
    curve = tone_curve(profile(kind + data))
    assert curve is None or (np.isfinite(curve).all() and (np.diff(curve) >= 0).all() and curve.max() <= 1)


def test_grey_profiles_have_curves_too() -> None:
    curve = tone_curve(profile(gamma(1.0), space=b"GRAY"))
    assert curve is not None
    assert curve[len(curve) // 2] == pytest.approx(0.7354, abs=1e-3)


def test_a_jpeg_whose_channels_are_no_rgb_becomes_srgb() -> None:
    """The light divided XYB, and faces became violet."""
    file = io.BytesIO()
    image = Image.new("RGB", (64, 48), (128, 102, 128))
    image.paste((128, 178, 128), (32, 0, 64, 48))
    image.save(file, "JPEG", icc_profile=lab_profile(), keep_rgb=True, quality=95)
    photo = read_photo(file.getvalue())
    assert photo.icc_profile is None
    assert photo.warnings == (
        "its colours, which are of another kind than RGB (XYB), were converted to sRGB",
    )
    assert np.abs(photo.pixels[24, [8, 56]].astype(int) - [[94], [171]]).max() <= 4, "grey of L* 40 and 70"
    again = read_photo(encode_photo(photo, photo.pixels, "JPEG").content)
    assert (again.icc_profile, again.warnings) == (None, ())
    assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < 2
    for usual in (SRGB, profile(gamma(1.8)), profile(gamma(2.2), ADOBE[::-1])):
        assert not is_without_grey(usual)


def test_cmyk_without_a_usable_profile_is_converted_plainly() -> None:
    picture = Image.new("CMYK", (2, 2), (0, 255, 255, 0))
    for icc in (None, b"x" * 200, SRGB):
        assert cmyk_to_rgb(picture, icc).getpixel((0, 0)) == (255, 0, 0)


def test_a_16_bit_ramp_in_another_space_keeps_rising() -> None:
    """A sky of 16 bits must not get the steps of 8."""
    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256))
    ramp = np.linspace(6000, 60000, 4096).astype(np.uint16)
    pixels = np.repeat(np.repeat(ramp[None, :, None], 3, 2), 64, 0)
    photo = Photo(pixels=pixels, alpha=None, format="TIFF", icc_profile=profile(gamma))
    for strength in (1.0, 0.0):
        enhancer = Enhancer(precision="fp32", device="cpu", threads=1, strength=strength)
        result = enhancer.enhance_photo(photo)[32, :, 1].astype(int)
        assert np.diff(result).min() >= -8
    np.testing.assert_array_equal(enhancer.enhance_photo(photo), pixels)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("space", [b"GRAY", b"CMYK"])
def test_a_profile_for_other_pixels_is_left_out_aloud(format: str, space: bytes) -> None:
    file = io.BytesIO()
    other = SRGB[:16] + space + SRGB[20:]
    Image.new("RGB", (16, 12), (90, 60, 30)).save(file, format, icc_profile=other)
    photo = read_photo(file.getvalue())
    assert photo.icc_profile is None
    assert photo.warnings == ("its colour profile is not one for such pixels and was left out",)
    for target in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF"):
        assert read_photo(encode_photo(photo, photo.pixels, target).content).icc_profile is None


@pytest.mark.parametrize("space", [P3, ADOBE_RGB], ids=["Display P3", "Adobe RGB"])
def test_other_spaces_are_enhanced_like_their_conversion_to_srgb(
    space: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    enhancer, picture = Enhancer(device="cpu"), make_picture(480, 640)
    to_space = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), io.BytesIO(space), "RGB", "RGB")
    pixels = np.array(ImageCms.applyTransform(Image.fromarray(picture), to_space))
    converted: list[int] = []

    def convert(values: np.ndarray, icc_profile: bytes) -> np.ndarray:
        converted.append(max(values.shape))
        return to_srgb(values, icc_profile)

    monkeypatch.setattr(colour, "to_srgb", convert)
    enhanced = enhancer.enhance_photo(Photo(pixels, icc_profile=space, format="JPEG"))
    expected = enhancer.enhance(picture)
    shown = to_srgb(enhanced.astype(np.uint8), space)
    assert np.abs(expected.astype(int) - picture).mean() > 3
    assert np.square(shown.astype(float) - expected).mean() < 2  # 45 dB; both are rounded twice
    # Little CMS converts the reduced picture alone: all pixels would take most of the time.
    assert converted == [enhancer.working_size_px]
