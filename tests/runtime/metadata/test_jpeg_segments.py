"""Segments of a JPEG go over as they are, those of Photoshop without their thumbnail."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.exif import upright_exif
from rave_runtime.photos.jpeg import carry_jpeg, count_scans, jpeg_segments, photoshop_resources
from rave_runtime.photos.metadata.photoshop import without_thumbnails
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import jpeg_with
from tests.runtime.metadata.carried import XMP, jpeg, photo_exif, resource


def test_a_jpegs_segments_go_over_as_they_are() -> None:
    iptc = resource(0x0404, b"caption", b"name")
    photoshop = b"Photoshop 3.0\0" + iptc
    segments = [
        (0xE1, photo_exif()),
        (0xE1, XMP + b'<x tiff:Orientation="6"/>'),
        (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(500)),
        (0xE2, b"ICC_PROFILE\0\1\1profile"),
        (0xE2, b"MPF\0index of pictures that are gone"),
        (0xED, b"Photoshop 3.0\0" + resource(0x040C, b"old picture") + iptc),
        (0xFE, b"first comment"),
        (0xEB, b"JP whatever"),
        (0xFE, "zweiter Kommentar ü".encode()),
    ]
    source = jpeg_with(jpeg(dpi=(300, 200)), *segments)
    carried = carry_jpeg(source, jpeg(56, 40), 40, 56, keep_icc=True)
    found = [segment for segment in jpeg_segments(carried) if segment[0] >= 0xE1]
    expected = list(segments)
    expected[0] = (0xE1, upright_exif(photo_exif(), 40, 56))
    expected[1] = (0xE1, XMP + b'<x tiff:Orientation="1"/>')
    expected[5] = (0xED, photoshop)
    del expected[4]
    assert found == expected
    with Image.open(io.BytesIO(carried)) as image:
        image.load()
        assert image.size == (40, 56)
        assert image.info["dpi"] == (300, 200)
    plain = carry_jpeg(source, jpeg(56, 40), 40, 56, keep_icc=False)
    assert b"ICC_PROFILE" not in plain


@given(st.binary(max_size=120))
def test_no_jpeg_breaks_the_carrying(data: bytes) -> None:
    target = jpeg(8, 8)
    carried = carry_jpeg(b"\xff\xd8" + data, target, 8, 8, keep_icc=True)
    assert carried.endswith(target[20:])


def test_photoshops_damaged_resources_stay() -> None:
    whole = resource(0x0409, b"old") + resource(0x0404, b"text!")
    assert without_thumbnails(whole) == resource(0x0404, b"text!")
    assert without_thumbnails(whole[:-1]) == resource(0x0404, b"text!")[:-1]
    for damaged in (whole[:-3], whole[:9], b"8BIM", b"other", b""):
        assert without_thumbnails(damaged) == damaged


def test_scans_are_counted_to_the_end_of_the_picture() -> None:
    film = b"\xff\xda" * 1000
    assert count_scans(jpeg() + film) == 1
    assert count_scans(jpeg(progressive=True) + film) == 10
    assert count_scans(jpeg_with(jpeg(), (0xFE, film))) == 1
    assert count_scans(b"") == 0


def test_stray_bytes_between_segments_lose_nothing() -> None:
    """Decoders go on to the next marker, and so does the carrying of metadata."""
    whole = jpeg_with(jpeg(), (0xFE, b"comment"), (0xED, b"Photoshop 3.0\0" + resource(0x0404, b"caption")))
    at = whole.index(b"\xff\xed")
    stray = whole[:at] + b"\0\x12\xff\x00\xff\xd0" + whole[at:]
    assert list(jpeg_segments(stray)) == list(jpeg_segments(whole))
    assert list(jpeg_segments(whole[:at] + b"nothing more")) == list(jpeg_segments(whole[:at]))
    assert photoshop_resources(stray) == resource(0x0404, b"caption")
    assert photoshop_resources(jpeg()) is None


@pytest.mark.parametrize(("number", "count"), [(1, 2), (2, 2)])
def test_a_profile_of_which_a_part_is_missing_is_missed_aloud(number: int, count: int) -> None:
    """It was left out without a word."""
    segment = b"ICC_PROFILE\0" + bytes([number, count]) + b"a part of a profile"
    photo = read_photo(jpeg_with(jpeg(), (0xE2, segment)))
    assert photo.icc_profile is None
    assert photo.warnings == ("its colour profile is incomplete and was left out",)
    assert b"ICC_PROFILE" not in encode_photo(photo, photo.pixels, "JPEG").content
    assert read_photo(jpeg_with(jpeg(), (0xE2, b"FPXR\0"))).warnings == ()
