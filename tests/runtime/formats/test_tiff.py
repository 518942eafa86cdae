"""TIFF written as it came: compression, depth, byte order, and every tag with its type and bytes."""

from __future__ import annotations

import io
import struct
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features
from PIL.JpegImagePlugin import JpegImageFile

from rave_runtime.arrays import Pixels
from rave_runtime.errors import PhotoError
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.metadata.directories import (
    Directory,
    DirectoryReader,
    Value,
    append_directory,
    write_block,
)
from rave_runtime.photos.metadata.maker_notes import move_maker_note
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.tiff import strips as tiff_strips
from rave_runtime.photos.tiff import structure as tiff_module
from rave_runtime.photos.tiff.strips import LOSSLESS
from rave_runtime.photos.tiff.structure import tiff_blocks, write_tiff
from tests.runtime.handmade import exif, inner_exif, jpeg_with, scene, tiff, tiff_of
from tests.runtime.zoo.animal import save

COMPRESSIONS = ["raw", *(name for name in LOSSLESS if tiff_strips.can_compress(name))]
"""Those that this Pillow was built with."""

LOCATED = frozenset((273, 279, 278, 0x8769, 0x8825, 0xA005))
"""Tags whose values say where something lies."""


def tags_of(content: bytes) -> dict[str, tuple[int, int, bytes]]:
    """Type, count and bytes of every entry of a TIFF or EXIF block, by its path of tags."""
    reader = DirectoryReader(content)

    def walk(tree: Directory, path: str) -> dict[str, tuple[int, int, bytes]]:
        found: dict[str, tuple[int, int, bytes]] = {}
        for tag, value in tree.items():
            if isinstance(value, dict):
                found |= walk(value, f"{path}{tag:#06x}/")
            elif tag not in LOCATED:
                found[f"{path}{tag:#06x}"] = (value.kind, value.count, value.data)
        return found

    return walk(reader.read(reader.first), "")


def pixels_of(channels: int, dtype: Any) -> Pixels:
    return scene(channels=channels, dtype=dtype).reshape(40, 56, channels)


def directories(order: str) -> bytes:
    """An EXIF block with EXIF's, GPS's and the interoperability directory, and a value of every type."""

    def value(kind: int, code: str, *numbers: float) -> Value:
        data = struct.pack(order + code, *numbers)
        return Value(kind, len(numbers) // (2 if kind in (5, 10) else 1), data)

    inner: Directory = {
        0x829A: value(5, "II", 1, 60),
        0x8827: value(3, "H", 100),
        0x9003: Value(2, 20, b"2020:01:02 03:04:05\0"),
        0x927C: Value(7, 9, b"no layout"),
        0x9204: value(10, "ii", -1, 3),
        0xA005: {1: Value(2, 4, b"R98\0")},
    }
    gps: Directory = {
        0: Value(1, 4, b"\2\3\0\0"),
        1: Value(2, 2, b"N\0"),
        2: value(5, "IIIIII", 48, 1, 8, 1, 9, 1),
    }
    every = {
        50001 + kind: value(kind, code, *numbers)
        for kind, code, numbers in (
            (1, "3B", (1, 2, 3)),
            (3, "5H", (1, 2, 3, 4, 5)),
            (4, "3I", (1, 2, 1 << 31)),
            (6, "2b", (-1, 2)),
            (8, "3h", (-1, 2, -3)),
            (9, "2i", (-9, 9)),
            (11, "2f", (0.5, -2)),
            (12, "2d", (0.25, 3)),
        )
    }
    # IPTC with type LONG and bytes that no order turns, as Photoshop writes it
    iptc = b"\x1c\2\0\0\2\0\4\x1c\2\x78\0\6A view\x1c\2\x19\0\4alps\0\0"
    iptc = iptc.ljust(-(-len(iptc) // 4) * 4, b"\0")
    tree: Directory = {
        0x010E: Value(2, 10, "© Jürgen".encode()),
        0x010F: Value(2, 5, b"ACME\0"),
        0x0112: value(3, "H", 1),
        0x011A: value(5, "II", 300, 1),
        0x011B: value(5, "II", 300, 1),
        0x0128: value(3, "H", 3),
        33723: Value(4, len(iptc) // 4, iptc),
        33550: value(12, "3d", 0.5, 0.5, 0),
        33922: value(12, "6d", 0, 0, 0, 10, 50, 0),
        0x8769: inner,
        0x8825: gps,
        **every,
    }
    return b"Exif\0\0" + write_block(tree, order)[0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_compression_depth_and_directory_is_written_as_it_came(
    compression: str, dtype: Any, channels: int, predictor: int, order: str
) -> None:
    if dtype is np.uint16 and channels > 1:
        pytest.importorskip("tifffile")
        pytest.importorskip("imagecodecs")
    pixels, block = pixels_of(channels, dtype), directories(order)
    options = {"compression": compression, "predictor": predictor}
    content = write_tiff(pixels, options, exif=block, xmp=b"<xmp/>", icc_profile=b"profile!")
    photo = read_photo(content)
    whole = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
    for channel in (-1, 0):
        shown, expected = np.broadcast_arrays(whole[..., channel], pixels[..., channel])
        np.testing.assert_array_equal(shown, expected)
    again = encode_photo(photo, photo.pixels, "TIFF")
    before, after = tags_of(content), tags_of(again.content)
    assert after == before
    assert {path: each for path, each in after.items() if path in tags_of(block[6:])} == tags_of(block[6:])
    number = {"raw": 1, **LOSSLESS}[compression]
    assert after["0x0103"] == (3, 1, struct.pack(order + "H", number))
    assert ("0x013d" in after) == (predictor == 2 and compression not in ("raw", "packbits"))
    assert (photo.xmp, photo.icc_profile) == (b"<xmp/>", b"profile!")
    assert (photo.warnings, again.warnings) == ((), ())
    np.testing.assert_array_equal(read_photo(again.content).pixels, photo.pixels)


@pytest.mark.parametrize("directory", ["none", "EXIF", "GPS", "both"])
@pytest.mark.parametrize("compression", [name for name in (*COMPRESSIONS, "jpeg") if name != "tiff_deflate"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_pillow_wrote_is_written_again(channels: int, compression: str, directory: str) -> None:
    """Pillow cannot write the directories into compressed files: they are put in here."""
    plain = save(pixels_of(channels, np.uint8).squeeze(), "TIFF", compression=compression)
    reader, block = DirectoryReader(plain), DirectoryReader(directories("<")[6:])
    tree = block.read(block.first)
    content = bytearray(plain)
    values = {tag: value for tag, value in tree.items() if isinstance(value, Value)}
    for name, tag in (("EXIF", 0x8769), ("GPS", 0x8825)):
        if directory in (name, "both"):
            inner = tree[tag]
            assert isinstance(inner, dict)
            below = {number: value for number, value in inner.items() if isinstance(value, Value)}
            values[tag] = Value(4, 1, struct.pack("<I", append_directory(content, {}, below, "<")))
    layout = {tag: value for tag, value in reader.read(reader.first).items() if isinstance(value, Value)}
    struct.pack_into("<I", content, 4, append_directory(content, {}, values | layout, "<"))
    photo = read_photo(bytes(content))
    again = encode_photo(photo, photo.pixels, "TIFF").content
    before, after = tags_of(bytes(content)), tags_of(again)
    own = ("0x0117", "0x0116", "0x0106", "0x0153", "0x015b", "0x0212", "0x0213", "0x0214", "0x0100", "0x0101")
    assert {path: after.get(path) for path in before if path not in own} == {
        path: value for path, value in before.items() if path not in own
    }
    with Image.open(io.BytesIO(again)) as image:
        assert image.info["compression"] == compression
        difference = np.abs(np.asarray(image).astype(int) - photo.pixels.squeeze()).max()
    assert difference <= (12 if compression == "jpeg" else 0)


def test_big_tiffs_become_tiffs_with_every_tag() -> None:
    order = "<"  # Pillow reads no other
    pixels = pixels_of(3, np.uint8)
    strip = pixels.tobytes()
    texts = {0x010F: b"ACME\0\0\0\0\0", 0x010E: b"seen"}
    numbers: dict[int, tuple[int, list[int]]] = {
        256: (3, [56]),
        257: (3, [40]),
        258: (3, [8, 8, 8]),
        259: (3, [1]),
        262: (3, [2]),
        277: (3, [3]),
        278: (3, [40]),
        279: (16, [len(strip)]),
        50001: (16, [1, 2]),
        50002: (16, [1 << 40]),
        50003: (17, [-5, 7]),
    }
    for_each = {3: "H", 16: "Q", 17: "q"}
    entries = {
        tag: (kind, len(each), struct.pack(f"{order}{len(each)}{for_each[kind]}", *each))
        for tag, (kind, each) in numbers.items()
    }
    entries |= {tag: (2, len(text), text) for tag, text in texts.items()}
    beyond_at = 16 + 8 + 20 * (len(entries) + 1) + 8
    entries[273] = (16, 1, struct.pack(order + "Q", 2000))
    body, beyond = struct.pack(order + "Q", len(entries)), b""
    for tag in sorted(entries):
        kind, count, data = entries[tag]
        place = data.ljust(8, b"\0") if len(data) <= 8 else struct.pack(order + "Q", beyond_at + len(beyond))
        beyond += data if len(data) > 8 else b""
        body += struct.pack(order + "HHQ", tag, kind, count) + place
    head = b"II+\0" + struct.pack(order + "HHQ", 8, 0, 16)
    content = (head + body + bytes(8) + beyond).ljust(2000, b"\0") + strip
    photo = read_photo(content)
    np.testing.assert_array_equal(photo.pixels, pixels)
    after = tags_of(encode_photo(photo, photo.pixels, "TIFF").content)
    assert after["0x010f"] == (2, 9, texts[0x010F])
    assert after["0x010e"] == (2, 4, b"seen")
    assert after["0xc351"] == (4, 2, struct.pack(order + "2I", 1, 2))
    assert after["0xc353"] == (9, 2, struct.pack(order + "2i", -5, 7))
    assert "0xc352" not in after, "which no TIFF holds"


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


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("quality", "subsampling"), [(40, 2), (75, 1), (95, 0)])
def test_jpeg_inside_tiff_keeps_its_tables_and_subsampling(
    quality: int, subsampling: int, channels: int
) -> None:
    jpeg = Image.open(io.BytesIO(save(scene(), "JPEG", quality=quality)))
    assert isinstance(jpeg, JpegImageFile)
    tables = jpeg.quantization
    options = {"compression": "jpeg", "qtables": list(tables.values()), "subsampling": subsampling}
    content = write_tiff(pixels_of(channels, np.uint8), options)
    photo = read_photo(content)
    assert photo.pixels.shape == (40, 56, channels)
    assert photo.save_options["qtables"] == list(tables.values())[:channels]
    assert channels == 1 or photo.save_options["subsampling"] == subsampling
    again = encode_photo(photo, photo.pixels, "TIFF").content
    assert abs(len(again) - len(content)) < 40
    assert read_photo(again).save_options == photo.save_options
    with Image.open(io.BytesIO(content)) as image:
        shown = np.asarray(image.convert("RGB" if channels == 3 else "L"))
    assert np.abs(shown.astype(int) - photo.pixels.squeeze()).max() == 0


def test_a_tiff_over_four_gigabytes_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_module, "_MAX_BYTES", 5000)
    with pytest.raises(PhotoError, match="which holds 4 GB at most: --format png can hold it"):
        encode_photo(Photo(scene(), "TIFF", save_options={"compression": "raw"}), scene(), "TIFF")


def test_writing_colour_of_16_bits_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    deep = scene(dtype=np.uint16)
    assert features.check("libtiff")
    content = encode_photo(Photo(deep, "PNG"), deep, "TIFF").content
    assert tags_of(content)["0x0102"] == (3, 3, struct.pack("<3H", 16, 16, 16))


def test_a_page_number_and_kind_of_more_pages_are_left_out() -> None:
    kept = tiff_of(pixels_of(1, np.uint8)[..., 0], tags={254: (4, 0), 297: (3, (0, 1))})
    dropped = tiff_of(pixels_of(1, np.uint8)[..., 0], tags={254: (4, 2), 297: (3, (0, 5))})
    for content, expected in ((kept, {"0x00fe", "0x0129"}), (dropped, set())):
        photo = read_photo(content)
        after = tags_of(encode_photo(photo, photo.pixels, "TIFF").content)
        assert {"0x00fe", "0x0129"} & set(after) == expected


def test_tiles_planes_and_fax_become_strips_that_hold_the_same_picture() -> None:
    pixels = pixels_of(3, np.uint8)
    padded = np.pad(pixels, ((0, 24), (0, 8), (0, 0)))
    tiles = [padded[y : y + 32, x : x + 32].tobytes() for y in (0, 32) for x in (0, 32)]
    base = {256: (4, 56), 257: (4, 40), 258: (3, [8, 8, 8]), 259: (3, 1), 262: (3, 2), 277: (3, 3)}
    content = tiff(base | {322: (4, 32), 323: (4, 32)}, tiles, tiled=True)
    photo = read_photo(content)
    again = encode_photo(photo, photo.pixels, "TIFF").content
    assert not {"0x0142", "0x0143", "0x0144", "0x0145"} & set(tags_of(again))
    np.testing.assert_array_equal(read_photo(again).pixels, pixels)


def test_xmp_that_cannot_be_read_turns_no_tiff() -> None:
    """Pillow turns a TIFF by what looks like an orientation in its XMP, damaged or not."""
    damaged = b"<x:xmpmeta \0><d tiff:Orientation='8'/>"
    photo = read_photo(write_tiff(pixels_of(3, np.uint8), {}, xmp=damaged))
    assert photo.pixels.shape == (40, 56, 3)
    assert photo.xmp == damaged


def test_a_compression_that_cannot_be_written_becomes_deflate_with_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fax = save(Image.fromarray(scene(channels=1)).convert("1"), "TIFF", compression="group4")
    photo = read_photo(fax)
    encoded = encode_photo(photo, photo.pixels, "TIFF")
    note = "its compression (group4) was replaced by Deflate, which loses nothing"
    assert encoded.warnings == (note,)
    np.testing.assert_array_equal(read_photo(encoded.content).pixels, photo.pixels)
    monkeypatch.setattr(tiff_strips, "can_compress", lambda name: name != "zstd")
    without = Photo(scene(), "TIFF", save_options={"compression": "zstd"})
    encoded = encode_photo(without, scene(), "TIFF")
    assert encoded.warnings == (note.replace("group4", "zstd"),)
    assert tags_of(encoded.content)["0x0103"] == (3, 1, struct.pack("<H", 8))


@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate", "packbits"])
@pytest.mark.parametrize(("channels", "extra"), [(2, [2]), (4, [2]), (4, [1]), (4, [0]), (5, [2, 0])])
def test_channels_that_lie_apart_are_not_mixed_up(
    channels: int, extra: list[int], compression: str | None
) -> None:
    """Pillow gives grey with transparency in planes wrong pixels, and refuses others."""
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    colours = channels - len(extra)
    pixels = np.random.default_rng(1).integers(0, 256, (24, 32, channels), np.uint8)
    pixels[..., colours] |= 128
    if extra == [0] and compression is None:
        pytest.skip("Pillow does not open it, which is said")
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        np.moveaxis(pixels, -1, 0),
        photometric="minisblack" if colours == 1 else "rgb",
        planarconfig="separate",
        extrasamples=extra,
        compression=compression,
        metadata=None,
    )
    photo = read_photo(file.getvalue())
    expected = pixels[..., :colours].astype(np.float64)
    if extra[0] == 1:
        expected = np.minimum(255, expected * 255 / pixels[..., colours : colours + 1])
    assert np.abs(photo.pixels - expected).max() <= 1
    if extra[0]:
        assert photo.alpha is not None
        assert np.array_equal(photo.alpha, pixels[..., colours])
    else:
        assert photo.alpha is None
