"""Colour spaces by number or by primaries, and the ICC profiles that state the same.

Sources: ITU-T H.273 (code points); ICC.1:2022 (profiles); Bradford's matrix as ICC.1 annex E gives it.
"""

from __future__ import annotations

import functools
import struct
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rave_runtime.errors import PhotoError
from rave_runtime.photos.headers.icc import fixed, write_profile

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of red, green, blue and white."""

_D65: Final = (0.3127, 0.3290)
_C: Final = (0.310, 0.316)

SRGB: Final[Chromaticities] = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65)
ADOBE_RGB: Final[Chromaticities] = (0.640, 0.330, 0.210, 0.710, 0.150, 0.060, *_D65)
ROMM_RGB: Final[Chromaticities] = (0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001, 0.3457, 0.3585)

PRIMARIES: Final[dict[int, Chromaticities]] = {
    1: SRGB,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *_C),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65),
}
"""Chromaticities of the primaries and of white by H.273, table 2; 2 is unspecified and 10 is XYZ."""

LUMINANCE: Final = (0.2126, 0.7152, 0.0722)
"""The shares of linear red, green and blue in the luminance of sRGB. Source: ITU-R BT.709."""

NAMES: Final[dict[int, str]] = {1: "BT.709", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}

HDR: Final[dict[int, str]] = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of H.273 whose white lies far above a photograph's."""

BT2020: Final = 9
"""The number of the primaries of BT.2020, and of its matrix."""

UNSPECIFIED: Final = 2

SRGB_TRANSFER: Final = 13
"""The number of sRGB's tone curve."""


class Curve(NamedTuple):
    """A tone curve as ICC's parametricCurveType of function 3 has it.

    Linear light is (a x + b) ** gamma where the value x is at least d, and c x below.
    """

    gamma: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0


SRGB_CURVE: Final = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BT709: Final = Curve(1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_SMPTE240: Final = Curve(1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912)
ROMM_CURVE: Final = Curve(1.8, 1.0, 0.0, 1 / 16, 16 / 512)

TRANSFERS: Final[dict[int, Curve]] = {
    1: _BT709,
    4: Curve(2.2),
    5: Curve(2.8),
    6: _BT709,
    7: _SMPTE240,
    8: Curve(1.0),
    11: _BT709,
    12: _BT709,
    13: SRGB_CURVE,
    14: _BT709,
    15: _BT709,
}
"""Transfer functions by the numbers of H.273, table 3."""

_WHITE: Final = (0.9642, 1.0, 0.8249)
"""ICC's white, D50."""

_BRADFORD: Final = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]], np.float64
)


def srgb_light(values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Returns the linear light of values in sRGB's curve, both in [0, 1]; the dtype is kept.

    Source: IEC 61966-2-1.
    """
    light: NDArray[np.floating[Any]] = np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )
    return light


def srgb_encoded(light: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Returns linear light in sRGB's curve, both in [0, 1]; the dtype is kept.

    Source: IEC 61966-2-1.
    """
    values: NDArray[np.floating[Any]] = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    )
    return values


def refuse_hdr(transfer: int) -> None:
    """Refuses the transfer functions of HDR pictures.

    Args:
        transfer: its number in H.273.

    Raises:
        PhotoError: it is PQ or HLG.
    """
    if transfer in HDR:
        raise PhotoError(
            f"is an HDR picture ({HDR[transfer]}), whose brightness would be read wrongly: "
            "export it without HDR (SDR), such as in Display P3 or sRGB"
        )


@functools.lru_cache(maxsize=32)
def make_profile(name: str, chromaticities: Chromaticities, curve: Curve, *, grey: bool = False) -> bytes:
    """Makes an ICC profile of version 4 of a colour space with one tone curve.

    Args:
        name: what programs show, in ASCII.
        chromaticities: the chromaticities of the primaries and of white.
        curve: the tone curve of all channels.
        grey: whether it is for grey pixels, which have white and a curve only.

    Raises:
        ValueError: the primaries lie on a line, or white has no light.
    """
    white, columns = _adapted(chromaticities)
    parameters = (curve.gamma, curve.a, curve.b, curve.c, curve.d)
    parametric = b"para\0\0\0\0\0\3\0\0" + fixed(*parameters)
    tags = {
        b"desc": _text(name),
        b"cprt": _text("CC0"),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(*_WHITE),
        b"chad": b"sf32\0\0\0\0" + fixed(*white.ravel()),
    }
    if grey:
        tags[b"kTRC"] = parametric
    else:
        for letter, column in zip("rgb", columns.T, strict=True):
            tags[f"{letter}XYZ".encode()] = b"XYZ \0\0\0\0" + fixed(*column)
            tags[f"{letter}TRC".encode()] = parametric
    space = b"GRAY" if grey else b"RGB "
    header = bytes(8) + b"\x04\x40\0\0mntr" + space + b"XYZ " + struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    return write_profile(header + b"acsp" + bytes(28) + fixed(*_WHITE), tags)


def primaries_xyz(chromaticities: Chromaticities) -> NDArray[np.float64]:
    """Returns the XYZ of primaries under D50, [3, 3], as columns; red, green and blue together are white.

    Raises:
        ValueError: the primaries lie on a line, or white has no light.
    """
    return _adapted(chromaticities)[1]


def _adapted(chromaticities: Chromaticities) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the adaptation of white to D50 [3, 3], and the primaries' XYZ under it as columns [3, 3]."""
    xy = np.array(chromaticities, np.float64).reshape(4, 2)
    if (xy[:, 1] == 0).any():
        raise ValueError("a chromaticity without light")
    xyz = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(1)) / xy[:, 1]], 1)
    primaries, white = xyz[:3].T, xyz[3]
    if abs(np.linalg.det(primaries)) < 1e-6:
        raise ValueError("primaries on a line")
    columns = primaries * np.linalg.solve(primaries, white)
    scale = (_BRADFORD @ np.array(_WHITE)) / (_BRADFORD @ white)
    adaptation = np.linalg.solve(_BRADFORD, np.diag(scale) @ _BRADFORD)
    adapted = adaptation @ columns
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > 1000:
        raise ValueError("primaries that no light has")
    return np.asarray(adaptation, np.float64), np.asarray(adapted, np.float64)


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data
