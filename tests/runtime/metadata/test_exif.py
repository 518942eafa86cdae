"""EXIF carried byte by byte, corrected only where it would be wrong."""

from __future__ import annotations

import io
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, features

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.exif import orientation_of, upright_exif, without_orientation
from rave_runtime.photos.headers.coding import is_lossless_webp
from rave_runtime.photos.metadata.photoshop import iptc_of
from rave_runtime.photos.png import png_blocks
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import exif, scene
from tests.runtime.metadata.carried import NOTE, THUMBNAIL, photo_exif
from tests.runtime.metadata.packets import packet

IPTC = b"\x1c\x02\x78\x00\x08a valley"


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


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_wrong_offset_of_a_thumbnail_erases_nothing(order: str) -> None:
    """It points at the maker note, as programs leave it that move EXIF without its offsets."""
    before = photo_exif(order)
    at, place = (struct.pack(order + "I", before.index(data) - 6) for data in (THUMBNAIL, NOTE))
    after = upright_exif(before.replace(at, place), 40, 56)
    assert NOTE in after
    read = Image.Exif()
    read.load(after)
    assert not read.get_ifd(1)


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


@pytest.mark.parametrize("extended", [False, True])
def test_blocks_that_a_webp_does_not_announce_are_kept(extended: bool) -> None:
    """Pillow gives those only that the first chunk announces; the others were lost without a word."""
    buffer = io.BytesIO()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if extended else None
    Image.fromarray(scene(40, 56)).save(buffer, "WEBP", icc_profile=profile)
    block, packet = photo_exif()[6:], b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    body = buffer.getvalue()[8:]
    for kind, data in ((b"EXIF", block), (b"XMP ", packet)):
        body += kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    photo = read_photo(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert photo.pixels.shape == (56, 40, 3)
    assert photo.exif == upright_exif(photo_exif(), 40, 56)
    assert photo.xmp == packet


@pytest.mark.parametrize("animated", [False, True])
@pytest.mark.parametrize("lossless", [False, True])
def test_webp_tells_whether_it_is_lossless(lossless: bool, animated: bool) -> None:
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": [Image.fromarray(255 - scene())]} if animated else {}
    Image.fromarray(scene()).save(buffer, "WEBP", lossless=lossless, exif=photo_exif(), **more)
    assert is_lossless_webp(buffer.getvalue()) == lossless
    assert not is_lossless_webp(buffer.getvalue()[:20])


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_recorded_size_in_the_first_directory_is_turned_too(order: str) -> None:
    before = exif({0x0100: (4, 56), 0x0101: (3, 40), 0x0112: (3, 6)}, order)
    after = exif({0x0100: (4, 40), 0x0101: (3, 56), 0x0112: (3, 1)}, order)
    assert upright_exif(before, 40, 56) == after


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


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_an_orientation_that_only_an_avifs_xmp_states_turns_nothing() -> None:
    """Programs that turn the pixels of a photograph often leave its XMP as it was."""
    buffer = io.BytesIO()
    Image.fromarray(scene()).save(buffer, "AVIF", xmp=packet("", ' tiff:Orientation="6"'))
    photo = read_photo(buffer.getvalue())
    assert photo.pixels.shape == (40, 56, 3), "the container says that it is upright"
    assert photo.xmp is not None
    assert b'tiff:Orientation="1"' in photo.xmp


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow has no JPEG 2000")
def test_a_jpeg_2000_keeps_its_exif_xmp_and_captions_as_png() -> None:
    buffer = io.BytesIO()
    Image.fromarray(scene()).save(buffer, "JPEG2000")
    xmp = b'<x tiff:Orientation="6"/>'
    content = buffer.getvalue()
    for user_type, data in (
        (b"JpgTiffExif->JP2", photo_exif()[6:]),
        (bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), xmp),
        (bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"), IPTC),
    ):
        content += struct.pack(">I4s", 24 + len(data), b"uuid") + user_type + data
    photo = read_photo(content)
    assert photo.pixels.shape == (56, 40, 3)
    again = read_photo(encode_photo(photo, photo.pixels, "PNG").content)
    assert NOTE in (again.exif or b"")
    assert again.xmp == xmp.replace(b"6", b"1")
    assert orientation_of(again.exif, again.xmp) == 1
    assert iptc_of(png_blocks(again.source or b"").captions or b"") == IPTC
    left_out = "its IPTC captions were left out: WEBP has no place for them"
    for name, note in (("JPEG", ()), ("WEBP", (left_out,))):
        encoded = encode_photo(photo, photo.pixels, name)
        assert encoded.warnings == note
        assert (IPTC in encoded.content) == (name == "JPEG")


def test_pointers_to_many_directories_are_not_all_followed() -> None:
    """Each of thousands of pointers would lead through thousands of entries, in a file of 60 KB."""
    count = 5000
    pointers = struct.pack("<HHII", 0x8769, 4, 1, 8) * count
    block = b"II*\0" + struct.pack("<IH", 8, count) + pointers + bytes(4)
    started = time.process_time()
    assert upright_exif(block, 40, 56, 6) == block
    assert time.process_time() - started < 2
