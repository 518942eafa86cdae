"""Metadata for which a format has no room: the least needed is left out, with a word."""

from __future__ import annotations

import pytest

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.jpeg import jpeg_segments
from rave_runtime.photos.metadata.directories import Directory, DirectoryReader, Value, write_block
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.png import png_texts
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import exif, inner_exif, jpeg_with, png, png_chunk
from tests.runtime.zoo.animal import RGB, save


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


@pytest.mark.parametrize("format", ["BMP", "PPM"])
def test_all_that_a_format_without_metadata_leaves_out_is_named(format: str) -> None:
    caption = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x08caption!"
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"
    jpeg = jpeg_with(save(RGB, "JPEG"), (0xE1, xmp), (0xED, caption), (0xFE, b"seen"))
    photo = read_photo(jpeg)
    encoded = encode_photo(photo, photo.pixels, format)
    assert encoded.warnings == (
        f"its XMP, IPTC captions and comments were left out: {format} has no room for metadata",
    )
    photo = read_photo(png(RGB, 2, before=png_chunk(b"tEXt", b"Title\0Alps")))
    note = f"its texts were left out: {format} has no room for metadata"
    assert encode_photo(photo, photo.pixels, format).warnings == (note,)
    assert encode_photo(Photo(RGB, "PNG"), RGB, format).warnings == ()


@pytest.mark.parametrize("length", [65_533, 65_534])
def test_a_comment_too_large_for_a_jpeg_is_missed_aloud(length: int) -> None:
    """The whole photograph failed."""
    photo = read_photo(png(RGB, 2, before=png_chunk(b"tEXt", b"Comment\0" + b"x" * length)))
    written = encode_photo(photo, RGB, "JPEG")
    comments = [payload for marker, payload in jpeg_segments(written.content) if marker == 0xFE]
    fits = length == 65_533
    assert comments == [b"x" * length] * fits
    note = "its comment is over the 65533 bytes that a JPEG holds: it was left out"
    assert written.warnings == (note,) * (not fits)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_jpeg_s_comment_keeps_its_letters_in_a_png(encoding: str) -> None:
    jpeg = save(RGB, "JPEG", comment="Grüße".encode(encoding))
    content = encode_photo(read_photo(jpeg), RGB, "PNG").content
    assert png_texts(content)["Comment"] == "Grüße".encode()
