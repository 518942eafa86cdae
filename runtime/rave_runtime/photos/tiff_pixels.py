"""Pixels as TIFF compresses them: strips of rows, and the tags that say how they are packed.

Pillow's libtiff compresses rows of bytes, whatever the bytes mean, so one way serves 8 and 16 bits, any
number of channels and both byte orders, without a further library.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image, JpegImagePlugin

from rave_runtime.photos.jpeg import jpeg_segments
from rave_runtime.photos.metadata.directories import LONG, SHORT, DirectoryReader, Value
from rave_runtime.photos.photo import Pixels

LOSSLESS: Final[Mapping[str, int]] = {
    "tiff_lzw": 5,
    "tiff_adobe_deflate": 8,
    "tiff_deflate": 32946,
    "packbits": 32773,
    "lzma": 34925,
    "zstd": 50000,
}
"""Pillow's names of the compressions that lose nothing and suit photographs, and TIFF's numbers."""

_RAW: Final = 1
_JPEG: Final = 7
_DIFFERENCES: Final = 2
"""TIFF's predictor that stores each value as its difference from the one before it in the row."""

_GREY: Final = 1
_RGB: Final = 2
_YCBCR: Final = 6

_JPEG_SIDE_PX: Final = 65500
_DEFAULT_QUALITY: Final = 92


@dataclass(frozen=True)
class Strips:
    """Compressed pixels.

    Attributes:
        content: the strips, top down.
        tags: type and whole numbers of each tag about the pixels, but for the strips' places and lengths.
    """

    content: list[bytes]
    tags: dict[int, tuple[int, list[int]]]


def tiff_options(image: Image.Image, content: bytes) -> dict[str, Any]:
    """Reads how an opened TIFF is compressed, for `compress_pixels`.

    Returns:
        `compression` as Pillow names it, `predictor` as TIFF numbers it, and for JPEG inside TIFF `qtables`,
        `subsampling` and `keep_rgb` as Pillow's JPEG encoder takes them.
    """
    tags = getattr(image, "tag_v2", {})
    options: dict[str, Any] = {"compression": image.info.get("compression"), "predictor": tags.get(317, 1)}
    if options["compression"] == "jpeg":
        options |= _jpeg_options(content)
    return options


def compress_pixels(pixels: Pixels, options: Mapping[str, Any], order: str) -> Strips:
    """Compresses pixels as the options say, into strips as TIFF stores them.

    Args:
        pixels: [h, w, 1 to 4] uint8 or uint16; grey or colour, with alpha last.
        options: as `tiff_options` returns them, or none of them. Compressions that are not written here,
            such as those of fax machines, become Deflate.
        order: byte order of the file as `struct` names it.
    """
    name = options.get("compression")
    height, width, channels = pixels.shape
    if (
        name == "jpeg"
        and pixels.dtype == np.uint8
        and channels in (1, 3)
        and max(height, width) <= _JPEG_SIDE_PX
    ):
        return _compress_jpeg(pixels, options)
    tags = _describe(pixels, _RGB if channels > 2 else _GREY)
    if name in ("raw", None):
        return Strips(
            [_stored(pixels, order).tobytes()], tags | {259: (SHORT, [_RAW]), 278: (LONG, [height])}
        )
    if name not in LOSSLESS:
        name = "tiff_adobe_deflate"
    if options.get("predictor") == _DIFFERENCES and name != "packbits":
        pixels = np.concatenate([pixels[:, :1], np.diff(pixels, axis=1)], 1)
        tags[317] = (SHORT, [_DIFFERENCES])
    file = io.BytesIO()
    Image.fromarray(_stored(pixels, order).view(np.uint8).reshape(height, -1)).save(
        file, "TIFF", compression=name
    )
    strips, strip_rows = _strips_of(file.getvalue())
    return Strips(strips, tags | {259: (SHORT, [LOSSLESS[name]]), 278: (LONG, [strip_rows])})


def _compress_jpeg(pixels: Pixels, options: Mapping[str, Any]) -> Strips:
    """Makes one strip that is a JPEG, with the tables and subsampling of the options."""
    height, _, channels = pixels.shape
    known = ("qtables", "subsampling", "keep_rgb")
    settings = {key: options[key] for key in known if key in options} or {"quality": _DEFAULT_QUALITY}
    if channels == 1:
        settings = {key: value for key, value in settings.items() if key not in ("subsampling", "keep_rgb")}
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "JPEG", **settings)
    jpeg = file.getvalue()
    if jpeg.startswith(b"\xff\xe0", 2):  # a strip has no JFIF header
        jpeg = jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6]) :]
    tags = {259: (SHORT, [_JPEG]), 278: (LONG, [height])}
    if channels == 1 or settings.get("keep_rgb"):
        return Strips([jpeg], _describe(pixels, _GREY if channels == 1 else _RGB) | tags)
    frame = next(data for marker, data in jpeg_segments(jpeg) if 0xC0 <= marker <= 0xC2)
    sampling = [frame[7] >> 4, frame[7] & 15]
    tags |= {530: (SHORT, sampling), 531: (SHORT, [1])}
    return Strips([jpeg], _describe(pixels, _YCBCR) | tags)


def _describe(pixels: Pixels, photometric: int) -> dict[int, tuple[int, list[int]]]:
    height, width, channels = pixels.shape
    return {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [8 * pixels.dtype.itemsize] * channels),
        262: (SHORT, [photometric]),
        277: (SHORT, [channels]),
        284: (SHORT, [1]),
        **({338: (SHORT, [2])} if channels in (2, 4) else {}),
    }


def _stored(pixels: Pixels, order: str) -> Pixels:
    """Lays the pixels one after another, in that byte order."""
    return np.ascontiguousarray(pixels, f"{order}u{pixels.dtype.itemsize}")


def _strips_of(tiff: bytes) -> tuple[list[bytes], int]:
    """Returns the strips of a TIFF's first picture, and the rows of each but the last."""
    reader = DirectoryReader(tiff)
    tags = reader.read(reader.first)
    places, lengths, rows = (_whole_numbers(tags.get(tag), reader.order) for tag in (273, 279, 278))
    strips = [tiff[place : place + length] for place, length in zip(places, lengths, strict=False)]
    return strips, rows[0] if rows else 0


def _whole_numbers(value: object, order: str) -> list[int]:
    if not isinstance(value, Value) or value.kind not in (SHORT, LONG):
        return []
    letter = "H" if value.kind == SHORT else "I"
    return list(struct.unpack(f"{order}{value.count}{letter}", value.data))


def _jpeg_options(content: bytes) -> dict[str, Any]:
    """Reads tables and subsampling of a TIFF whose strips or tiles are JPEGs and may share their tables."""
    reader = DirectoryReader(content)
    tags = reader.read(reader.first)
    shared = tags.get(347)
    tables = shared.data.removesuffix(b"\xff\xd9") if isinstance(shared, Value) else b"\xff\xd8"
    places, lengths = (
        _whole_numbers(tags.get(strip) or tags.get(tile), reader.order)
        for strip, tile in ((273, 324), (279, 325))
    )
    if not places or not lengths:
        return {}
    first = content[places[0] : places[0] + lengths[0]]
    try:
        with JpegImagePlugin.JpegImageFile(io.BytesIO(tables + first[2:])) as image:
            quantization = [list(image.quantization[layer[3]]) for layer in image.layer]
            sampling = JpegImagePlugin.get_sampling(image)
    except Exception:  # whatever a damaged header makes Pillow stumble over
        return {}
    while len(quantization) > 1 and quantization[-1] == quantization[-2]:
        quantization.pop()
    photometric = _whole_numbers(tags.get(262), reader.order)
    options: dict[str, Any] = {"qtables": quantization[:3]}
    options["subsampling"] = sampling if sampling in (0, 1, 2) and photometric == [_YCBCR] else 0
    return options | ({"keep_rgb": True} if photometric == [_RGB] else {})
