"""Headers that never end: whatever the format, they are given up within a fraction of a second."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from rave_runtime.errors import PhotoError
from rave_runtime.photos.reading import read_file, read_photo
from rave_runtime.run.memory import estimate_need
from tests.runtime.handmade import png_chunk as chunk

SIZE = 24_000_000
"""Bytes of each file. Walking them piece by piece took three to seven seconds; 80 MB took over twenty."""


def saved(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (9, 200, 30)).save(buffer, format)
    return buffer.getvalue()


JPEG, PNG, GIF, JP2, BMP = (saved(name) for name in ("JPEG", "PNG", "GIF", "JPEG2000", "BMP"))
FRAME = GIF.index(b"\x2c")
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
RESOURCES = b"\xff\xed\xff\xffPhotoshop 3.0\0" + (b"8BIM\x04\x04\0\0\0\0\0\0" * 6000)[: 65533 - 14]
ENDLESS = {
    "JPEG, zeros": (b"\xff\xd8\xff", b"\0", b""),
    "JPEG, fill bytes": (JPEG[:2], b"\xff", b""),
    "JPEG, fill and zeros": (JPEG[:2], b"\xff\0", b""),
    "JPEG, empty segments": (JPEG[:2], b"\xff\xe5\0\2", JPEG[2:]),
    "JPEG, restarts": (JPEG[:2], b"\xff\xd0", JPEG[2:]),
    "JPEG, markers": (JPEG[:-2] + b"\xff\xda" * 300, b"\xff\x01", b""),
    "JPEG, resources": (JPEG[:2], RESOURCES, JPEG[2:]),
    "PNG, empty chunks": (PNG[:33], chunk(b"aaAa"), PNG[33:]),
    "PNG, empty pixels": (PNG[:33], chunk(b"IDAT"), PNG[33:]),
    "PNG, zeros": (PNG[:33], b"\0", b""),
    "GIF, comments": (GIF[:FRAME], b"\x21\xfe\1c\0", GIF[FRAME:]),
    "GIF, pieces": (GIF[:FRAME] + b"\x21\xfe", b"\1c", b"\0" + GIF[FRAME:]),
    "GIF, zeros": (GIF[:13], b"\0", b""),
    "JPEG 2000, boxes": (JP2[:12], b"\0\0\0\x08free", JP2[12:]),
    "WebP, zeros": (b"RIFF" + struct.pack("<I", SIZE) + b"WEBP", b"\0", b""),
    "HEIC, boxes": (HEIC, b"\0\0\0\x08free", b""),
    "PPM, blanks": (b"P6", b" ", b"4 4 255\n" + bytes(48)),
    "PPM, comment": (b"P6 #", b"x", b"\n4 4 255\n" + bytes(48)),
    "PPM of text, comments": (b"P3 4 4 255\n", b"#\n", b"1 " * 48),
    "BMP, empty runs": (BMP[:28] + b"\x08\0\1\0\0\0" + BMP[34:54], b"\0", b""),
    "BigTIFF, entries": (
        b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, SIZE // 20),
        struct.pack("<HHQQ", 1000, 3, 1, 1),
        b"",
    ),
}
"""How each file begins, what it repeats, and how it would go on."""


@pytest.mark.parametrize(("head", "piece", "tail"), ENDLESS.values(), ids=ENDLESS)
def test_a_header_without_end_is_given_up(head: bytes, piece: bytes, tail: bytes) -> None:
    content = head + piece * (SIZE // len(piece)) + tail
    started = time.process_time()
    estimate_need(content)
    with pytest.raises(PhotoError):
        read_photo(content)
    assert time.process_time() - started < 4


def test_what_stands_behind_a_whole_picture_is_not_walked() -> None:
    for name in ("JPEG", "PNG", "WEBP", "BMP"):
        started = time.process_time()
        assert read_photo(saved(name) + bytes(SIZE)).pixels.shape == (30, 40, 3)
        assert time.process_time() - started < 4


@pytest.mark.parametrize("head", [b"\xff\xd8\xff", b"P6 ", b"nothing", b"", b"GIF89a\1\0\1\0\0\0\0"])
def test_a_sparse_file_of_gigabytes_is_refused_at_once(tmp_path: Path, head: bytes) -> None:
    place = tmp_path / "sparse.jpg"
    with place.open("wb") as file:
        file.write(head)
        file.truncate(2_600_000_000)
    started = time.process_time()
    estimate_need(place)
    with pytest.raises(PhotoError):
        read_file(place, max_megapixels=1)
    assert time.process_time() - started < 3


def test_what_is_no_picture_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    place = tmp_path / "film.jpg"
    with place.open("wb") as file:
        file.truncate(2_600_000_000)
    started = time.process_time()
    with pytest.raises(PhotoError, match="is not a picture"):
        read_file(place)
    assert time.process_time() - started < 2


def test_many_pieces_that_photographs_have_are_read() -> None:
    """Hundreds of segments, thousands of small chunks and a comment of a megabyte."""
    jpeg, png = saved("JPEG"), saved("PNG")
    assert read_photo(jpeg[:2] + b"\xff\xe5\0\2" * 5000 + jpeg[2:]).pixels.shape == (30, 40, 3)
    texts = chunk(b"tEXt", b"a\0b") * 5000 + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(5_000_000)))
    assert read_photo(png[:33] + texts + png[33:]).pixels.shape == (30, 40, 3)
    assert estimate_need(png[:33] + texts + png[33:]).photo_bytes > 0
    comment = b"P6 #" + b"x" * 20_000 + b"\n4 4 255\n" + bytes(48)
    assert read_photo(comment).pixels.shape == (4, 4, 3)


def test_markers_between_the_pixels_and_the_end_are_not_walked_without_end() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    begun = time.process_time()
    photo = read_photo(jpeg[:-2] + b"\xff\xdc\0\4\0\x30" * 10_000_000 + b"\xff\xd9")
    assert photo.pixels.shape == (48, 64, 3)
    assert time.process_time() - begun < 4
