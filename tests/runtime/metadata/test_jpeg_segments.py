"""Segments of a JPEG go over as they are, those of Photoshop without their thumbnail."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from rave_runtime.photos.codecs.gain_map import GainMap, join_gains
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.exif import upright_exif
from rave_runtime.photos.jpeg import carry_jpeg, count_scans, jpeg_segments, photoshop_resources
from rave_runtime.photos.metadata.gain_map_facts import GainMapFacts
from rave_runtime.photos.metadata.photoshop import without_thumbnails
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import jpeg_with
from tests.runtime.metadata.carried import XMP, jpeg, photo_exif, resource

XMP_PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


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


def test_exif_that_goes_on_in_a_second_segment_stays_in_one_piece() -> None:
    """The mark's packet came between the two, which cut off what stands in the second."""
    whole = photo_exif()
    parts = [(0xE1, whole[:60]), (0xE1, b"Exif\0\0" + whole[60:])]
    second = (0xE1, photo_exif(">"))
    carried = carry_jpeg(
        jpeg_with(jpeg(), *parts, second, (0xFE, b"comment")),
        jpeg(56, 40),
        40,
        56,
        keep_icc=True,
        xmp=b"mark",
    )
    found = [payload for marker, payload in jpeg_segments(carried) if marker == 0xE1]
    assert [len(payload) for payload in found[:2]] == [len(payload) for _, payload in parts]
    assert found[0] + found[1][6:] == upright_exif(whole, 40, 56)
    assert found[2:] == [upright_exif(photo_exif(">"), 40, 56), XMP + b"mark"]


def test_a_mark_replaces_only_the_packet_that_was_read() -> None:
    packets = [(0xE1, XMP + b"first"), (0xE1, XMP + b"second")]
    carried = carry_jpeg(jpeg_with(jpeg(), *packets), jpeg(), 56, 40, keep_icc=True, xmp=b"second, marked")
    found = [payload for marker, payload in jpeg_segments(carried) if marker == 0xE1]
    assert found == [XMP + b"first", XMP + b"second, marked"]


def test_a_gain_map_is_announced_in_the_packet_that_was_read() -> None:
    facts = GainMapFacts((0.0,), (2.0,), (1.0,), 1 / 64)
    gain_map = GainMap(np.zeros((2, 2, 1), np.float32), facts, (), ())
    packets = [(0xE1, XMP + XMP_PACKET.replace(b'"4"', b'"' + rating + b'"')) for rating in (b"1", b"2")]
    joined = join_gains(jpeg_with(jpeg(), *packets), gain_map, gain_map.gains)
    assert joined is not None
    first, last = [payload for _, payload in jpeg_segments(joined) if payload.startswith(XMP)]
    assert first == packets[0][1]
    assert b"GainMap" in last
    assert b'Rating="2"' in last


def test_cameras_own_segments_of_the_first_kind_stay() -> None:
    """Old Canons keep all that they say of a photograph in APP0 (CIFF), behind JFIF or in its place."""
    ciff, of_a_program = (0xE0, b"II\x1a\0\0\0HEAPJPGM and more"), (0xEE, b"a program's own")
    source = jpeg_with(jpeg(), ciff, (0xE0, b"JFXX\0\x10 old picture"), of_a_program, (0xEE, b"Adobe\0d"))
    carried = list(jpeg_segments(carry_jpeg(source, jpeg(), 56, 40, keep_icc=True)))
    assert carried[0][1].startswith(b"JFIF\0")
    assert [each for each in carried[1:] if each[0] >= 0xE0] == [ciff, of_a_program]


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


def test_a_profile_behind_the_frames_header_is_read() -> None:
    """Other decoders read it there, too; it was called incomplete."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    whole = jpeg(icc_profile=profile)
    start = whole.index(b"\xff\xe2")
    stop = start + 2 + int.from_bytes(whole[start + 2 : start + 4], "big")
    rest = whole[:start] + whole[stop:]
    place = rest.index(b"\xff\xc4")
    photo = read_photo(rest[:place] + whole[start:stop] + rest[place:])
    assert (photo.icc_profile, photo.warnings) == (profile, ())
