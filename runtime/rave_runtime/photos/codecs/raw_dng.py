"""What LibRaw leaves out of DNGs: JPEG XL, as phones write it, and polynomials that make values linear.

LibRaw leaves JPEG XL to Adobe's DNG SDK, which its Python package is built without. So the tiles are decoded
here, and LibRaw gets the same file with the values uncompressed behind its end: as one tile, to which the
directory's entries point. Everything else of the file stays in its place.

DNGs with a loss, and some with eight bits, hold values that are spaced as the eye sees them. A list of
operations says how they become linear. LibRaw heeds it for the older lossy JPEG only.

Source: the DNG specification 1.7.1, which allows JPEG XL, describes the operations (OpcodeList2), and says
how interleaved rows and columns are stored: those of each remainder one after another, so that each colour of
a mosaic is a picture of its own.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.errors import PhotoError
from rave_runtime.photos.codecs.jpeg_xl import decode_values
from rave_runtime.photos.codecs.raw_kind import (
    BITS,
    COLUMNS_INTERLEAVED,
    COMPRESSION,
    HEIGHT,
    JPEG_XL,
    LOSSY_JPEG,
    PLACES,
    ROWS_INTERLEAVED,
    SAMPLES,
    STRIP_ROWS,
    TILE_HEIGHT,
    TILE_WIDTH,
    TILES,
    UNCOMPRESSED,
    WIDTH,
    RawDirectory,
    sensor_picture,
    why_incomplete,
)
from rave_runtime.photos.photo import check_size

_OPERATIONS: Final = 51009
_MAP_POLYNOMIAL: Final = 8
_POLYNOMIAL: Final = struct.Struct(">9I")
"""Of a polynomial: top, left, bottom and right of where it holds, the first channel and their number, the
steps from row to row and from column to column, and the degree; its coefficients follow."""

_MOST_DEGREE: Final = 8
_MOST_OPERATIONS: Final = 64
_TOP: Final = 65535
_STRIP_ROWS: Final = 64
_LONG: Final = 4
_MOST_BYTES: Final = 2**32 - 1
_DAMAGED: Final = "is damaged: the tiles of its picture do not fit together"


def without_jpeg_xl(content: bytes, max_megapixels: float) -> bytes:
    """Stores the values of a DNG uncompressed if they are compressed as JPEG XL.

    Args:
        content: a raw file of any kind.
        max_megapixels: larger pictures are refused before they are decoded.

    Returns:
        The file with its values uncompressed, or the file itself where they are not compressed as JPEG XL.

    Raises:
        PhotoError: the library is missing, or the file is damaged or too large.
    """
    picture = sensor_picture(io.BytesIO(content))
    if picture is None or picture.first(COMPRESSION) != JPEG_XL:
        return content
    width, height, samples = (picture.first(tag, 1) for tag in (WIDTH, HEIGHT, SAMPLES))
    check_size(width, height, max_megapixels)
    if (reason := why_incomplete(content)) is not None:
        raise PhotoError(reason)
    rows = _interleaved(height, picture.first(ROWS_INTERLEAVED, 1))
    columns = _interleaved(width, picture.first(COLUMNS_INTERLEAVED, 1))
    start = len(content) + len(content) % 2
    longer = bytearray()
    values: NDArray[Any] = np.empty(0)
    for top, left, tile in _tiles(content, picture, max_megapixels):
        if tile.shape[2] != samples or (longer and tile.dtype != values.dtype.newbyteorder("=")):
            raise PhotoError(_DAMAGED)
        if not longer:
            kind = np.dtype(picture.order + tile.dtype.str[1:])
            length = height * width * samples * kind.itemsize
            if start + length > _MOST_BYTES:
                raise PhotoError("is too large: uncompressed, it would have more than 4 GB")
            longer = bytearray(start + length)
            longer[: len(content)] = content
            values = np.frombuffer(longer, kind, offset=start).reshape(height, width, samples)
        inside = tile[: height - top, : width - left]
        of_rows, of_columns = rows[top : top + inside.shape[0]], columns[left : left + inside.shape[1]]
        values[of_rows[:, None], of_columns] = inside
    if not longer:
        raise PhotoError(_DAMAGED)
    _point(longer, picture, start, values)
    return bytes(longer)


def apply_polynomials(raw: Any, content: bytes) -> dict[str, int]:
    """Makes the sensor's values linear by the polynomials that a DNG has for that.

    Args:
        raw: the file, opened by rawpy; its values are changed.
        content: the file.

    Returns:
        Options with which rawpy develops the changed values.
    """
    picture = sensor_picture(io.BytesIO(content))
    if picture is None or picture.first(COMPRESSION) == LOSSY_JPEG:
        return {}
    polynomials = list(_polynomials(content, picture))
    if not polynomials:
        return {}
    values, black, white = raw.raw_image, max(raw.black_level_per_channel), raw.white_level
    if values is None or values.dtype != np.uint16 or white <= black:
        return {}
    low, high = (black, white) if black else (0, _TOP)
    light = np.clip((np.arange(_TOP + 1) - black) / (white - black), 0, 1)
    channels = values[..., None] if values.ndim == 2 else values
    for area, planes, coefficients in polynomials:
        curve = np.clip(np.polynomial.polynomial.polyval(light, coefficients), 0, 1)
        table = (low + (high - low) * curve + 0.5).astype(np.uint16)
        part = channels[raw.sizes.top_margin :, raw.sizes.left_margin :][area][..., planes]
        for top in range(0, part.shape[0], _STRIP_ROWS):
            strip = part[top : top + _STRIP_ROWS]
            strip[...] = table[strip]
    return {} if black else {"user_black": 0, "user_sat": _TOP}


def _polynomials(
    content: bytes, picture: RawDirectory
) -> Iterator[tuple[tuple[slice, slice], slice, NDArray[np.float64]]]:
    """Yields each polynomial: the rows and columns for which it holds, the channels, and its coefficients."""
    if _OPERATIONS not in picture.entries:
        return
    length, start = struct.unpack_from(picture.order + "II", content, picture.entries[_OPERATIONS] + 4)
    listed = content[start : start + length]
    if len(listed) < 4:
        return
    at = 4
    for _ in range(min(int.from_bytes(listed[:4], "big"), _MOST_OPERATIONS)):
        operation = listed[at : at + 16]
        if len(operation) < 16:
            return
        kind, _, _, length = struct.unpack(">4I", operation)
        data = listed[at + 16 : at + 16 + length]
        at += 16 + length
        if kind != _MAP_POLYNOMIAL or len(data) < _POLYNOMIAL.size:
            continue
        top, left, bottom, right, plane, planes, down, across, degree = _POLYNOMIAL.unpack_from(data)
        whole = (len(data) - _POLYNOMIAL.size) // 8
        coefficients = np.frombuffer(data, ">f8", whole, _POLYNOMIAL.size)
        if degree > _MOST_DEGREE or len(coefficients) <= degree or not np.isfinite(coefficients).all():
            raise PhotoError("is damaged: an operation on its values makes no sense")
        rows, columns = slice(top, bottom, max(down, 1)), slice(left, right, max(across, 1))
        yield (rows, columns), slice(plane, plane + planes), coefficients[: degree + 1].astype(np.float64)


def _tiles(
    content: bytes, picture: RawDirectory, max_megapixels: float
) -> Iterator[tuple[int, int, NDArray[np.generic]]]:
    """Yields each tile or strip with the row and the column at which it begins: [h, w, samples]."""
    width, height = picture.first(WIDTH), picture.first(HEIGHT)
    is_tiled = TILES in picture.numbers
    across = picture.first(TILE_WIDTH) if is_tiled else width
    down = picture.first(TILE_HEIGHT) if is_tiled else picture.first(STRIP_ROWS, height)
    places = TILES if is_tiled else next(tag for tag in PLACES if tag != TILES)
    if not across or not down:
        raise PhotoError(_DAMAGED)
    corners = ((top, left) for top in range(0, height, down) for left in range(0, width, across))
    parts = zip(picture.numbers.get(places, ()), picture.numbers.get(PLACES[places], ()), strict=False)
    for (top, left), (place, length) in zip(corners, parts, strict=False):
        tile = decode_values(content[place : place + length], max_megapixels)
        is_whole = tile.shape[0] >= min(down, height - top) and tile.shape[1] >= min(across, width - left)
        if not is_whole or tile.shape[0] > down or tile.shape[1] > across:
            raise PhotoError(_DAMAGED)
        yield top, left, tile


def _interleaved(length: int, factor: int) -> NDArray[np.intp]:
    """Returns the row of the picture, or the column, that each stored one is: [length]."""
    if not 1 <= factor <= length:
        raise PhotoError(_DAMAGED)
    return np.concatenate([np.arange(each, length, factor) for each in range(factor)])


def _point(content: bytearray, picture: RawDirectory, start: int, values: NDArray[np.generic]) -> None:
    """Makes the entries of a directory point to values that are stored uncompressed in one tile or strip."""
    height, width = values.shape[:2]
    new = {
        BITS: 8 * values.itemsize,
        COMPRESSION: UNCOMPRESSED,
        STRIP_ROWS: height,
        TILE_WIDTH: width,
        TILE_HEIGHT: height,
        ROWS_INTERLEAVED: 1,
        COLUMNS_INTERLEAVED: 1,
        **dict.fromkeys(PLACES, start),
        **dict.fromkeys(PLACES.values(), values.nbytes),
    }
    for tag, value in new.items():
        if tag in picture.entries:
            struct.pack_into(picture.order + "HHII", content, picture.entries[tag], tag, _LONG, 1, value)
