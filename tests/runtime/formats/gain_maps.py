"""Ultra HDR JPEGs that tests make themselves, and what announces their gain maps."""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.photos.jpeg import GAIN_MAP_SEGMENT

HEIGHT, WIDTH, SCALE = 192, 256, 4
MOST = 2.5
XMP = b"http://ns.adobe.com/xap/1.0/\0"
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
HDRGM = 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'


def segment(marker: int, payload: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(payload) + 2) + payload


def packet(body: str) -> bytes:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}>{body}</rdf:RDF></x:xmpmeta>'.encode()


def jpeg_of(pixels: NDArray[np.uint8], **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0, **options)
    return buffer.getvalue()


def iso_facts(channels: int = 1) -> bytes:
    """ISO's numbers, a ratio each."""
    flags = 0x80 if channels == 3 else 0
    data = struct.pack(">HHB", 0, 0, flags) + struct.pack(">IIII", 0, 1, 25, 10)
    for _ in range(channels):
        data += struct.pack(">iIiIIIiIiI", 0, 1, 25, 10, 1, 1, 1, 64, 1, 64)
    return GAIN_MAP_SEGMENT + data


def adobe_facts(most: str = f'hdrgm:GainMapMax="{MOST}"', inner: str = "") -> bytes:
    attributes = f'hdrgm:Version="1.0" hdrgm:GainMapMin="0" {most} hdrgm:Gamma="1" hdrgm:OffsetSDR="0.015625"'
    return XMP + packet(f'<rdf:Description rdf:about="" {HDRGM} {attributes}>{inner}</rdf:Description>')


def make_scene() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A bright sky over a dark ground, and its gain map: the sky is up to 2.5 stops brighter by it."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    rng = np.random.default_rng(0)
    ground = 0.12 + 0.04 * np.sin(40 * x) * np.cos(31 * y) + rng.normal(0, 0.01, (HEIGHT, WIDTH))
    base = np.where(y < 0.5, 0.75 + 0.15 * (0.5 - y), ground)
    pixels = (np.clip(base[..., None] * [1, 0.95, 0.9], 0, 1) * 255).astype(np.uint8)
    small_y = np.linspace(0, 1, HEIGHT // SCALE)[:, None] * np.ones((1, WIDTH // SCALE))
    gains = np.clip(0.55 - small_y, 0, 0.5) / 0.5
    return pixels, (gains * 255).astype(np.uint8)


def make_ultra_hdr(
    orientation: int = 1, facts: tuple[bytes, ...] = (), xmp: bool = True, channels: int = 1
) -> bytes:
    pixels, gains = make_scene()
    facts = facts or (segment(0xE1, adobe_facts()), segment(0xE2, iso_facts(channels)))
    second = jpeg_of(gains if channels == 1 else np.repeat(gains[..., None], 3, 2))
    second = second[:2] + b"".join(facts) + second[2:]
    exif = Image.Exif()
    exif[271], exif[274] = "Testcam", orientation
    first = jpeg_of(pixels, exif=exif.tobytes())
    added = b""
    if xmp:
        container = (
            'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
            'xmlns:Item="http://ns.google.com/photos/1.0/container/item/"'
        )
        items = "".join(
            f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="{name}" '
            f'Item:Mime="image/jpeg"{length}/></rdf:li>'
            for name, length in (("Primary", ""), ("GainMap", f' Item:Length="{len(second)}"'))
        )
        body = (
            f'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="3"/>'
            f'<rdf:Description rdf:about="" {HDRGM} {container} hdrgm:Version="1.0"><Container:Directory>'
            f"<rdf:Seq>{items}</rdf:Seq></Container:Directory></rdf:Description>"
        )
        added += segment(0xE1, XMP + packet(body))
    added += segment(0xE2, GAIN_MAP_SEGMENT + bytes(4))
    directory = struct.pack("<H", 3) + struct.pack("<HHI4s", 0xB000, 7, 4, b"0100")
    directory += struct.pack("<HHII", 0xB001, 4, 1, 2) + struct.pack("<HHII", 0xB002, 7, 32, 50) + bytes(4)
    length = len(first) + len(added) + 4 + 4 + 8 + len(directory) + 32
    start = length - (2 + len(added) + 4 + 4)
    entries = struct.pack("<IIIHH", 0x030000, length, 0, 0, 0)
    entries += struct.pack("<IIIHH", 0, len(second), start, 0, 0)
    index = segment(0xE2, b"MPF\0II*\0\x08\0\0\0" + directory + entries)
    return first[:2] + added + index + first[2:] + second
