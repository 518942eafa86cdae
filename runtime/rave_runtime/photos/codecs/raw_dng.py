"""What LibRaw leaves out of DNGs: JPEG XL, and operations that make values linear and even.

LibRaw leaves JPEG XL to Adobe's DNG SDK, which its Python package is built without. So the tiles are decoded
here, and LibRaw gets the same file with the values uncompressed behind its end: as one tile, to which the
directory's entries point. Everything else of the file stays in its place.

A list of operations says what is to be done with the values before colours are made of them. DNGs with a
loss, and some of eight bits, have polynomials that make them linear, which LibRaw heeds for the older lossy
JPEG only. Those of Android phones have maps of gains against dark corners, which it ignores.

Source: the DNG specification 1.7.1, which allows JPEG XL, describes the operations (OpcodeList2), and says
how interleaved rows and columns are stored: those of each remainder one after another, so that each colour of
a mosaic is a picture of its own.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

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
_POLYNOMIAL: Final = 8
_GAIN_MAP: Final = 9
_AREA: Final = struct.Struct(">8I")
"""Where an operation holds: top, left, bottom, right, the first channel, the number of channels, and the
steps from row to row and from column to column. Rows and columns are those of the sensor's active area."""

_GRID: Final = struct.Struct(">2I4dI")
"""Of a map of gains: its rows and columns; the distance of its rows and that of its columns, and the place of
its first row and column, in parts of the picture's height and width; its channels. Its gains follow."""

_MOST_DEGREE: Final = 8
_MOST_OPERATIONS: Final = 64
_TOP: Final = 65535
_STRIP_ROWS: Final = 64
_LONG: Final = 4
_MOST_BYTES: Final = 2**32 - 1
_DAMAGED: Final = "is damaged: the tiles of its picture do not fit together"
_SENSELESS: Final = "is damaged: an operation on its values makes no sense"

_Light = NDArray[np.float32]
_Numbers = NDArray[np.intp]


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


class _Operation(NamedTuple):
    """An operation on a sensor's values.

    Attributes:
        rows, columns, channels: those that it changes, the rows and columns counted within the active area.
        change: changes the light of some of these rows, float32 [rows, columns, channels], 0 to 1; it is also
            given the numbers of the rows and of the columns.
    """

    rows: slice
    columns: slice
    channels: slice
    change: Callable[[_Light, _Numbers, _Numbers], _Light]


def apply_operations(raw: Any, content: bytes) -> dict[str, int]:
    """Makes a sensor's values linear and even, as the operations of a DNG say.

    Args:
        raw: the file, opened by rawpy; its values are changed.
        content: the file.

    Returns:
        Options with which rawpy develops the changed values.

    Raises:
        PhotoError: an operation makes no sense.
    """
    picture = sensor_picture(io.BytesIO(content))
    sizes = raw.sizes
    operations = [] if picture is None else list(_operations(content, picture, sizes.height, sizes.width))
    if not operations:
        return {}
    values, low, white = raw.raw_image, max(raw.black_level_per_channel), raw.white_level
    if values is None or values.dtype != np.uint16 or white <= low:
        return {}
    high = white if low else _TOP  # values of few bits that begin at 0 get more
    values = values[..., None] if values.ndim == 2 else values
    if high > white:
        values[...] = (np.minimum(np.arange(_TOP + 1), white) * (high / white) + 0.5).astype(np.uint16)[
            values
        ]
    active = values[sizes.top_margin :, sizes.left_margin :]
    rows, columns = (np.arange(length) for length in active.shape[:2])
    for operation in operations:
        part = active[operation.rows, operation.columns, operation.channels]
        of_rows, of_columns = rows[operation.rows], columns[operation.columns]
        for top in range(0, part.shape[0], _STRIP_ROWS):
            strip = part[top : top + _STRIP_ROWS]
            light = np.clip((strip - np.float32(low)) / np.float32(high - low), 0, 1)
            changed = operation.change(light, of_rows[top : top + _STRIP_ROWS], of_columns)
            strip[...] = np.clip(changed, 0, 1) * np.float32(high - low) + np.float32(low + 0.5)
    return {"user_black": 0, "user_sat": _TOP} if high > white else {}


def _operations(content: bytes, picture: RawDirectory, height: int, width: int) -> Iterator[_Operation]:
    """Yields the operations of a DNG that are known here and that LibRaw does not do itself."""
    if _OPERATIONS not in picture.entries:
        return
    length, start = struct.unpack_from(picture.order + "II", content, picture.entries[_OPERATIONS] + 4)
    listed = content[start : start + length]
    at = 4
    for _ in range(min(int.from_bytes(listed[:4], "big"), _MOST_OPERATIONS)):
        if len(listed) < at + 16:
            return
        kind, _, _, length = struct.unpack_from(">4I", listed, at)
        data = listed[at + 16 : at + 16 + length]
        at += 16 + length
        is_done = kind == _POLYNOMIAL and picture.first(COMPRESSION) == LOSSY_JPEG
        if kind not in (_POLYNOMIAL, _GAIN_MAP) or is_done:
            continue
        if len(data) < _AREA.size:
            raise PhotoError(_SENSELESS)
        rest = data[_AREA.size :]
        change = _polynomial(rest) if kind == _POLYNOMIAL else _gain_map(rest, height, width)
        top, left, bottom, right, first, channels, down, across = _AREA.unpack_from(data)
        yield _Operation(
            slice(top, bottom, max(down, 1)),
            slice(left, right, max(across, 1)),
            slice(first, first + channels),
            change,
        )


def _polynomial(data: bytes) -> Callable[[_Light, _Numbers, _Numbers], _Light]:
    """Reads a polynomial: its degree, and the coefficients from the lowest power on."""
    degree = int.from_bytes(data[:4], "big")
    if degree > _MOST_DEGREE or len(data) < 4 + 8 * (degree + 1):
        raise PhotoError(_SENSELESS)
    coefficients = np.frombuffer(data, ">f8", degree + 1, 4).astype(np.float32)
    if not np.isfinite(coefficients).all():
        raise PhotoError(_SENSELESS)
    return lambda light, _, __: np.polynomial.polynomial.polyval(light, coefficients)


def _gain_map(data: bytes, height: int, width: int) -> Callable[[_Light, _Numbers, _Numbers], _Light]:
    """Reads a map of gains, between whose points gains are interpolated."""
    if len(data) < _GRID.size:
        raise PhotoError(_SENSELESS)
    down, across, *steps, channels = _GRID.unpack_from(data)
    gains = np.frombuffer(data, ">f4", (len(data) - _GRID.size) // 4, _GRID.size)
    if not len(gains) >= down * across * channels > 0:
        raise PhotoError(_SENSELESS)
    grid = gains[: down * across * channels].reshape(down, across, channels).astype(np.float32)
    if not np.isfinite(grid).all() or not np.isfinite(steps).all() or min(steps[:2]) <= 0:
        raise PhotoError(_SENSELESS)

    def change(light: _Light, rows: _Numbers, columns: _Numbers) -> _Light:
        above, below, lower = _between((rows + 0.5) / height, steps[0], steps[2], down)
        left, right, further = _between((columns + 0.5) / width, steps[1], steps[3], across)
        gain = grid[above] + lower[:, None, None] * (grid[below] - grid[above])
        gain = gain[:, left] + further[None, :, None] * (gain[:, right] - gain[:, left])
        return light * gain[..., : light.shape[2]]

    return change


def _between(
    places: NDArray[np.float64], step: float, start: float, count: int
) -> tuple[_Numbers, _Numbers, NDArray[np.float32]]:
    """Returns the points of a map before and behind each place, and how much that behind counts, 0 to 1."""
    at = np.clip((places - start) / step, 0, count - 1)
    before = at.astype(np.intp)
    return before, np.minimum(before + 1, count - 1), (at - before).astype(np.float32)


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
