"""What stands behind or beside a photograph is said by name, and is not in the result."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from rave_runtime import PhotoError
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.jpeg import end_of_jpeg
from rave_runtime.photos.metadata.directories import Directory, Value, write_block
from rave_runtime.photos.metadata.left_behind import name_left_behind, note_left_behind
from rave_runtime.photos.png import end_of_png
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import jpeg_with, png
from tests.runtime.metadata.trailers import JPEG, heif_box
from tests.runtime.zoo.animal import HAS_HEIF, RGB, save

FAULTS = Path(__file__).parents[4] / "shared" / "data" / "faults"
FILM = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(200)


def samsung(*names: str) -> bytes:
    """A trailer as Samsung's cameras write it."""
    blocks, directory = b"", b""
    for name in names:
        blocks += struct.pack("<HHI", 0, 0x0A30, len(name)) + name.encode() + b"the data"
    back = len(blocks)
    for name in names:
        size = 8 + len(name) + 8
        directory += struct.pack("<HHII", 0, 0x0A30, back, size)
        back -= size
    head = b"SEFH" + struct.pack("<II", 106, len(names)) + directory
    return blocks + head + struct.pack("<I", len(head)) + b"SEFT"


def multi_picture(*kinds: int) -> bytes:
    entries = b"".join(struct.pack("<IIIHH", kind, 100, 0, 0, 0) for kind in (0x030000, *kinds))
    tree: Directory = {0xB000: Value(7, 4, b"0100"), 0xB002: Value(7, len(entries), entries)}
    return b"MPF\0" + write_block(tree, "<")[0]


@pytest.mark.parametrize(
    ("behind", "words"),
    [
        (FILM, "its film (motion photo) was left behind"),
        (bytes(24) + FILM, "its film (motion photo) was left behind"),
        (
            samsung("Image_UTC_Data", "MotionPhoto_Data"),
            "its film (motion photo) and Samsung trailer (Image_UTC_Data) were left behind",
        ),
        (samsung("SoundShot_000"), "its sound was left behind"),
        (samsung("DualShot_DepthMap_1"), "its depth map was left behind"),
        (b"no directory SEFT", "its Samsung trailer was left behind"),
        (JPEG, "its further picture was left behind"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(20), "its sound was left behind"),
        (b"PK\3\4" + bytes(40), "its ZIP archive was left behind"),
        (b"something else", "its trailing data of an unknown kind (14 bytes) was left behind"),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_what_stands_behind_is_said_by_name_and_left_behind(format: str, behind: bytes, words: str) -> None:
    content = save(RGB, format) + behind
    photo = read_photo(content)
    assert photo.warnings == (words,)
    result = encode_photo(photo, photo.pixels, format).content
    assert behind[:40] not in result[len(result) // 2 :]
    assert read_photo(result).warnings == ()


MOVIE = FILM[:24] + b"\0\0\0\x08free" + b"\0\0\0\x10moov" + bytes(8)


@pytest.mark.parametrize("format", ["TIFF", "BMP", "GIF", "PPM", "JPEG2000"])
@pytest.mark.parametrize("gap", [0, 1, 40])
def test_a_film_behind_a_picture_that_does_not_say_where_it_ends_is_named(format: str, gap: int) -> None:
    content = save(RGB, format)
    before = read_photo(content).warnings
    if format == "JPEG2000" and gap == 0:  # whose decoder takes the film's boxes for its own
        with pytest.raises(PhotoError):
            read_photo(content + MOVIE)
        return
    photo = read_photo(content + bytes(gap) + MOVIE)
    assert photo.warnings == (*before, "its film (motion photo) was left behind")
    assert read_photo(content + b"ftypisom is a word" + FILM[4:30]).warnings == before


@pytest.mark.parametrize("blank", [b"", b"\0" * 40, b"\xff\xff", b"\r\n"])
def test_blanks_behind_a_picture_are_nothing(blank: bytes) -> None:
    for content in (JPEG, png(RGB, 2)):
        assert read_photo(content + blank).warnings == ()


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ((0x010001,), "its preview was left behind"),
        ((0x010002, 0x020002), "its preview and second view were left behind"),
        ((0x020001, 0x020001), "its panorama frame was left behind"),
        ((0,), "its further picture was left behind"),
    ],
)
def test_pictures_of_the_index_are_said_by_name(kinds: tuple[int, ...], words: str) -> None:
    photo = read_photo(jpeg_with(JPEG, (0xE2, multi_picture(*kinds))))
    assert photo.warnings == (words,)
    assert b"MPF\0" not in encode_photo(photo, photo.pixels, "JPEG").content


def test_a_further_picture_that_has_a_name_is_not_said_twice() -> None:
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version="1.0"/>'
    content = jpeg_with(
        JPEG, (0xE1, xmp), (0xE2, multi_picture(0)), (0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")
    )
    photo = read_photo(content + JPEG)
    assert photo.warnings == ("its HDR gain map was left behind",)
    result = encode_photo(photo, photo.pixels, "JPEG").content
    assert b"hdrgm:Version" not in result
    assert read_photo(result).warnings == ()


@pytest.mark.parametrize("kinds", [(0, 0), (0, 0, 0)])
def test_a_further_picture_beside_a_gain_map_is_said(kinds: tuple[int, ...]) -> None:
    """The gain map is one picture of the index; the other went without a word."""
    gain_map = (0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")
    names = name_left_behind("JPEG", jpeg_with(JPEG, gain_map, (0xE2, multi_picture(*kinds))), None)
    assert names == ("HDR gain map", "further picture")


@pytest.mark.parametrize(
    ("inside", "behind", "names"),
    [
        (b"urn:mpeg:hevc:2015:auxid:2\0", b"", ("depth map",)),
        (b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth\0", b"", ("depth map",)),
        (b"urn:com:apple:photo:2020:aux:hdrgainmap\0", b"", ("HDR gain map",)),
        (b"urn:com:apple:photo:2018:aux:portraiteffectsmatte\0", b"", ("portrait or skin matte",)),
        (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"", ()),
        (b"urn:example:other\0", b"", ("further picture (urn:example:other)",)),
        (b"", heif_box(b"mpvd", FILM), ("film (motion photo)",)),
        (b"", FILM, ("film (motion photo)",)),
        (b"", samsung("MotionPhoto_Data"), ("film (motion photo)",)),
        (b"", heif_box(b"sefd", samsung("SoundShot_000")), ("sound",)),
    ],
)
@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_pictures_beside_one_in_heif_are_said_by_name(
    format: str, inside: bytes, behind: bytes, names: tuple[str, ...]
) -> None:
    auxiliary = heif_box(b"auxC", bytes(4) + inside) if inside else b""
    content = heif_box(b"ftyp", b"heic\0\0\0\0mif1") + heif_box(b"meta", bytes(4) + auxiliary) + behind
    assert name_left_behind(format, content, None) == names


@pytest.mark.parametrize("version", [2, 3])
def test_a_tone_map_is_a_gain_map(version: int) -> None:
    item = heif_box(b"infe", bytes([version, 0, 0, 0]) + bytes(4 if version == 2 else 6) + b"tmap\0")
    content = heif_box(b"ftyp", b"avif\0\0\0\0mif1") + heif_box(b"meta", bytes(4) + item)
    assert name_left_behind("AVIF", content, None) == ("HDR gain map",)


@given(
    st.binary(max_size=200), st.sampled_from(["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF"]), st.booleans()
)
def test_nothing_breaks_the_naming(data: bytes, format: str, is_samsung: bool) -> None:
    name_left_behind(format, data + (b"SEFT" if is_samsung else b""), None)
    name_left_behind(format, JPEG + data + struct.pack("<I", len(data)) + b"SEFT", data)
    assert 0 <= end_of_jpeg(data) <= len(data) + 2
    assert end_of_png(data) <= len(data)


@pytest.mark.skipif(not FAULTS.exists(), reason="needs ../shared/data/faults")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("06-samsung-film-in-trailer.jpg", "its film (motion photo) was left behind"),
        ("08-heic-depth.heic", "its depth map was left behind"),
    ],
)
def test_the_samples_of_public_reports(name: str, words: str) -> None:
    if name.endswith("heic") and not HAS_HEIF:
        pytest.skip("pillow-heif is not installed")
    assert words in read_photo(FAULTS / name).warnings


@pytest.mark.parametrize(
    "box",
    [
        heif_box(b"uuid", bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03") + b"II*\0\x08\0\0\0\0\0"),
        heif_box(b"asoc", heif_box(b"lbl ", b"gml.data")),
    ],
    ids=["GeoTIFF", "GML"],
)
def test_the_place_of_a_jpeg_2000_on_a_map_is_named(box: bytes) -> None:
    plain = save(RGB, "JPEG2000")
    assert not read_photo(plain).warnings
    start = plain.index(b"jp2c") - 4
    photo = read_photo(plain[:start] + box + plain[start:])
    assert photo.warnings == ("its place on a map (GeoTIFF or GML) was left behind",)


def test_a_crop_that_is_not_applied_is_said() -> None:
    """libheif applies the crop of a HEIC. Pillow gives the whole picture of an AVIF."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    content = save(RGB, "AVIF", exif=exif)
    assert not note_left_behind("AVIF", content, None)
    cropped = content.replace(b"irot", b"clap")
    assert note_left_behind("AVIF", cropped, None) == ("its crop was left out: the whole picture was taken",)
