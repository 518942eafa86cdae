"""Maker notes in TIFFs: they are right wherever they come to lie, or moved with a word."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.metadata.directories import (
    DirectoryReader,
    Value,
)
from rave_runtime.photos.metadata.maker_notes import move_maker_note
from rave_runtime.photos.reading import read_photo
from tests.runtime.formats.tiff.tagged import pixels_of
from tests.runtime.handmade import exif, inner_exif, jpeg_with, scene, tiff_of
from tests.runtime.zoo.animal import save


def canon_note(at: int, order: str = "<") -> bytes:
    """A maker note as Canon writes it: a directory whose offsets count from the structure around it."""
    values = b"Canon EOS\0\0\0" + struct.pack(order + "4H", 1, 2, 3, 4)
    start = at + 2 + 12 * 2 + 4
    note = struct.pack(order + "H", 2)
    note += struct.pack(order + "HHII", 6, 2, 12, start) + struct.pack(order + "HHII", 7, 3, 4, start + 12)
    note += bytes(4) + values
    return note + (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)


def with_note(note: bytes, place: int, order: str = "<") -> bytes:
    """A TIFF of 8 bits whose EXIF directory holds a maker note that lies at a place behind its pixels."""
    pixels = pixels_of(3, np.uint8)
    content = bytearray(tiff_of(pixels, order, tags={0x8769: (4, place - 18)}))
    assert len(content) <= place - 18
    content += bytes(place - 18 - len(content))
    content += struct.pack(order + "HHHII", 1, 0x927C, 7, len(note), place) + bytes(4) + note
    return bytes(content)


def note_of(content: bytes) -> Value:
    reader = DirectoryReader(content)
    inner = reader.read(reader.first)[0x8769]
    assert isinstance(inner, dict)
    note = inner[0x927C]
    assert isinstance(note, Value)
    return note


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("place", [20_000, 60_000, 200_000])
def test_a_maker_note_is_right_wherever_it_comes_to_lie(place: int, order: str) -> None:
    photo = read_photo(with_note(canon_note(place, order), place, order))
    for _ in range(2):
        content = encode_photo(photo, photo.pixels, "TIFF").content
        note = note_of(content)
        assert note.place is not None
        assert note.data == canon_note(note.place, order)
        assert (note.place == place) == (place == 20_000), "near enough, it stays where it lay"
        photo = read_photo(content)
        assert photo.warnings == ()
    jpeg = encode_photo(photo, photo.pixels, "JPEG").content
    block = Image.open(io.BytesIO(jpeg)).info["exif"][6:]
    assert note_of(block).data == canon_note(note_of(block).place or 0, order)


def test_a_maker_note_from_a_jpeg_lies_where_it_lay() -> None:
    at = 8 + 2 + 12 * 2 + 4 + 2 + 12 * 3 + 4
    block = exif({0x0112: (3, 1)}, inner=inner_exif(56, 40, canon_note(at), 8 + 2 + 12 * 2 + 4))
    photo = read_photo(jpeg_with(save(scene(), "JPEG"), (0xE1, block)))
    note = note_of(encode_photo(photo, photo.pixels, "TIFF").content)
    assert (note.place, note.data) == (at, canon_note(at))


def test_a_maker_note_of_unknown_layout_is_moved_with_a_word() -> None:
    place = 100_000
    strange = bytes(range(1, 200))
    photo = read_photo(with_note(strange, place))
    assert photo.warnings == (
        "the camera maker's own notes were moved: programs may not find all that is in them",
    )
    note = note_of(encode_photo(photo, photo.pixels, "TIFF").content)
    assert note.data == strange


@pytest.mark.parametrize(
    "note",
    [
        b"Nikon\0\2\x10\0\0MM\0*\0\0\0\x08" + bytes(range(60)),
        b"Panasonic\0\0\0" + struct.pack("<HHHIII", 1, 1, 7, 5, 30, 0) + b"quality",
        struct.pack("<HHHII", 1, 1, 3, 1, 9) + bytes(4),
        bytes(40),
    ],
    ids=["structure inside", "counts from its own start", "no offsets", "erased"],
)
def test_maker_notes_that_may_lie_anywhere_stay_as_they_are(note: bytes) -> None:
    assert move_maker_note(note, 90_000, 500, "<") == note


@given(st.binary(max_size=80), st.integers(0, 300), st.integers(0, 300))
def test_no_maker_note_breaks_the_moving(note: bytes, old: int, new: int) -> None:
    moved = move_maker_note(note, old, new, "<")
    assert moved is None or len(moved) == len(note)
