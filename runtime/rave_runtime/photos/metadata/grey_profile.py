"""A colour profile for grey pixels that a format stores as red, green and blue.

Source: ICC.1:2022, 7 (profile), 8.4 (matrix and curves), 10.6 (curveType).
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

_HEADER_BYTES: Final = 128
_MAX_TAGS: Final = 200
_PRIMARIES: Final = {
    b"rXYZ": (0.43607, 0.22249, 0.01392),
    b"gXYZ": (0.38515, 0.71687, 0.09708),
    b"bXYZ": (0.14307, 0.06061, 0.71410),
}
"""sRGB's primaries under D50. Any others would do: grey stays grey."""

_LAB: Final = b"Lab "
_CURVE_SIZE: Final = 4096


def is_grey_profile(icc_profile: bytes | None) -> bool:
    """Tells whether a profile is for grey pixels."""
    return icc_profile is not None and icc_profile[16:20] == b"GRAY"


def rgb_of_grey_profile(icc_profile: bytes) -> bytes | None:
    """Makes a profile under which equal red, green and blue mean what grey means under a grey profile.

    Returns:
        The profile, or None where the grey one is damaged.
    """
    tags = _tags_of(icc_profile)
    curve = tags.get(b"kTRC")
    if curve is not None and states_lightness(icc_profile):
        curve = _curve_to_light(curve)
    if curve is None or not curve.startswith((b"curv", b"para")):
        return None
    shared_tags = {tag: tags[tag] for tag in (b"desc", b"cprt", b"wtpt") if tag in tags}
    primaries = {tag: b"XYZ " + bytes(4) + _fixed(numbers) for tag, numbers in _PRIMARIES.items()}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _profile(icc_profile[:_HEADER_BYTES], shared_tags | primaries | curves)


def _tags_of(icc_profile: bytes) -> dict[bytes, bytes]:
    try:
        (count,) = struct.unpack_from(">I", icc_profile, _HEADER_BYTES)
        places = [
            struct.unpack_from(">4sII", icc_profile, _HEADER_BYTES + 4 + 12 * index)
            for index in range(min(count, _MAX_TAGS))
        ]
    except struct.error:
        return {}
    return {
        tag: icc_profile[at : at + size] for tag, at, size in places if 8 <= size <= len(icc_profile) - at
    }


def _curve_to_light(curve: bytes) -> bytes | None:
    """Turns a curve to CIE's lightness L* into one to light; returns None for an unknown kind."""
    x = np.linspace(0, 1, _CURVE_SIZE)
    (count,) = struct.unpack_from(">I", curve, 8) if len(curve) >= 12 else (0,)
    if not curve.startswith(b"curv") or len(curve) < 12 + 2 * count:
        return None
    values = np.frombuffer(curve, ">u2", count, 12)
    if count == 0:
        lightness = x
    elif count == 1:
        lightness = x ** (float(values[0]) / 256)
    else:
        lightness = np.interp(x, np.linspace(0, 1, count), values / 65535)
    samples = np.round(np.clip(light_of_lightness(lightness), 0, 1) * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", _CURVE_SIZE) + samples.tobytes()


def states_lightness(icc_profile: bytes) -> bool:
    """Tells whether the curve of a profile for grey leads to CIE's lightness L* instead of light."""
    return is_grey_profile(icc_profile) and icc_profile[20:24] == _LAB


def light_of_lightness(lightness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the light, from 0 to 1, of CIE's lightness L* divided by 100. Source: CIE 15, 8.2.1.1."""
    f = (100 * lightness + 16) / 116
    light: NDArray[np.float64] = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2)
    return light


def _profile(header: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Writes a display profile with those tags and the rest of a header. Equal data are stored once."""
    table, body, places = b"", b"", dict[bytes, int]()
    start = _HEADER_BYTES + 4 + 12 * len(tags)
    for tag, data in tags.items():
        if data not in places:
            body += bytes(-len(body) % 4)
            places[data] = start + len(body)
            body += data
        table += struct.pack(">4sII", tag, places[data], len(data))
    body += bytes(-len(body) % 4)
    head = bytearray(header)
    head[:4] = struct.pack(">I", start + len(body))
    head[12:24] = b"mntrRGB XYZ "
    head[84:100] = bytes(16)  # a checksum of the old profile
    return bytes(head) + struct.pack(">I", len(tags)) + table + body


def _fixed(numbers: tuple[float, ...]) -> bytes:
    """Writes numbers as ICC's s15Fixed16Number."""
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))
