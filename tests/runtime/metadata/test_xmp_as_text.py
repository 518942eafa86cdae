"""XMP that is no whole packet is corrected as text, only where it would be wrong."""

from __future__ import annotations

import pytest

from rave_runtime.photos.exif import orientation_of
from rave_runtime.photos.jpeg import carry_jpeg, jpeg_segments
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.xmp import further_pictures, upright_xmp
from tests.runtime.handmade import jpeg_with
from tests.runtime.metadata.carried import XMP, jpeg, photo_exif


def test_xmp_is_upright_without_thumbnail() -> None:
    thumbnails = b"<xmp:Thumbnails>old</xmp:Thumbnails>"
    before = b'<a tiff:Orientation="6" b="6"><tiff:Orientation> 8 </tiff:Orientation>' + thumbnails + b"</a>"
    after = b'<a tiff:Orientation="1" b="6"><tiff:Orientation> 1 </tiff:Orientation></a>'
    assert upright_xmp(before, 56, 40) == after
    assert orientation_of(None, before) == 6
    assert orientation_of(None, after) == 1
    assert orientation_of(photo_exif(orientation=3), before) == 3
    assert upright_xmp(b"<xmp:Thumbnails>" * 10000, 56, 40) == b"<xmp:Thumbnails>" * 10000


def test_sizes_in_xmp_are_those_of_the_upright_picture() -> None:
    before = (
        b'<a tiff:ImageWidth="427" tiff:ImageLength=\'640\' exif:PixelXDimension = "427"/>'
        b"<exif:PixelYDimension> 640 </exif:PixelYDimension><tiff:ImageWidthOf>427</tiff:ImageWidthOf>"
    )
    after = (
        b'<a tiff:ImageWidth="640" tiff:ImageLength=\'427\' exif:PixelXDimension = "640"/>'
        b"<exif:PixelYDimension> 427 </exif:PixelYDimension><tiff:ImageWidthOf>427</tiff:ImageWidthOf>"
    )
    assert upright_xmp(before, 640, 427) == after


def test_a_gain_map_that_is_left_behind_is_promised_no_more() -> None:
    def item(semantic: str) -> bytes:
        entry = f'<Container:Item Item:Semantic="{semantic}" Item:Length="9"/>'
        return f'<rdf:li rdf:parseType="R"> {entry}</rdf:li>'.encode()

    head = b'<x xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
    before = head + b' hdrgm:Version="1.0" a="1">' + item("Primary") + item("GainMap") + item("MotionPhoto")
    after = head + b' a="1">' + item("Primary")
    assert upright_xmp(before, 56, 40) == after
    source = jpeg_with(jpeg(), (0xE1, XMP + before), (0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"))
    carried = dict(jpeg_segments(carry_jpeg(source, jpeg(), 56, 40, keep_icc=True)))
    assert carried[0xE1] == XMP + after
    assert 0xE2 not in carried


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (b'<x GCamera:MotionPhoto="1"/>', b'<x GCamera:MotionPhoto="0"/>'),
        (b"<x Camera:MicroVideo = '1' b='1'/>", b"<x Camera:MicroVideo = '0' b='1'/>"),
        (b"<GCamera:MotionPhoto>1</GCamera:MotionPhoto>", b"<GCamera:MotionPhoto>0</GCamera:MotionPhoto>"),
    ],
)
def test_a_film_that_is_left_behind_is_promised_no_more(said: bytes, left: bytes) -> None:
    assert upright_xmp(said, 56, 40) == left
    photo = read_photo(jpeg_with(jpeg(), (0xE1, XMP + said)) + b"\0\0\0\x18ftypmp42 the film")
    assert photo.xmp == left
    assert photo.warnings == ("its film (motion photo) was left behind",)
    assert further_pictures(said) == ("MotionPhoto",)
    assert further_pictures(left) == ()
