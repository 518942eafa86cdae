"""ICC colour profiles as bytes: their tags read and written, and the tone curves among them.

Source: ICC.1:2022, 7 (profile), 10.6 curveType, 10.18 parametricCurveType.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

_HEADER_BYTES: Final = 128
_MAX_TAGS: Final = 200
_CURVE_SIZE: Final = 4096


def tags_of(icc_profile: bytes) -> dict[bytes, bytes]:
    """Returns the data of a profile's tags, such as `desc`; those that do not lie in it are left out."""
    count = min(int.from_bytes(icc_profile[_HEADER_BYTES : _HEADER_BYTES + 4]), _MAX_TAGS)
    table = icc_profile[_HEADER_BYTES + 4 : _HEADER_BYTES + 4 + 12 * count]
    return {
        tag: icc_profile[at : at + size]
        for tag, at, size in struct.iter_unpack(">4sII", table[: len(table) // 12 * 12])
        if 8 <= size <= len(icc_profile) - at
    }


def write_profile(header: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    """Writes a profile with that header, whose size becomes right, and tags. Equal data are stored once."""
    table, body, places = b"", b"", dict[bytes, int]()
    start = _HEADER_BYTES + 4 + 12 * len(tags)
    for tag, data in tags.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", tag, places[data], len(data))
    head = struct.pack(">I", start + len(body)) + header[4:].ljust(_HEADER_BYTES - 4, b"\0")
    return head + struct.pack(">I", len(tags)) + table + body


def fixed(*numbers: float) -> bytes:
    """Writes numbers as ICC's s15Fixed16Number."""
    return struct.pack(f">{len(numbers)}i", *(round(float(number) * 65536) for number in numbers))


def values_of_curve(curve: bytes) -> NDArray[np.float64] | None:
    """Returns [4096] values at equal steps of the curve that a tag holds; None for an unknown kind.

    Raises:
        struct.error: it is cut off.
    """
    x = np.linspace(0, 1, _CURVE_SIZE)
    if curve.startswith(b"curv"):
        (count,) = struct.unpack_from(">I", curve, 8)
        if count == 0:
            return x
        if len(curve) < 12 + 2 * count:
            return None
        values = np.frombuffer(curve, ">u2", count, 12)
        if count == 1:
            return np.asarray(x ** (float(values[0]) / 256))
        return np.interp(x, np.linspace(0, 1, count), values / 65535)
    if curve.startswith(b"para"):
        (function,) = struct.unpack_from(">H", curve, 8)
        needed = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}.get(function, 0)
        if not needed:
            return None
        numbers = [value / 65536 for value in struct.unpack_from(f">{needed}i", curve, 12)]
        g, a, b, c, d, e, f = (numbers + [1.0, 0.0, 0.0, 0.0, 0.0, 0.0][needed - 1 :])[:7]
        with np.errstate(all="ignore"):
            power = np.maximum(a * x + b, 0) ** g
            if function in (1, 2):
                return np.asarray(np.where(a * x + b >= 0, power + c, c))
            return power if function == 0 else np.asarray(np.where(x >= d, power + e, c * x + f))
    return None
