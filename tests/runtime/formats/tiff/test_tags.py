"""Tags of TIFFs: which are kept, which are left out with a word, and directories that are hostile."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.metadata.directories import (
    DirectoryReader,
    Value,
    write_block,
)
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.tiff.structure import tiff_blocks, write_tiff
from tests.runtime.formats.tiff.tagged import directories, pixels_of, tags_of
from tests.runtime.handmade import tiff_of


@given(
    st.binary(max_size=200), st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0+\0\x08\0\0\0\0\0\0\0\0\0\x10", b""])
)
def test_no_file_breaks_the_reading_of_directories(data: bytes, head: bytes) -> None:
    blocks = tiff_blocks(head + data)
    pixels = pixels_of(1, np.uint8)
    content = write_tiff(pixels, {}, exif=blocks.exif or data)
    np.testing.assert_array_equal(read_photo(content).pixels, pixels)


def test_entries_that_share_their_bytes_or_lead_in_circles_do_not_fill_the_memory() -> None:
    size = 1 << 16
    entries = [struct.pack("<HHII", 40000 + index, 1, size, 8) for index in range(3000)]
    entries += [struct.pack("<HHII", 50000 + index, 13, 1, 8 + size) for index in range(3000)]
    content = b"II*\0" + struct.pack("<I", 8 + size) + bytes(size)
    content += struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    reader = DirectoryReader(content)
    tree = reader.read(reader.first)
    assert 0 < sum(len(value.data) for value in tree.values() if isinstance(value, Value)) <= len(content)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("length", [1, 2, 4, 5])
def test_a_block_of_many_small_values_is_read_to_its_last(length: int, order: str) -> None:
    """Values inside their entries were counted twice, so that the last tags of a dense block got lost."""
    tree = {40000 + tag: Value(1, length, bytes([tag % 256] * length)) for tag in range(300)}
    block, _ = write_block(tree, order)
    reader = DirectoryReader(block)
    found = reader.read(reader.first)
    assert {tag: value.data for tag, value in found.items() if isinstance(value, Value)} == {
        tag: value.data for tag, value in tree.items()
    }


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_the_last_tags_of_a_tiff_with_captions_go_into_another_format(format: str) -> None:
    """Windows' keywords, which come last, were gone without a word."""
    tags = {33723: (7, b"\x1c\x02\x78\0\6A view"), 40091: (1, b"T\0\0\0"), 40094: (1, b"k\0w\0\0\0")}
    entries = {tag: Value(kind, len(data), data) for tag, (kind, data) in tags.items()}
    block, _ = write_block({tag: Value(3, 1, b"\7\0") for tag in range(50000, 50060)} | entries, "<")
    content = write_tiff(pixels_of(3, np.uint8), {"compression": "raw"}, exif=b"Exif\0\0" + block)
    photo = read_photo(content)
    again = read_photo(encode_photo(photo, photo.pixels, format).content)
    reader = DirectoryReader((again.exif or b"").removeprefix(b"Exif\0\0"))
    found = reader.read(reader.first)
    assert {40091, 40094, *range(50000, 50060)} <= set(found)


def test_georeference_is_kept_whole_or_left_out_whole() -> None:
    tags = {33550: (12, (0.5, 0.5, 0.0)), 33922: (12, (0.0, 0.0, 0.0, 10.0, 50.0, 0.0))}
    kept = read_photo(tiff_of(pixels_of(3, np.uint8), tags=tags))
    after = tags_of(encode_photo(kept, kept.pixels, "TIFF").content)
    assert after["0x830e"] == (12, 3, struct.pack("<3d", 0.5, 0.5, 0))
    assert after["0x8482"][1] == 6
    turned = read_photo(tiff_of(pixels_of(3, np.uint8), tags=tags | {274: (3, 6)}))
    assert turned.warnings == (
        "its GeoTIFF scale and tie points were left out: they count in pixels before turning",
    )
    assert not {"0x830e", "0x8482"} & set(tags_of(encode_photo(turned, turned.pixels, "TIFF").content))


def test_layers_and_credentials_are_left_out_with_a_word() -> None:
    tags = {37724: (7, b"Adobe Photoshop Document Data Block\0"), 52545: (7, b"jumb manifest")}
    photo = read_photo(tiff_of(pixels_of(3, np.uint8), tags=tags))
    assert photo.warnings == (
        "its Photoshop layers were left out: only the flattened picture was taken",
        "its Content Credentials (C2PA) were left out: they vouch for the unchanged picture",
    )
    content = encode_photo(photo, photo.pixels, "TIFF").content
    assert b"Data Block" not in content
    assert b"manifest" not in content


def test_profile_and_xmp_of_other_types_are_found() -> None:
    xmp, profile = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", b"a profile of 16."
    for kind in (1, 7):
        photo = read_photo(tiff_of(pixels_of(3, np.uint8), tags={700: (kind, xmp), 34675: (kind, profile)}))
        assert (photo.xmp, photo.icc_profile) == (xmp, profile)
    numbers = struct.unpack("<4I", profile)
    assert read_photo(tiff_of(pixels_of(3, np.uint8), tags={34675: (4, numbers)})).icc_profile == profile


def test_captions_go_between_tiff_and_jpeg() -> None:
    photo = read_photo(write_tiff(pixels_of(3, np.uint8), {}, exif=directories("<")))
    jpeg = encode_photo(photo, photo.pixels, "JPEG")
    assert jpeg.warnings == ()
    assert b"Photoshop 3.0\0" + b"8BIM\4\4" in jpeg.content
    back = read_photo(jpeg.content)
    after = tags_of(encode_photo(back, back.pixels, "TIFF").content)
    kind, _, iptc = after["0x83bb"]
    assert kind == 7
    assert b"A view" in iptc
    assert b"alps" in iptc


def test_a_page_number_and_kind_of_more_pages_are_left_out() -> None:
    kept = tiff_of(pixels_of(1, np.uint8)[..., 0], tags={254: (4, 0), 297: (3, (0, 1))})
    dropped = tiff_of(pixels_of(1, np.uint8)[..., 0], tags={254: (4, 2), 297: (3, (0, 5))})
    for content, expected in ((kept, {"0x00fe", "0x0129"}), (dropped, set())):
        photo = read_photo(content)
        after = tags_of(encode_photo(photo, photo.pixels, "TIFF").content)
        assert {"0x00fe", "0x0129"} & set(after) == expected


def test_xmp_that_cannot_be_read_turns_no_tiff() -> None:
    """Pillow turns a TIFF by what looks like an orientation in its XMP, damaged or not."""
    damaged = b"<x:xmpmeta \0><d tiff:Orientation='8'/>"
    photo = read_photo(write_tiff(pixels_of(3, np.uint8), {}, xmp=damaged))
    assert photo.pixels.shape == (40, 56, 3)
    assert photo.xmp == damaged
