"""TIFF written as it came: compression, depth, byte order, and every tag with its type and bytes."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.metadata.directories import (
    DirectoryReader,
    Value,
    append_directory,
)
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.tiff import strips as tiff_strips
from rave_runtime.photos.tiff.strips import LOSSLESS
from rave_runtime.photos.tiff.structure import write_tiff
from tests.runtime.formats.tiff.tagged import directories, pixels_of, tags_of
from tests.runtime.zoo.animal import save

COMPRESSIONS = ["raw", *(name for name in LOSSLESS if tiff_strips.can_compress(name))]
"""Those that this Pillow was built with."""


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
