"""Chunks of a PNG go over as they are, and missing pixels are counted."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.exif import upright_exif
from rave_runtime.photos.png import (
    carry_png,
    chunks,
    missing_bytes,
    png_blocks,
    png_texts,
    without_chunks,
)
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import png, png_chunk, scene
from tests.runtime.metadata.carried import photo_exif


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
        (b"sCAL", b"\x011.5\x002.5"),
        (b"oFFs", struct.pack(">iiB", 10, 20, 1)),
        (b"iTXt", itxt(xmp, packed=packed)),
        (b"eXIf", photo_exif()[6:]),
    ]
    dropped = [(b"tRNS", bytes(6)), (b"sBIT", b"\5\5\5"), (b"bKGD", bytes(6)), (b"vpAg", bytes(9))]
    source = png(scene(), 2, before=b"".join(png_chunk(*chunk) for chunk in kept + dropped))
    blocks = png_blocks(source)
    assert (blocks.icc_profile, blocks.exif, blocks.xmp) == (b"profile", photo_exif()[6:], xmp)
    found = list(chunks(carry_png(source, png(scene(56, 40), 2), 40, 56, keep_icc=True)))
    assert found[0][0] == b"IHDR"
    assert found[-1][0] == b"IEND"
    expected = [*kept[:7], (b"iTXt", itxt(xmp.replace(b"6", b"1"), packed=False))]
    assert found[1:-2] == [*expected, (b"eXIf", upright_exif(photo_exif()[6:], 40, 56))]
    plain = dict(chunks(carry_png(source, png(scene(), 2), 40, 56, keep_icc=False)))
    assert b"iCCP" not in plain
    bare = without_chunks(source)
    gone = {b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"}
    assert [kind for kind, _ in chunks(bare)] == [kind for kind, _ in chunks(source) if kind not in gone]
    assert without_chunks(bare) is bare


@pytest.mark.parametrize(
    ("orientation", "expected"), [(1, b"\x011.5\x002.5"), (3, b"\x011.5\x002.5"), (6, b"\x012.5\x001.5")]
)
def test_the_scale_of_a_turned_png_is_turned(orientation: int, expected: bytes) -> None:
    page = b"oFFs", struct.pack(">iiB", 10, 20, 1)
    source = png(scene(), 2, before=png_chunk(b"sCAL", b"\x011.5\x002.5") + png_chunk(*page))
    found = list(chunks(carry_png(source, png(scene(), 2), 40, 56, keep_icc=True, orientation=orientation)))
    assert (b"sCAL", expected) in found
    assert (page in found) == (orientation == 1)


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


def test_all_texts_of_a_png_together_unpack_to_a_limit() -> None:
    """Four texts of 10 MB each, in 40 KB: the first one is within the limit."""
    packed = zlib.compress(b"a" * 10_000_000, 9)
    texts = b"".join(png_chunk(b"zTXt", b"Text %d\0\0" % number + packed) for number in range(4))
    assert list(png_texts(png(scene(), 2, before=texts))) == ["Text 0"]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (5, 1), (9, 8), (40, 56)])
def test_missing_pixels_of_a_png_are_counted(height: int, width: int, interlaced: bool) -> None:
    for colour, channels, bits in ((0, 1, 1), (0, 1, 4), (2, 3, 8), (6, 4, 16)):
        pixels = np.zeros((height, width, channels) if channels > 1 else (height, width), np.uint16)
        assert missing_bytes(png(pixels, colour, bits, interlaced=interlaced)) == 0
        taller = png(pixels, colour, bits, interlaced=interlaced, size=(width, height + 1))
        assert missing_bytes(taller) > 0


def test_what_a_png_has_beyond_its_pixels_is_not_unpacked() -> None:
    """A file of 100 KB would take 100 MB otherwise, and one of some megabytes all memory that there is."""
    data = zlib.compress(bytes(100_000_000), 9)
    content = png(scene(), 2)
    bomb = content[: content.index(b"IDAT") - 4] + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    tracemalloc.start()
    try:
        assert missing_bytes(bomb) == 0
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
