"""Scanners may have more pixels per inch across than down: both turn with the picture, wherever they are."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, TiffImagePlugin

from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.jpeg import jpeg_segments, photoshop_resources
from rave_runtime.photos.metadata.directories import (
    RATIONAL,
    SHORT,
    Directory,
    DirectoryReader,
    Value,
    write_block,
)
from rave_runtime.photos.png import chunks, png_blocks, raw_profile
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import jpeg_with, png, png_chunk, scene

PIXELS = scene(40, 56)
ACROSS, DOWN = 1200, 600
RESOURCE = struct.pack(">IHHIHH", ACROSS << 16, 1, 2, DOWN << 16, 1, 3)
RESOURCES = b"8BIM\x03\xed\0\0" + struct.pack(">I", 16) + RESOURCE
PACKET = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:XResolution="1200/1">
<tiff:YResolution>600/1</tiff:YResolution>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def ratio(number: int, order: str) -> Value:
    return Value(RATIONAL, 1, struct.pack(order + "II", number, 1))


def exif_block(orientation: int, order: str) -> bytes:
    inner: Directory = {0xA20E: ratio(ACROSS, order), 0xA20F: ratio(DOWN, order)}
    tree: Directory = {
        274: Value(SHORT, 1, struct.pack(order + "H", orientation)),
        282: ratio(ACROSS, order),
        283: ratio(DOWN, order),
        296: Value(SHORT, 1, struct.pack(order + "H", 2)),
        0x8769: inner,
    }
    return b"Exif\0\0" + write_block(tree, order)[0]


def made(format: str, orientation: int) -> bytes:
    """A file that states its resolution in every way that its format knows."""
    if format == "PNG":
        per_metre = struct.pack(">IIB", ACROSS, DOWN, 1)
        resources = b"zTXt", b"Raw profile type 8bim\0\0"
        text = zlib.compress(raw_profile("8bim", RESOURCES).encode())
        before = png_chunk(b"pHYs", per_metre) + png_chunk(b"eXIf", exif_block(orientation, ">")[6:])
        return png(PIXELS, 2, before=before + png_chunk(resources[0], resources[1] + text))
    file = io.BytesIO()
    if format == "JPEG":
        Image.fromarray(PIXELS).save(file, "JPEG", dpi=(ACROSS, DOWN), quality=95)
        content = file.getvalue()
        start = 4 + int.from_bytes(content[4:6])
        return (
            content[:start]
            + jpeg_with(
                b"\0\0",
                (0xE1, exif_block(orientation, "<")),
                (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + PACKET),
                (0xED, b"Photoshop 3.0\0" + RESOURCES),
            )[2:]
            + content[start:]
        )
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[274] = orientation
    info[34377] = RESOURCES
    Image.fromarray(PIXELS).save(file, "TIFF", dpi=(ACROSS, DOWN), tiffinfo=info)
    return file.getvalue()


def stated(content: bytes, format: str) -> dict[str, tuple[Any, ...]]:
    """Every resolution that a file states, by where it stands."""
    found: dict[str, tuple[Any, ...]] = {}
    with Image.open(io.BytesIO(content)) as image:
        exif = image.getexif()
        if 282 in exif:
            found["EXIF"] = int(exif[282]), int(exif[283])
        inner = exif.get_ifd(0x8769)
        if 0xA20E in inner:
            found["sensor"] = int(inner[0xA20E]), int(inner[0xA20F])
    resources = b""
    if format == "JPEG":
        for marker, payload in jpeg_segments(content):
            if marker == 0xE0:
                found["JFIF"] = struct.unpack(">HH", payload[8:12])
            if payload.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
                text = payload.decode()
                across, down = text.partition('XResolution="')[2], text.partition("<tiff:YResolution>")[2]
                found["XMP"] = int(across.partition("/")[0]), int(down.partition("/")[0])
        resources = photoshop_resources(content) or b""
    elif format == "PNG":
        (density,) = (data for kind, data in chunks(content) if kind == b"pHYs")
        found["pHYs"] = struct.unpack(">II", density[:8])
        resources = png_blocks(content).captions or b""
    else:
        value = DirectoryReader(content)
        tag = value.read(value.first).get(34377)
        resources = tag.data if isinstance(tag, Value) else b""
    if len(resources) >= 28:
        across, down = struct.unpack_from(">I", resources, 12)[0], struct.unpack_from(">I", resources, 20)[0]
        found["Photoshop"] = across >> 16, down >> 16
    return found


def in_other_unit(numbers: tuple[int, int], format: str) -> tuple[int, int]:
    """Per inch where the file's own are per metre (PNG), and the other way round."""
    factor = 0.0254 if format == "PNG" else 1 / 0.0254
    return round(numbers[0] * factor), round(numbers[1] * factor)


EVERYWHERE = {
    "JPEG": {"EXIF", "sensor", "JFIF", "XMP", "Photoshop"},
    "PNG": {"EXIF", "sensor", "pHYs", "Photoshop"},
    "TIFF": {"EXIF", "Photoshop"},
}


@pytest.mark.parametrize("written", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
def test_resolutions_turn_with_the_picture(format: str, written: str, orientation: int) -> None:
    content = made(format, orientation)
    assert stated(content, format).keys() == EVERYWHERE[format]
    photo = read_photo(content)
    result = stated(encode_photo(photo, photo.pixels, written).content, written)
    if format == written:
        assert result.keys() == EVERYWHERE[format]
    assert result
    expected = (DOWN, ACROSS) if orientation >= 5 else (ACROSS, DOWN)
    for place, found in result.items():
        assert found in (expected, in_other_unit(expected, format)), place


@pytest.mark.parametrize("unit", [1, 2, 3])
def test_the_shape_of_pixels_is_no_resolution(unit: int) -> None:
    """ExifTool writes so what a JPEG has in JFIF, 1 x 1 without unit; it became 1 pixel per inch in PNG."""
    tree: Directory = {
        282: ratio(ACROSS, "<"),
        283: ratio(DOWN, "<"),
        296: Value(SHORT, 1, struct.pack("<H", unit)),
    }
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG")
    photo = read_photo(jpeg_with(file.getvalue(), (0xE1, b"Exif\0\0" + write_block(tree, "<")[0])))
    assert (photo.dpi is None) == (unit == 1)
