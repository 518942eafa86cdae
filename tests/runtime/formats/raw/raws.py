"""Raw files that tests make themselves: small DNGs of a mosaic or of linear colour, byte by byte."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LONG = 4
"""The type of entries that hold numbers of 32 bits."""

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


def jpeg_xl_of(values: NDArray[np.generic]) -> bytes:
    """A lossless JPEG XL of values: [h, w] or [h, w, 3]."""
    import imagecodecs

    return bytes(imagecodecs.jpegxl_encode(np.ascontiguousarray(values), lossless=True))


def change_entry(content: bytes, tag: int, kind: int, count: int, new: bytes) -> bytes:
    """Puts other bytes in the place of an entry's count and value."""
    at = content.index(struct.pack("<HHI", tag, kind, count)) + 4
    return content[:at] + new + content[at + len(new) :]


def big_endian(content: bytes) -> bytes:
    """The same file with the other order of bytes, as Apple writes them; what is compressed stays."""
    out = bytearray(b"MM\0*" + bytes(4) + content[8:])
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 7: 1, 10: 4}
    (first,) = struct.unpack_from("<I", content, 4)
    struct.pack_into(">I", out, 4, first)
    to_visit = [first]
    while to_visit:
        start = to_visit.pop()
        (count,) = struct.unpack_from("<H", content, start)
        struct.pack_into(">H", out, start, count)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from("<HHI", content, at)
            struct.pack_into(">HHI", out, at, tag, kind, number)
            size = sizes[kind]
            held = size * number * (2 if kind in (5, 10) else 1)
            (place,) = struct.unpack_from("<I", content, at + 8) if held > 4 else (at + 8,)
            if held > 4:
                struct.pack_into(">I", out, at + 8, place)
            for each in range(place, place + held, size):
                out[each : each + size] = content[each : each + size][::-1]
            if tag in (330, 34665, 34853):
                to_visit.append(struct.unpack_from("<I", content, at + 8)[0])
    return bytes(out)


def _operations(height: int, width: int, linear: bool, squares: bool, gains: bool) -> bytes:
    """Operations on the values of each channel, or of each place in a mosaic's squares."""
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    areas = [(0, 0, each, 1) for each in range(3)] if linear else [(*place, 0, 2) for place in places]
    operations = [(3, b"")]  # one that is not known
    for top, left, plane, step in areas:
        area = struct.pack(">8I", top, left, height, width, plane, 1, step, step)
        if squares:
            operations.append((8, area + struct.pack(">I3d", 2, 0, 0, 1)))
        if gains:
            points = np.linspace(0, 1, 5)
            grid = struct.pack(">2I4dI", 5, 5, 0.25, 0.25, 0, 0, 1)
            operations.append((9, area + grid + (1 / shade(points[:, None], points)).astype(">f4").tobytes()))
    listed = [struct.pack(">4I", kind, 0x01030000, 0, len(data)) + data for kind, data in operations]
    return struct.pack(">I", len(listed)) + b"".join(listed)


def shade(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a lens leaves of the light at places from 0 to 1: the inverse of it is linear in both."""
    dark: NDArray[np.float64] = 1 / (1 + y + 0.5 * x)
    return dark


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
    jpeg_xl: bool = False,
    interleaved: bool = False,
    squared: int = 0,
    shaded: bool = False,
    black: int = 0,
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
        jpeg_xl: whether the values are compressed as JPEG XL.
        interleaved: whether the even rows stand before the odd ones, and the even columns likewise.
        squared: the bits of the values that are stored if they are the square roots of the light, with a list
            of operations that squares them; 0 stores the sensor's values.
        shaded: whether one corner is dark, with a list of operations against it.
        black: what is stored where there is no light.
        half_floats: whether the sensor's values are floating-point numbers of 16 bits, up to 1; in one strip.
        scale: by how much the picture is to be stretched across and down, so that its pixels are square.
    """
    height, width = scene.shape[:2]
    file = _File()
    if linear:
        values = np.clip(scene * np.array(WHITE) * (2**bits - 1) + 0.5, 0, 2**bits - 1).astype(np.uint16)
    else:
        values = mosaic(scene, bits)
    if shaded:
        places = [(np.arange(length) + 0.5) / length for length in (height, width)]
        dark = shade(places[0][:, None], places[1])
        values = (values * (dark[..., None] if linear else dark) + 0.5).astype(np.uint16)
    white = 2 ** (squared or bits) - 1
    if squared:
        values = (np.sqrt(values / (2**bits - 1)) * (white - black) + 0.5).astype(np.uint16) + np.uint16(
            black
        )
    stored = (values / white).astype("<f2") if half_floats else values.astype("<u2")
    if interleaved:
        stored = np.concatenate([stored[0::2], stored[1::2]])
        stored = np.concatenate([stored[:, 0::2], stored[:, 1::2]], axis=1)
    packed = jpeg_xl_of if jpeg_xl else np.ndarray.tobytes
    if tile_px is None:
        strip = packed(stored)
        pieces = [long(273, file.put(strip)), long(278, height), long(279, len(strip))]
    else:
        tiles = [
            packed(stored[top : top + tile_px, left : left + tile_px])
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
        short(259, 52546 if jpeg_xl else 1),
        short(262, 34892 if linear else 32803),
        *pieces,
        short(277, 3 if linear else 1),
        short(284, 1),
    ]
    if interleaved:
        picture += [long(50975, 2), long(52547, 2)]
    if scale is not None:
        picture.append(rational(50718, *scale))
    if not half_floats:  # whose white is 1
        picture.append(long(50717, *((white,) * (3 if linear else 1))))
    if black:
        picture.append(long(50714, *((black,) * (3 if linear else 1))))
    if squared or shaded:
        operations = _operations(height, width, linear, squared > 0, shaded)
        picture.append(raw_bytes(51009, 7, operations))
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
