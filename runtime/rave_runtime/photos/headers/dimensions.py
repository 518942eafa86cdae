"""How large a picture is by its header alone, so that the memory it needs is known before it is read."""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from PIL import Image, JpegImagePlugin

from rave_runtime.errors import PhotoError
from rave_runtime.photos.codecs.raw import raw_size
from rave_runtime.photos.codecs.raw_kind import is_raw_tiff
from rave_runtime.photos.codecs.still_gif import StillGif
from rave_runtime.photos.decoders import decoding
from rave_runtime.photos.formats import format_named, format_of_content
from rave_runtime.photos.headers.bounded import BoundedFile
from rave_runtime.photos.headers.boxes import photograph_properties
from rave_runtime.photos.sixteen_bit import jpeg_2000_bits

_MAX_META: Final = 1 << 24
"""Bytes of the table of an AVIF's or HEIC's items that are read."""


class Dimensions(NamedTuple):
    """What a header says of a picture's size.

    Attributes:
        format: the name of the file's format.
        width: the width in pixels.
        height: the height in pixels.
        is_deep: whether it has more than 8 bits per channel.
        is_progressive: whether it is a progressive JPEG, which is held twice while it is decoded.
        may_have_alpha: whether it has transparency, or may have.
        file_bytes: size of the file.
        is_grey_tiff: whether it is a TIFF of one channel, such as a scan of a glass plate.
    """

    format: str
    width: int
    height: int
    is_deep: bool
    is_progressive: bool
    may_have_alpha: bool
    file_bytes: int
    is_grey_tiff: bool = False


def read_dimensions(source: Path | bytes) -> Dimensions | None:
    """Reads the dimensions of a photograph; None where its header is of no known format, or is damaged.

    A file is read for its header only. Pipes, devices and folders have none.
    """
    try:
        if isinstance(source, bytes):
            return _raw(source, io.BytesIO(source)) or _dimensions(io.BytesIO(source), len(source))
        if not source.is_file():  # opening a pipe would wait for a writer
            return None
        with source.open("rb") as file:
            return _raw(source, file) or _dimensions(file, os.fstat(file.fileno()).st_size)
    except Exception:  # the reader reports what is wrong with the file
        return None


def _raw(source: Path | bytes, file: BinaryIO) -> Dimensions | None:
    """Returns the dimensions of a camera's raw file; None for other files, and where it cannot be opened."""
    name = format_of_content(file.read(64))
    is_raw = name == "RAW" or (name == "TIFF" and is_raw_tiff(file))
    file.seek(0)
    if not is_raw:
        return None
    width, height = raw_size(source)
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    return Dimensions("RAW", width, height, False, False, False, size)


def _dimensions(file: BinaryIO, size: int) -> Dimensions | None:
    """Reads the dimensions from an open file of a known format."""
    head = file.read(64)
    name = format_of_content(head)
    if name is None:
        return None
    file.seek(0)
    readers: dict[str, Callable[[BinaryIO], tuple[int, int, bool]]] = {
        "PNG": _png,
        "WEBP": _webp,
        "AVIF": _of_items,
        "HEIF": _of_items,
        "JXL": _jxl,
    }
    is_progressive = is_grey = False
    if name in readers:
        width, height, is_deep = readers[name](file)
    else:
        with decoding, _open(name, BoundedFile(file, size)) as image:  # lifts Pillow's size limit
            width, height = max(image.size, _tile_of(image), key=math.prod)
            is_deep = _is_deep(image)
            is_grey = name == "TIFF" and image.mode in ("1", "L", "I;16", "I;16B")
            if name == "JPEG2000":
                file.seek(0)
                is_deep = is_deep or jpeg_2000_bits(file.read(_MAX_META)) > 8
            is_progressive = bool(image.info.get("progressive"))
    may_have_alpha = _may_have_alpha(name, head)
    return Dimensions(name, width, height, is_deep, is_progressive, may_have_alpha, size, is_grey)


def _may_have_alpha(name: str, head: bytes) -> bool:
    if name == "WEBP" and head[12:16] != b"VP8L":
        return head[12:16] == b"VP8X" and bool(head[20] & 0x10)
    return format_named(name).has_alpha


def _open(name: str, file: BoundedFile) -> Image.Image:
    if name == "JPEG":  # never as a container of several pictures
        return JpegImagePlugin.JpegImageFile(file)
    if name == "GIF":
        return StillGif(file)
    return Image.open(file, formats=[name])


def _tile_of(image: Image.Image) -> tuple[int, int]:
    """Returns width and height of a TIFF's tiles, which are decoded whole."""
    tags: Any = getattr(image, "tag_v2", {})
    return int(tags.get(322, 0)), int(tags.get(323, 0))


def _is_deep(image: Image.Image) -> bool:
    """Tells whether a header speaks of more than 8 bits per channel."""
    tags: Any = getattr(image, "tag_v2", {})
    codec, _, _, arguments = (getattr(image, "tile", None) or [("", (), 0, ())])[0]
    if codec in ("ppm", "ppm_plain"):
        return int(arguments[1]) > 255 if len(arguments) > 1 else False
    return image.mode.startswith(("I", "F")) or max(tags.get(258, (8,))) > 8


def _png(file: BinaryIO) -> tuple[int, int, bool]:
    head = file.read(64)
    place = 28 if head[12:16] == b"CgBI" else 12  # a chunk that Xcode puts before it
    width, height, bits = struct.unpack_from(">IIB", head, place + 4)
    return width, height, bits > 8


def _webp(file: BinaryIO) -> tuple[int, int, bool]:
    head = file.read(64)
    if head[12:16] == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
    elif head[12:16] == b"VP8L":
        (packed,) = struct.unpack_from("<I", head, 21)
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    else:
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", head, 26))
    return width, height, False


def _jxl(file: BinaryIO) -> tuple[int, int, bool]:
    from rave_runtime.photos.headers.jpeg_xl import read_jxl_header  # others do not wait for it

    header = read_jxl_header(file.read(_MAX_META))
    return header.width, header.height, header.bits > 8


def _of_items(file: BinaryIO) -> tuple[int, int, bool]:
    """Returns the largest width and height of an AVIF's or HEIC's photograph and tiles; False is 8 bits."""
    for _ in range(100):
        start = file.tell()
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        if kind == b"meta":
            file.seek(start)
            content = file.read(min(length, _MAX_META))
            sizes = [
                struct.unpack_from(">II", data, 4)
                for name, data in photograph_properties(content)
                if name == b"ispe"
            ]
            return max(size[0] for size in sizes), max(size[1] for size in sizes), False
        if length < 8:
            break
        file.seek(start + length)
    raise PhotoError("has no table of pictures")
