"""Metadata carried byte by byte, corrected only where it would be wrong."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.exif import orientation_of, upright_exif, without_orientation
from rave_runtime.photos.headers.coding import is_lossless_webp
from rave_runtime.photos.jpeg import carry_jpeg, count_scans, jpeg_segments, photoshop_resources
from rave_runtime.photos.metadata.photoshop import without_thumbnails
from rave_runtime.photos.png import (
    carry_png,
    chunks,
    missing_bytes,
    png_blocks,
    without_chunks,
)
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.xmp import further_pictures, upright_xmp
from tests.runtime.handmade import exif, inner_exif, jpeg_with, png, png_chunk, scene

XMP = b"http://ns.adobe.com/xap/1.0/\0"
NOTE = b"MakerNote with offsets: " + bytes(range(256))
THUMBNAIL = b"\xff\xd8 the old picture \xff\xd9"


def jpeg(height: int = 40, width: int = 56, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scene(height, width)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def photo_exif(order: str = "<", orientation: int = 6) -> bytes:
    inner = inner_exif(56, 40, NOTE, 8 + 2 + 12 * 2 + 4, order)
    return exif({0x0112: (3, orientation)}, order, inner, THUMBNAIL)


def resource(number: int, data: bytes, name: bytes = b"") -> bytes:
    title = bytes([len(name)]) + name
    head = b"8BIM" + struct.pack(">H", number) + title + bytes(len(title) % 2)
    return head + struct.pack(">I", len(data)) + data + bytes(len(data) % 2)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"])
def test_only_what_would_be_wrong_changes_in_exif(order: str, prefix: bytes) -> None:
    before = prefix + photo_exif(order)[6:]
    assert orientation_of(before, None) == 6
    after = upright_exif(before, 40, 56)
    assert len(after) == len(before)
    assert after.index(NOTE) == before.index(NOTE)
    assert THUMBNAIL not in after
    read = Image.Exif()
    read.load(after)
    assert read[0x0112] == 1
    inner = read.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003], inner[0x927C]) == (40, 56, NOTE)
    assert not read.get_ifd(1)
    assert sum(a != b for a, b in zip(before, after, strict=True)) <= len(THUMBNAIL) + 8


@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08"]))
def test_no_exif_breaks_the_reading(data: bytes, head: bytes) -> None:
    block = head + data
    assert orientation_of(block, None) in range(1, 9)
    upright = upright_exif(block, 5, 7)
    assert len(upright) == len(block)
    assert orientation_of(upright, None) == 1


@given(st.integers(0, 400), st.integers(0, 255))
def test_damaged_exif_keeps_its_length(place: int, value: int) -> None:
    block = bytearray(photo_exif())
    block[place % len(block)] = value
    assert len(upright_exif(bytes(block), 5, 7)) == len(block)


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


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_orientation_is_taken_out_and_all_else_keeps_its_place(order: str) -> None:
    whole = photo_exif(orientation=6, order=order)
    without = without_orientation(whole)
    assert len(without) == len(whole)
    assert without.index(NOTE) == whole.index(NOTE)
    tags, fewer = Image.Exif(), Image.Exif()
    tags.load(whole)
    fewer.load(without)
    assert tags.pop(0x0112) == 6
    assert dict(fewer) == dict(tags)
    assert fewer.get_ifd(0x8769) == tags.get_ifd(0x8769)
    assert without_orientation(without) == without
    assert without_orientation(b"Exif\0\0II*\0") == b"Exif\0\0II*\0"


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


@pytest.mark.parametrize("animated", [False, True])
@pytest.mark.parametrize("lossless", [False, True])
def test_webp_tells_whether_it_is_lossless(lossless: bool, animated: bool) -> None:
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": [Image.fromarray(255 - scene())]} if animated else {}
    Image.fromarray(scene()).save(buffer, "WEBP", lossless=lossless, exif=photo_exif(), **more)
    assert is_lossless_webp(buffer.getvalue()) == lossless
    assert not is_lossless_webp(buffer.getvalue()[:20])


def itxt(xmp: bytes, *, packed: bool) -> bytes:
    return b"XML:com.adobe.xmp\0" + (b"\1\0\0\0" + zlib.compress(xmp) if packed else b"\0\0\0\0" + xmp)


@pytest.mark.parametrize("packed", [False, True])
def test_a_pngs_chunks_go_over_as_they_are(packed: bool) -> None:
    xmp = b'<x tiff:Orientation="6"/>'
    kept = [
        (b"iCCP", b"name\0\0" + zlib.compress(b"profile")),
        (b"pHYs", struct.pack(">IIB", 11811, 11811, 1)),
        (b"tEXt", b"Title\0Grat\xfc"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"long")),
        (b"tIME", b"\x07\xe8\1\1\0\0\0"),
        (b"iTXt", itxt(xmp, packed=packed)),
        (b"eXIf", photo_exif()[6:]),
    ]
    dropped = [(b"tRNS", bytes(6)), (b"sBIT", b"\5\5\5"), (b"vpAg", bytes(9))]
    source = png(scene(), 2, before=b"".join(png_chunk(*chunk) for chunk in kept + dropped))
    blocks = png_blocks(source)
    assert (blocks.icc_profile, blocks.exif, blocks.xmp) == (b"profile", photo_exif()[6:], xmp)
    found = list(chunks(carry_png(source, png(scene(56, 40), 2), 40, 56, keep_icc=True)))
    assert found[0][0] == b"IHDR"
    assert found[-1][0] == b"IEND"
    expected = [*kept[:5], (b"iTXt", itxt(xmp.replace(b"6", b"1"), packed=False))]
    assert found[1:-2] == [*expected, (b"eXIf", upright_exif(photo_exif()[6:], 40, 56))]
    plain = dict(chunks(carry_png(source, png(scene(), 2), 40, 56, keep_icc=False)))
    assert b"iCCP" not in plain
    bare = without_chunks(source)
    gone = {b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"}
    assert [kind for kind, _ in chunks(bare)] == [kind for kind, _ in chunks(source) if kind not in gone]
    assert without_chunks(bare) is bare


@pytest.mark.parametrize(
    "stated",
    [
        (b"cICP", b"\x0c\x0d\0\1"),
        (b"gAMA", struct.pack(">I", 100_000)),
        (b"cHRM", struct.pack(">8I", *range(31000, 31008))),
        (b"sRGB", b"\1"),
    ],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_colour_that_is_stated_without_a_profile_stays_stated(stated: tuple[bytes, bytes], bits: int) -> None:
    if bits == 16:
        pytest.importorskip("imagecodecs")
    pixels = scene(dtype=np.uint16 if bits == 16 else np.uint8)
    photo = read_photo(png(pixels, 2, bits, before=png_chunk(*stated)))
    assert stated in chunks(encode_photo(photo, photo.pixels, "PNG").content)


@given(st.binary(max_size=120), st.sampled_from([b"iCCP", b"iTXt", b"eXIf", b"IDAT"]))
def test_no_png_breaks_the_carrying(data: bytes, kind: bytes) -> None:
    for source in (png(scene(4, 4), 2, before=png_chunk(kind, data)), png(scene(4, 4), 2)[:40] + data):
        png_blocks(source)
        without_chunks(source)
        target = png(scene(4, 4), 2)
        assert carry_png(source, target, 4, 4, keep_icc=True).endswith(target[33:])


def test_profiles_and_xmp_that_unpack_beyond_measure_count_as_absent() -> None:
    bomb = zlib.compress(bytes((1 << 24) + 1), 9)
    before = png_chunk(b"iCCP", b"x\0\0" + bomb) + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)
    blocks = png_blocks(png(scene(), 2, before=before))
    assert (blocks.icc_profile, blocks.xmp) == (None, None)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (5, 1), (9, 8), (40, 56)])
def test_missing_pixels_of_a_png_are_counted(height: int, width: int, interlaced: bool) -> None:
    for colour, channels, bits in ((0, 1, 1), (0, 1, 4), (2, 3, 8), (6, 4, 16)):
        pixels = np.zeros((height, width, channels) if channels > 1 else (height, width), np.uint16)
        assert missing_bytes(png(pixels, colour, bits, interlaced=interlaced)) == 0
        taller = png(pixels, colour, bits, interlaced=interlaced, size=(width, height + 1))
        assert missing_bytes(taller) > 0


def test_stray_bytes_between_segments_lose_nothing() -> None:
    """Decoders go on to the next marker, and so does the carrying of metadata."""
    whole = jpeg_with(jpeg(), (0xFE, b"comment"), (0xED, b"Photoshop 3.0\0" + resource(0x0404, b"caption")))
    at = whole.index(b"\xff\xed")
    stray = whole[:at] + b"\0\x12\xff\x00\xff\xd0" + whole[at:]
    assert list(jpeg_segments(stray)) == list(jpeg_segments(whole))
    assert list(jpeg_segments(whole[:at] + b"nothing more")) == list(jpeg_segments(whole[:at]))
    assert photoshop_resources(stray) == resource(0x0404, b"caption")
    assert photoshop_resources(jpeg()) is None


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_recorded_size_in_the_first_directory_is_turned_too(order: str) -> None:
    before = exif({0x0100: (4, 56), 0x0101: (3, 40), 0x0112: (3, 6)}, order)
    after = exif({0x0100: (4, 40), 0x0101: (3, 56), 0x0112: (3, 1)}, order)
    assert upright_exif(before, 40, 56) == after


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


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_an_avifs_exif_is_read_as_its_file_has_it() -> None:
    """Pillow writes it anew where it and the container differ on the orientation."""
    block = photo_exif()
    buffer = io.BytesIO()
    Image.fromarray(scene()).save(buffer, "AVIF", exif=without_orientation(block))
    content = buffer.getvalue().replace(without_orientation(block)[6:], block[6:])
    assert block[6:] in content
    photo = read_photo(content)
    assert photo.pixels.shape == (40, 56, 3), "the container says that it is upright"
    assert photo.exif is not None
    assert photo.exif.removeprefix(b"Exif\0\0") == upright_exif(block, 56, 40)[6:]
    for orientation in (3, 6):
        buffer = io.BytesIO()
        Image.fromarray(scene()).save(buffer, "AVIF", exif=photo_exif(orientation=orientation))
        turned = read_photo(buffer.getvalue())
        assert turned.pixels.shape[:2] == ((56, 40) if orientation == 6 else (40, 56))
        assert NOTE in (turned.exif or b"")


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow has no JPEG 2000")
def test_a_jpeg_2000_keeps_its_exif_and_xmp_as_png() -> None:
    buffer = io.BytesIO()
    Image.fromarray(scene()).save(buffer, "JPEG2000")
    xmp = b'<x tiff:Orientation="6"/>'
    content = buffer.getvalue()
    for user_type, data in (
        (b"JpgTiffExif->JP2", photo_exif()[6:]),
        (bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), xmp),
    ):
        content += struct.pack(">I4s", 24 + len(data), b"uuid") + user_type + data
    photo = read_photo(content)
    assert photo.pixels.shape == (56, 40, 3)
    again = read_photo(encode_photo(photo, photo.pixels, "PNG").content)
    assert NOTE in (again.exif or b"")
    assert again.xmp == xmp.replace(b"6", b"1")
    assert orientation_of(again.exif, again.xmp) == 1
