"""A colour profile for grey pixels that a format stores as red, green and blue.

Source: ICC.1:2022, 8.4 (matrix and curves).
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.photos.headers.icc import fixed, tags_of, values_of_curve, write_profile

_PRIMARIES: Final = {
    b"rXYZ": (0.43607, 0.22249, 0.01392),
    b"gXYZ": (0.38515, 0.71687, 0.09708),
    b"bXYZ": (0.14307, 0.06061, 0.71410),
}
"""sRGB's primaries under D50. Any others would do: grey stays grey."""

_LAB: Final = b"Lab "


def is_grey_profile(icc_profile: bytes | None) -> bool:
    """Tells whether a profile is for grey pixels."""
    return icc_profile is not None and icc_profile[16:20] == b"GRAY"


def rgb_of_grey_profile(icc_profile: bytes) -> bytes | None:
    """Makes a profile under which equal red, green and blue mean what grey means under a grey profile.

    Returns:
        The profile, or None where the grey one is damaged.
    """
    tags = tags_of(icc_profile)
    curve = tags.get(b"kTRC")
    if curve is not None and states_lightness(icc_profile):
        curve = _curve_to_light(curve)
    if curve is None or not curve.startswith((b"curv", b"para")):
        return None
    shared_tags = {tag: tags[tag] for tag in (b"desc", b"cprt", b"wtpt") if tag in tags}
    primaries = {tag: b"XYZ " + bytes(4) + fixed(*numbers) for tag, numbers in _PRIMARIES.items()}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    header = icc_profile[:12] + b"mntrRGB XYZ " + icc_profile[24:84] + bytes(16)  # no checksum of the old one
    return write_profile(header + icc_profile[100:128], shared_tags | primaries | curves)


def _curve_to_light(curve: bytes) -> bytes | None:
    """Turns a curve to CIE's lightness L* into one to light; returns None for an unknown or damaged one."""
    try:
        lightness = values_of_curve(curve)
    except struct.error:
        return None
    if lightness is None:
        return None
    samples = np.round(np.clip(light_of_lightness(lightness), 0, 1) * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", len(samples)) + samples.tobytes()


def states_lightness(icc_profile: bytes) -> bool:
    """Tells whether the curve of a profile for grey leads to CIE's lightness L* instead of light."""
    return is_grey_profile(icc_profile) and icc_profile[20:24] == _LAB


def light_of_lightness(lightness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the light, from 0 to 1, of CIE's lightness L* divided by 100. Source: CIE 15, 8.2.1.1."""
    f = (100 * lightness + 16) / 116
    light: NDArray[np.float64] = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2)
    return light
