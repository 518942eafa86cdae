"""Grey profiles stay with grey pixels; a result in colour gets one for colour that shows the same."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from rave_runtime.photos.colour import convert_to_srgb
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.metadata.grey_profile import is_grey_profile, rgb_of_grey_profile
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import scene
from tests.runtime.zoo.animal import GREY, HAS_HEIF


def grey_profile(curve: bytes, space: bytes = b"XYZ ") -> bytes:
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(79)
    tags = {b"desc": text, b"wtpt": white, b"kTRC": curve, b"cprt": b"text" + bytes(4) + b"free\0\0\0\0"}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", tag, start + len(body), len(data))
        body += data
    head = bytearray(128)
    head[:24] = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02100000, b"mntr", b"GRAY", space)
    head[36:40] = b"acsp"
    head[68:80] = struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return bytes(head) + struct.pack(">I", len(tags)) + table + body


GAMMA = b"curv" + bytes(4) + struct.pack(">IH", 1, int(1.4 * 256)) + bytes(2)
TABLE = b"curv" + bytes(4) + struct.pack(">I5H", 5, 0, 3000, 16000, 39000, 65535)


def shown(pixels: np.ndarray, profile: bytes, mode: str) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    return np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), transform))


@pytest.mark.parametrize("curve", [GAMMA, TABLE], ids=["gamma", "table"])
@pytest.mark.parametrize("space", [b"XYZ ", b"Lab "])
def test_a_grey_profile_becomes_one_for_colour_that_shows_the_same(space: bytes, curve: bytes) -> None:
    grey = grey_profile(curve, space)
    profile = rgb_of_grey_profile(grey)
    assert profile is not None
    ramp = np.arange(256, dtype=np.uint8)[None]
    as_colour = shown(np.repeat(ramp[..., None], 3, 2), profile, "RGB")
    as_grey = shown(ramp, grey, "L")
    assert np.abs(as_colour.astype(int) - as_grey).max() <= 2
    assert np.ptp(as_colour.astype(int), axis=2).max() <= 1, "grey stays grey"


@pytest.mark.parametrize("curve", [b"curv" + bytes(8), GAMMA, TABLE], ids=["straight", "gamma", "table"])
@pytest.mark.parametrize("space", [b"XYZ ", b"Lab "])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_is_converted_to_srgb_as_its_profile_says(dtype: type, space: bytes, curve: bytes) -> None:
    """A curve that leads to lightness was taken for one that leads to light."""
    grey = grey_profile(curve, space)
    step = np.iinfo(dtype).max // 255
    ramp = np.arange(256, dtype=np.uint8)[None]
    converted = convert_to_srgb(ramp[..., None].astype(dtype) * step, grey)
    off = np.abs(converted[..., 0] / step - shown(ramp, grey, "L")[..., 0])
    assert off[:, 8:].max() <= 2, "Little CMS draws a straight line through the darkest values"


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "HEIF", "TIFF", "PNG", "JPEG"])
@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (2, np.uint8), (2, np.uint16)])
def test_no_result_in_colour_has_a_grey_profile(channels: int, dtype: type, format: str) -> None:
    if format == "HEIF" and not HAS_HEIF:
        pytest.skip("pillow-heif is not installed")
    if dtype is np.uint16 and format in ("PNG", "TIFF"):
        pytest.importorskip("imagecodecs")
        pytest.importorskip("tifffile")
    pixels = scene(channels=channels, dtype=dtype).reshape(40, 56, channels)
    photo = Photo(
        pixels[..., :1], "PNG", pixels[..., 1] if channels == 2 else None, icc_profile=grey_profile(GAMMA)
    )
    encoded = encode_photo(photo, photo.pixels, format)
    again = read_photo(encoded.content)
    assert again.icc_profile is not None
    assert is_grey_profile(again.icc_profile) == (again.pixels.shape[2] == 1)
    damaged = Photo(photo.pixels, "PNG", photo.alpha, icc_profile=grey_profile(b"what" + bytes(8)))
    encoded = encode_photo(damaged, damaged.pixels, format)
    dropped = f"its grey profile was left out: {format} stores this picture as colour" in encoded.warnings
    assert dropped == (again.pixels.shape[2] == 3)


def test_grey_pixels_keep_their_profile() -> None:
    photo = Photo(GREY[..., None], "PNG", icc_profile=grey_profile(TABLE))
    assert read_photo(encode_photo(photo, photo.pixels, "TIFF").content).icc_profile == grey_profile(TABLE)
    assert rgb_of_grey_profile(b"short") is None


def test_grey_pixels_that_are_read_as_colour_get_a_profile_for_colour() -> None:
    """10-bit grey beside transparency lost its tone curve, since decoders give it as colour."""
    pillow_heif = pytest.importorskip("pillow_heif")
    levels = np.tile(np.arange(64, dtype=np.uint16) * 1000, (64, 1))
    heif = pillow_heif.from_bytes("LA;16", (64, 64), np.dstack([levels, levels.T]).tobytes())
    file = io.BytesIO()
    heif.save(file, format="HEIF", icc_profile=grey_profile(GAMMA))
    photo = read_photo(file.getvalue())
    assert photo.pixels.shape[2] == 3
    assert photo.icc_profile == rgb_of_grey_profile(grey_profile(GAMMA))
    assert photo.pixels.dtype == np.uint16
    assert photo.warnings == ()


def test_a_lightness_profile_may_state_its_curve_by_parameters() -> None:
    parametric = b"para" + bytes(4) + struct.pack(">HHi", 0, 0, round(1.4 * 65536))
    grey, same = grey_profile(parametric, b"Lab "), grey_profile(GAMMA, b"Lab ")
    profile, expected = rgb_of_grey_profile(grey), rgb_of_grey_profile(same)
    assert profile is not None
    assert expected is not None
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    apart = shown(ramp, profile, "RGB").astype(int) - shown(ramp, expected, "RGB")
    assert np.abs(apart).max() <= 1
