"""Content Credentials vouch for the unchanged picture: they go, with a word, and other boxes stay."""

from __future__ import annotations

import struct

from PIL import features

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.jpeg import jpeg_segments
from rave_runtime.photos.png import chunks
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import exif, jpeg_with, png, png_chunk
from tests.runtime.metadata.trailers import JPEG, heif_box
from tests.runtime.zoo.animal import RGB, save

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
