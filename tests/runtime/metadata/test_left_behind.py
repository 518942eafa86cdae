"""What stands behind or beside a photograph is said by name, and is not in the result."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

from rave_runtime import PhotoError
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.jpeg import end_of_jpeg, jpeg_segments
from rave_runtime.photos.metadata.directories import Directory, DirectoryReader, Value, write_block
from rave_runtime.photos.metadata.grey_profile import is_grey_profile, rgb_of_grey_profile
from rave_runtime.photos.metadata.left_behind import name_left_behind
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.png import chunks, end_of_png
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import exif, inner_exif, jpeg_with, png, png_chunk, scene
from tests.runtime.zoo.animal import GREY, HAS_HEIF, RGB, save

FAULTS = Path(__file__).parents[4] / "shared" / "data" / "faults"
JPEG = save(RGB, "JPEG")
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


def heif_box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data


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


# --- Content Credentials ---------------------------------------------------------------------------------

MANIFEST = heif_box(
    b"jumb", heif_box(b"jumd", bytes.fromhex("63327061 00110010800000aa00389b71") + b"\3c2pa\0") + bytes(300)
)
CREDENTIALS = "its Content Credentials (C2PA) were left out: they vouch for the unchanged picture"


def in_segments(box: bytes, number: int, size: int) -> list[tuple[int, bytes]]:
    """A JUMBF box as JPEG holds it: in segments that each repeat the box's head."""
    parts = [box[8:][at : at + size] for at in range(0, len(box) - 8, size)]
    return [
        (0xEB, b"JP" + struct.pack(">HI", number, index + 1) + box[:8] + part)
        for index, part in enumerate(parts)
    ]


def test_credentials_of_a_jpeg_go_and_other_boxes_stay() -> None:
    other = heif_box(b"jumb", heif_box(b"jumd", bytes(16) + b"\3other\0") + b"about c2pa" * 3)
    segments = in_segments(MANIFEST, 1, 100) + in_segments(other, 2, 400)
    photo = read_photo(jpeg_with(JPEG, *segments))
    assert photo.warnings == (CREDENTIALS,)
    result = encode_photo(photo, photo.pixels, "JPEG").content
    assert [segment for segment in jpeg_segments(result) if segment[0] == 0xEB] == in_segments(other, 2, 400)
    assert read_photo(result).warnings == ()


def test_credentials_of_other_formats_go_with_a_word() -> None:
    of_png = read_photo(png(RGB, 2, before=png_chunk(b"caBX", MANIFEST)))
    assert of_png.warnings == (CREDENTIALS,)
    assert b"caBX" not in dict(chunks(encode_photo(of_png, of_png.pixels, "PNG").content))
    webp = save(RGB, "WEBP", exif=exif({0x0112: (3, 1)}))
    webp += b"C2PA" + struct.pack("<I", len(MANIFEST)) + MANIFEST
    webp = webp[:4] + struct.pack("<I", len(webp) - 8) + webp[8:]
    assert CREDENTIALS in read_photo(webp).warnings
    if features.check("avif"):
        user_type = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
        avif = save(RGB, "AVIF") + heif_box(b"uuid", user_type + MANIFEST)
        assert CREDENTIALS in read_photo(avif).warnings


# --- what a JPEG has no room for -------------------------------------------------------------------------


def large_exif(note: int, private: int) -> bytes:
    inner: Directory = {
        0x9003: Value(2, 20, b"2020:01:02 03:04:05\0"),
        0x927C: Value(7, note, bytes(range(256)) * (note // 256)),
    }
    tree: Directory = {0x010F: Value(2, 5, b"ACME\0"), 0x8769: inner}
    if private:
        tree[0xC4A5] = Value(7, private, b"p" * private)
    return b"Exif\0\0" + write_block(tree, "<")[0]


@pytest.mark.parametrize(
    ("note", "private", "left_out"),
    [
        (71_680, 0, "the camera maker's own notes"),
        (40_960, 40_000, "the camera maker's own notes"),
        (1_024, 70_000, "the camera maker's own notes and its largest tags"),
    ],
)
@pytest.mark.parametrize("source", ["WEBP", "PNG", "TIFF"])
def test_exif_too_large_for_a_jpeg_keeps_date_and_camera(
    source: str, note: int, private: int, left_out: str
) -> None:
    first = Photo(RGB, "PNG", exif=large_exif(note, private))
    photo = read_photo(encode_photo(first, RGB, source).content)
    encoded = encode_photo(photo, photo.pixels, "JPEG")
    assert encoded.warnings == (
        f"its EXIF is over the 65533 bytes that a JPEG holds: {left_out} were left out",
    )
    again = read_photo(encoded.content)
    assert again.exif is not None
    reader = DirectoryReader(again.exif[6:])
    tree = reader.read(reader.first)
    inner = tree[0x8769]
    assert isinstance(tree[0x010F], Value)
    assert isinstance(inner, dict)
    assert inner[0x9003] == Value(2, 20, b"2020:01:02 03:04:05\0", inner[0x9003].place)  # type: ignore[union-attr]
    assert 0x927C not in inner
    assert (0xC4A5 in tree) == (private == 40_000)


def test_the_gap_of_a_thumbnail_is_closed_without_a_word() -> None:
    block = exif(
        {0x0112: (3, 1)},
        inner=inner_exif(56, 40, b"note" * 1000, 8 + 2 + 12 * 2 + 4),
        thumbnail=bytes(64_000),
    )
    photo = Photo(RGB, "WEBP", exif=block[:-64_000] + bytes(64_000))
    encoded = encode_photo(photo, RGB, "JPEG")
    assert encoded.warnings == ()
    assert b"note" * 1000 in encoded.content


def test_blanks_of_a_packet_give_way_to_what_it_says() -> None:
    xmp = (
        b"<?xpacket begin='' id=''?><x:xmpmeta>the words</x:xmpmeta>" + b" " * 70_000 + b"<?xpacket end='w'?>"
    )
    encoded = encode_photo(Photo(RGB, "PNG", xmp=xmp), RGB, "JPEG")
    assert encoded.warnings == ()
    assert b"<x:xmpmeta>the words</x:xmpmeta><?xpacket end='w'?>" in encoded.content


@pytest.mark.parametrize("format", ["WEBP", "TIFF"])
def test_texts_and_comments_that_have_no_place_are_missed_aloud(format: str) -> None:
    with_texts = png(
        RGB, 2, before=png_chunk(b"tEXt", b"Title\0Alps") + png_chunk(b"tEXt", b"Comment\0seen \xfc")
    )
    photo = read_photo(with_texts)
    assert encode_photo(photo, photo.pixels, format).warnings == (
        f"its comment was left out: {format} has no place for it",
        "its texts (Title) were left out: only PNG to PNG keeps them",
    )
    jpeg = encode_photo(photo, photo.pixels, "JPEG").content
    assert (0xFE, "seen ü".encode()) in list(jpeg_segments(jpeg))
    back = read_photo(jpeg)
    again = encode_photo(back, back.pixels, "PNG")
    assert again.warnings == ()
    assert "seen ü".encode() in again.content


# --- grey profiles ---------------------------------------------------------------------------------------


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
