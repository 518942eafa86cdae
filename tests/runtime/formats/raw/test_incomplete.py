"""Raw files whose pixels are missing are refused: LibRaw makes black pictures of some."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from rave_runtime.errors import PhotoError
from rave_runtime.photos.codecs.raw import _reason
from rave_runtime.photos.codecs.raw_kind import why_incomplete
from rave_runtime.photos.reading import read_photo
from tests.runtime.formats.raw.developed import make_scene
from tests.runtime.formats.raw.raws import LONG, change_entry, make_dng

rawpy = pytest.importorskip("rawpy")


def test_tiles_that_are_all_there_are_developed() -> None:
    tiled = make_dng(make_scene(96, 128), tile_px=32)
    strip = make_dng(make_scene(96, 128))
    assert np.array_equal(read_photo(tiled).pixels, read_photo(strip).pixels)


def test_tiles_that_are_not_listed_are_missing() -> None:
    """As in exiftool's own test image, which lists 1 of 140 and became eight black megapixels."""
    content = make_dng(make_scene(96, 128), tile_px=32)
    for tag in (324, 325):
        content = change_entry(content, tag, LONG, 12, struct.pack("<I", 4))
    with pytest.raises(PhotoError, match=r"^is damaged: 8 of the 12 tiles of its picture are missing$"):
        read_photo(content)
    for tag in (324, 325):
        content = change_entry(content, tag, LONG, 4, struct.pack("<II", 1, 512))
    with pytest.raises(PhotoError, match=r"^is damaged: 11 of the 12 tiles of its picture are missing$"):
        read_photo(content)


@pytest.mark.parametrize("tag", [324, 325])
def test_tiles_without_a_place_or_a_length_are_missing(tag: int) -> None:
    content = bytearray(make_dng(make_scene(96, 128), tile_px=32))
    at = content.index(struct.pack("<HHI", tag, LONG, 12)) + 8
    (values,) = struct.unpack_from("<I", content, at)
    content[values + 8 : values + 16] = bytes(8)
    with pytest.raises(PhotoError, match=r"^is damaged: 2 of the 12 tiles of its picture are missing$"):
        read_photo(bytes(content))


def test_strips_that_are_not_listed_are_missing() -> None:
    content = change_entry(make_dng(make_scene(96, 128)), 278, LONG, 1, struct.pack("<II", 1, 40))
    with pytest.raises(PhotoError, match=r"^is damaged: 2 of the 3 strips of its picture are missing$"):
        read_photo(content)


def test_strips_that_are_too_short_are_missing() -> None:
    content = change_entry(make_dng(make_scene(96, 128)), 279, LONG, 1, struct.pack("<II", 1, 24_000))
    with pytest.raises(PhotoError, match=r"^is damaged: 576 bytes of pixels are missing$"):
        read_photo(content)


@pytest.mark.parametrize("linear", [False, True])
def test_a_picture_of_one_value_throughout_is_refused(linear: bool) -> None:
    content = make_dng(np.zeros((96, 128, 3)), linear=linear)
    with pytest.raises(PhotoError, match=r"^is damaged: all values of its raw picture are the same$"):
        read_photo(content)
    dark = np.zeros((96, 128, 3))
    dark[40, 50] = 0.01
    assert read_photo(make_dng(dark, linear=linear)).pixels.shape == (96, 128, 3)


def panasonic(length: int) -> bytes:
    """A file of Panasonic: the place of its strip is not filled in, its length is two bytes a pixel."""
    entries = ((273, 0xFFFFFFFF), (278, 2754), (279, 20_511_792), (280, 1024))
    fields = b"".join(struct.pack("<HHII", tag, LONG, 1, value) for tag, value in entries)
    head = b"IIU\0" + struct.pack("<IH", 8, len(entries)) + fields + bytes(4)
    return head.ljust(length, b"x")


def test_a_place_that_is_not_filled_in_is_no_place() -> None:
    """4315466743 bytes were called missing."""
    assert why_incomplete(panasonic(11_800_000)) is None
    assert why_incomplete(panasonic(12_344)) == (
        "is damaged or truncated: the file ends before the picture does"
    )


def test_libraw_speaks_a_photographers_words() -> None:
    assert _reason(rawpy.LibRawIOError(b"Input/output error")) == "the file ends before the picture does"
    assert _reason(rawpy.LibRawDataError(b"Data error or unsupported file format")) == (
        "its pixels make no sense, or are of a kind that LibRaw does not know"
    )
    assert _reason(rawpy.LibRawError(b"another one")) == "another one"


def test_floating_point_values_are_called_that() -> None:
    """They were called damaged, since LibRaw makes a black picture of some of them."""
    with pytest.raises(
        PhotoError, match=r"^holds floating-point values.*convert it to a DNG of whole numbers"
    ):
        read_photo(make_dng(make_scene(), half_floats=True))
