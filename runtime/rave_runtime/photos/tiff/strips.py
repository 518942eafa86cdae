"""Pixels as TIFF compresses them: strips of rows, and the tags that say how they are packed.

Pillow's libtiff compresses rows of bytes, whatever the bytes mean, so one way serves 8 and 16 bits, any
number of channels and both byte orders, without a further library.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from rave_runtime.arrays import Pixels
from rave_runtime.photos.jpeg import jpeg_segments, sampling_of
from rave_runtime.photos.metadata.directories import (
    LONG,
    SHORT,
    DirectoryReader,
    Value,
    append_directory,
    whole_numbers,
)

LOSSLESS: Final[Mapping[str, int]] = {
    "tiff_lzw": 5,
    "tiff_adobe_deflate": 8,
    "tiff_deflate": 32946,
    "packbits": 32773,
    "lzma": 34925,
    "zstd": 50000,
}
"""Pillow's names of the compressions that lose nothing and suit photographs, and TIFF's numbers."""

_ONE_PIXEL: Final = {
    "zstd": bytes.fromhex("28b52ffd006009000000"),
    "lzma": bytes.fromhex(
        "fd377a585a000000ff12d94102010301002101167920c4ee010000000000000000011101ada65804"
        "06729e7a010000000000595a"
    ),
}
"""One black pixel in the compressions that some builds of libtiff lack."""

_DEFLATE: Final = "tiff_adobe_deflate"
_RAW: Final = 1
_JPEG: Final = 7
_DIFFERENCES: Final = 2
"""TIFF's predictor that stores each value as its difference from the one before it in the row."""

_GREY: Final = 1
_RGB: Final = 2
_YCBCR: Final = 6

_STRIP_BYTES: Final = 1 << 16
_STRIPS_AT_ONCE: Final = 16
"""Bytes of a strip before compression, about, and how many Pillow compresses at a time. It enlarges the
memory for its result by 64 KiB at a time: large ones are copied so often that they take many times theirs."""

_JPEG_SIDE_PX: Final = 65500
_DEFAULT_QUALITY: Final = 92


class Strips(NamedTuple):
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
        options: as `tiff_options` returns them, or none of them.
        order: byte order of the file as `struct` names it.
    """
    name = written_compression(pixels, options)
    height, _, channels = pixels.shape
    if name == "jpeg":
        return _compress_jpeg(pixels, options)
    tags = _describe(pixels, _RGB if channels > 2 else _GREY)
    if name == "raw":
        tags |= {259: (SHORT, [_RAW]), 278: (LONG, [height])}
        return Strips([_stored(pixels, order).tobytes()], tags)
    if options.get("predictor") == _DIFFERENCES and name != "packbits":
        pixels = np.concatenate([pixels[:, :1], np.diff(pixels, axis=1)], 1)
        tags[317] = (SHORT, [_DIFFERENCES])
    rows = _stored(pixels, order).view(np.uint8).reshape(height, -1)
    strip_rows = max(1, _STRIP_BYTES // rows.shape[1])
    band_rows = strip_rows * _STRIPS_AT_ONCE
    bands = (rows[top : top + band_rows] for top in range(0, height, band_rows))
    strips = [strip for band in bands for strip in _strips_of(_save(band, name, strip_rows))]
    return Strips(strips, tags | {259: (SHORT, [LOSSLESS[name]]), 278: (LONG, [strip_rows])})


def written_compression(pixels: Pixels, options: Mapping[str, Any]) -> str:
    """Returns the compression that pixels get, as Pillow names it: the options' where that can be written.

    A compression that cannot hold these pixels, or that this Pillow does not have, becomes Deflate.
    """
    name = options.get("compression") or "raw"
    height, width, channels = pixels.shape
    if name == "jpeg":
        fits = pixels.dtype == np.uint8 and channels in (1, 3) and max(height, width) <= _JPEG_SIDE_PX
        return "jpeg" if fits else _DEFLATE
    return name if name == "raw" or (name in LOSSLESS and can_compress(name)) else _DEFLATE


@functools.cache
def can_compress(name: str) -> bool:
    """Tells whether this Pillow has a compression, which depends on how its libtiff was built.

    It is asked to read one pixel, because Pillow 11.3 crashes after writing with a compression that its
    libtiff does not have.
    """
    if name not in _ONE_PIXEL:
        return name in LOSSLESS
    strip = _ONE_PIXEL[name]
    tags = _describe(np.zeros((1, 1, 1), np.uint8), _GREY) | {
        259: (SHORT, [LOSSLESS[name]]),
        273: (LONG, [8]),
        278: (LONG, [1]),
        279: (LONG, [len(strip)]),
    }
    out = bytearray(b"II*\0" + bytes(4) + strip)
    values = {tag: whole_numbers(kind, numbers, "<") for tag, (kind, numbers) in tags.items()}
    struct.pack_into("<I", out, 4, append_directory(out, {}, values, "<"))
    try:
        with Image.open(io.BytesIO(out)) as image:
            image.load()
    except OSError:
        return False
    return True


def _save(rows: NDArray[np.uint8], name: str, strip_rows: int) -> bytes:
    file = io.BytesIO()
    strip_size = strip_rows * rows.shape[1]
    Image.fromarray(rows).save(file, "TIFF", compression=name, strip_size=strip_size)
    return file.getvalue()


def _compress_jpeg(pixels: Pixels, options: Mapping[str, Any]) -> Strips:
    """Makes one strip that is a JPEG, with the tables and subsampling of the options."""
    height, _, channels = pixels.shape
    names = ("qtables", "subsampling", "keep_rgb")
    settings = {key: options[key] for key in names if key in options} or {"quality": _DEFAULT_QUALITY}
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


def _strips_of(tiff: bytes) -> list[bytes]:
    """Returns the strips of a TIFF's first picture."""
    reader = DirectoryReader(tiff)
    tags = reader.read(reader.first)
    places, lengths = (_whole_numbers(tags.get(tag), reader.order) for tag in (273, 279))
    return [tiff[place : place + length] for place, length in zip(places, lengths, strict=False)]


def _whole_numbers(value: object, order: str) -> list[int]:
    if not isinstance(value, Value) or value.kind not in (SHORT, LONG):
        return []
    letter = "H" if value.kind == SHORT else "I"
    return list(struct.unpack(f"{order}{value.count}{letter}", value.data))


def _jpeg_options(content: bytes) -> dict[str, Any]:
    """Reads tables and subsampling of a TIFF whose strips or tiles are JPEGs and may share their tables."""
    reader = DirectoryReader(content)
    tags = reader.read(reader.first)
    shared_tables = tags.get(347)
    tables = shared_tables.data.removesuffix(b"\xff\xd9") if isinstance(shared_tables, Value) else b"\xff\xd8"
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
            _, sampling = sampling_of(image.layer)
    except Exception:  # whatever a damaged header makes Pillow stumble over
        return {}
    while len(quantization) > 1 and quantization[-1] == quantization[-2]:
        quantization.pop()
    photometric = _whole_numbers(tags.get(262), reader.order)
    options: dict[str, Any] = {"qtables": quantization[:3]}
    options["subsampling"] = sampling if photometric == [_YCBCR] else 0
    return options | ({"keep_rgb": True} if photometric == [_RGB] else {})
