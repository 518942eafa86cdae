"""Raw files that tests make themselves: small DNGs of a mosaic or of linear colour, byte by byte."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WHITE = 0.6, 1.0, 0.5
"""What the sensor of these cameras gives for a white of which green gives 1."""

_SRGB_FROM_XYZ = (3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570)

_SRGB_FROM_XYZ_SCALED = tuple(
    value * white
    for row, white in zip(range(3), WHITE, strict=True)
    for value in _SRGB_FROM_XYZ[3 * row : 3 * row + 3]
)
"""From XYZ to the sensor's values, DNG's ColorMatrix1: sRGB's primaries times what it gives for white."""

Entry = tuple[int, int, int, bytes]
"""Tag, type, count and data of one entry."""


def ascii_(tag: int, text: str) -> Entry:
    data = text.encode() + b"\0"
    return tag, 2, len(data), data


def short(tag: int, *numbers: int) -> Entry:
    return tag, 3, len(numbers), struct.pack(f"<{len(numbers)}H", *numbers)


def long(tag: int, *numbers: int) -> Entry:
    return tag, 4, len(numbers), struct.pack(f"<{len(numbers)}I", *numbers)


def rational(tag: int, *numbers: float, signed: bool = False) -> Entry:
    parts = [part for number in numbers for part in (round(number * 10000), 10000)]
    kind, code = (10, "i") if signed else (5, "I")
    return tag, kind, len(numbers), struct.pack(f"<{len(parts)}{code}", *parts)


def raw_bytes(tag: int, kind: int, data: bytes) -> Entry:
    return tag, kind, len(data), data


class _File:
    def __init__(self) -> None:
        self.out = bytearray(b"II*\0" + bytes(4))

    def put(self, data: bytes) -> int:
        self.out += bytes(len(self.out) % 2)
        place = len(self.out)
        self.out += data
        return place

    def directory(self, entries: Sequence[Entry]) -> int:
        fields = []
        for tag, kind, count, data in sorted(entries):
            value = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", self.put(data))
            fields.append(struct.pack("<HHI", tag, kind, count) + value)
        return self.put(struct.pack("<H", len(fields)) + b"".join(fields) + bytes(4))


def mosaic(scene: NDArray[np.float64], bits: int = 14) -> NDArray[np.uint16]:
    """What a sensor with red, green, green and blue sees of linear sRGB in [0, 1]: [h, w]."""
    seen = scene * np.array(WHITE)
    rows, cols = np.mgrid[0 : scene.shape[0], 0 : scene.shape[1]]
    channel = np.where(rows % 2 == 0, np.where(cols % 2 == 0, 0, 1), np.where(cols % 2 == 0, 1, 2))
    values = np.take_along_axis(seen, channel[..., None], 2)[..., 0]
    counts: NDArray[np.float64] = np.clip(values * (2**bits - 1) + 0.5, 0, 2**bits - 1)
    return counts.astype(np.uint16)


def make_dng(
    scene: NDArray[np.float64],
    *,
    bits: int = 14,
    linear: bool = False,
    orientation: int = 1,
    preview: NDArray[np.uint8] | None = None,
    baseline_ev: float | None = None,
    xmp: bytes | None = None,
    iptc: bytes | None = None,
    adobe_rgb: bool = False,
    gps: bool = True,
    tile_px: int | None = None,
    half_floats: bool = False,
    scale: tuple[int, int] | None = None,
) -> bytes:
    """A DNG of a scene.

    Args:
        scene: [h, w, 3] linear sRGB in [0, 1]; what is above 1 is clipped by the sensor.
        bits: of the sensor's values.
        linear: whether all three colours stand in each pixel, instead of a mosaic.
        orientation: as EXIF numbers it.
        preview: what the camera's JPEG would show, [h, w, 3].
        baseline_ev: the brightness that the file asks for, in stops.
        xmp: a packet.
        iptc: captions.
        adobe_rgb: whether the camera was set to Adobe RGB for its JPEGs.
        gps: whether it says where it was taken.
        tile_px: the side of the tiles that its pixels stand in, of which its sides are multiples; None is
            one strip.
        half_floats: whether the sensor's values are floating-point numbers of 16 bits, up to 1; in one strip.
        scale: by how much the picture is to be stretched across and down, so that its pixels are square.
    """
    height, width = scene.shape[:2]
    file = _File()
    if linear:
        values = np.clip(scene * np.array(WHITE) * (2**bits - 1) + 0.5, 0, 2**bits - 1).astype(np.uint16)
    else:
        values = mosaic(scene, bits)
    if tile_px is None:
        stored = (values / (2**bits - 1)).astype("<f2") if half_floats else values.astype("<u2")
        strip = file.put(stored.tobytes())
        pieces = [long(273, strip), long(278, height), long(279, values.nbytes)]
    else:
        tiles = [
            values[top : top + tile_px, left : left + tile_px].astype("<u2").tobytes()
            for top in range(0, height, tile_px)
            for left in range(0, width, tile_px)
        ]
        places = [file.put(tile) for tile in tiles]
        pieces = [long(322, tile_px), long(323, tile_px), long(324, *places)]
        pieces.append(long(325, *map(len, tiles)))
    picture = [
        long(256, width),
        long(257, height),
        short(258, *((16,) * (3 if linear else 1))),
        short(259, 1),
        short(262, 34892 if linear else 32803),
        *pieces,
        short(277, 3 if linear else 1),
        short(284, 1),
    ]
    if scale is not None:
        picture.append(rational(50718, *scale))
    if not half_floats:  # whose white is 1
        picture.append(long(50717, *((2**bits - 1,) * (3 if linear else 1))))
    if half_floats:
        picture.append(short(339, 3))
    if not linear:
        picture += [short(33421, 2, 2), raw_bytes(33422, 1, bytes((0, 1, 1, 2)))]
    details = [
        rational(33434, 1 / 250),
        rational(33437, 2.8),
        short(34855, 400),
        ascii_(36867, "2024:05:06 07:08:09"),
        rational(37386, 35),
        short(40961, 2 if adobe_rgb else 1),
        long(40962, width),
        long(40963, height),
    ]
    camera = [
        ascii_(271, "Testcam"),
        ascii_(272, "Testcam One"),
        short(274, orientation),
        ascii_(306, "2024:05:06 07:08:09"),
        ascii_(315, "Ann Ö. Body"),
        ascii_(33432, "(c) Ann"),
        long(34665, file.directory(details)),
        raw_bytes(50706, 1, bytes((1, 4, 0, 0))),
        ascii_(50708, "Testcam One"),
        rational(50721, *_SRGB_FROM_XYZ_SCALED, signed=True),
        rational(50728, *WHITE),
        short(50778, 21),
    ]
    if gps:
        place = [ascii_(1, "N"), rational(2, 48, 8, 14), ascii_(3, "E"), rational(4, 11, 34, 32)]
        camera.append(long(34853, file.directory(place)))
    if baseline_ev is not None:
        camera.append(rational(50730, baseline_ev, signed=True))
    if xmp is not None:
        camera.append(raw_bytes(700, 1, xmp))
    if iptc is not None:
        camera.append(raw_bytes(33723, 7, iptc))
    if preview is None:
        first = file.directory([*camera, *picture, long(254, 0)])
    else:
        buffer = io.BytesIO()
        Image.fromarray(preview).save(buffer, "JPEG", quality=95)
        jpeg = file.put(buffer.getvalue())
        raw = file.directory([*picture, long(254, 0)])
        first = file.directory(
            [
                *camera,
                long(254, 1),
                long(256, preview.shape[1]),
                long(257, preview.shape[0]),
                short(258, 8, 8, 8),
                short(259, 7),
                short(262, 6),
                long(273, jpeg),
                short(277, 3),
                long(278, preview.shape[0]),
                long(279, len(buffer.getvalue())),
                long(330, raw),
            ]
        )
    struct.pack_into("<I", file.out, 4, first)
    return bytes(file.out)
