"""Colours stated by numbers, in nclx, cICP and the bits of AV1; HDR is refused by name."""

from __future__ import annotations

import struct

import pytest

from rave_runtime.errors import PhotoError
from rave_runtime.photos.colour import is_srgb
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.headers.av1 import colour_numbers
from rave_runtime.photos.headers.boxes import photograph_data
from rave_runtime.photos.headers.stated_colour import profile_of_numbers, stated_profile
from rave_runtime.photos.reading import read_photo
from tests.runtime.colours.stated import P3, heif_only, png, saved, with_numbers


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
@pytest.mark.parametrize("numbers", [(12, 13), (9, 1), (9, 14), (11, 13), (1, 8), (12, 2)])
def test_numbers_become_a_profile_that_every_format_takes_along(
    format: str, numbers: tuple[int, int]
) -> None:
    heif_only(format)
    photo = read_photo(with_numbers(saved(format, quality=90), *numbers))
    assert photo.icc_profile == profile_of_numbers(*numbers, grey=False)
    assert not is_srgb(photo.icc_profile)
    for target in (format, "PNG", "JPEG", "TIFF", "WEBP", "BMP"):
        again = read_photo(encode_photo(photo, photo.pixels, target).content)
        assert again.icc_profile == photo.icc_profile, target


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
@pytest.mark.parametrize("numbers", [(1, 13), (2, 2), (1, 2), (2, 13)])
def test_srgb_by_numbers_needs_no_profile(format: str, numbers: tuple[int, int]) -> None:
    heif_only(format)
    assert read_photo(with_numbers(saved(format), *numbers)).icc_profile is None


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_by_name(format: str, transfer: int, name: str) -> None:
    heif_only(format)
    with pytest.raises(PhotoError, match=rf"HDR picture \({name}\).*export it without HDR"):
        read_photo(with_numbers(saved(format), 9, transfer))
    with pytest.raises(PhotoError, match=name):
        read_photo(png((b"cICP", bytes([9, transfer, 0, 1])), (b"sRGB", b"\0")))


def test_hdr_profiles_are_refused_by_name() -> None:
    data = b"cicp\0\0\0\0\x09\x10\0\1"
    profile = bytearray(P3)
    count = int.from_bytes(profile[128:132], "big")
    at = next(place for place in range(132, 132 + 12 * count, 12) if profile[place : place + 4] == b"chad")
    profile[at : at + 12] = struct.pack(">4sII", b"cicp", len(profile), len(data))
    profile += data
    profile[:4] = struct.pack(">I", len(profile))
    for name in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF"):
        with pytest.raises(PhotoError, match="PQ"):
            read_photo(saved(name, icc_profile=bytes(profile)))


def test_unknown_numbers_are_refused() -> None:
    with pytest.raises(PhotoError, match=r"primaries 10, transfer 13.*Display P3 or sRGB"):
        read_photo(png((b"cICP", b"\x0a\x0d\0\1")))
    with pytest.raises(PhotoError, match="limited"):
        read_photo(png((b"cICP", b"\x09\x01\0\0")))


def test_an_avif_without_the_box_has_its_numbers_in_the_bits() -> None:
    """libavif writes them into both; the box gets another name, so that only the bits speak."""
    content = saved("AVIF", quality=60)
    numbers = colour_numbers(photograph_data(content))
    assert numbers == (1, 13)
    bits = bytearray(content)
    at = content.index(photograph_data(content)[:12])
    place = next(i for i in range(8 * at, 8 * at + 400) if field(content, i) == (1 << 16 | 13 << 8 | 6))
    for step in range(8):  # primaries 1 become 12
        number = 12 >> (7 - step) & 1
        index, shift = divmod(place + step, 8)
        bits[index] = bits[index] & ~(1 << (7 - shift)) | number << (7 - shift)
    stated = stated_profile("AVIF", bytes(bits).replace(b"colrnclx", b"freenclx"), None, None, grey=False)
    assert stated == P3


def field(content: bytes, bit: int) -> int:
    """24 bits from a place on."""
    whole = int.from_bytes(content[bit // 8 : bit // 8 + 4], "big")
    return whole >> (8 - bit % 8) & 0xFFFFFF
