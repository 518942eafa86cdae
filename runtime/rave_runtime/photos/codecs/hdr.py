"""HDR photographs (PQ and HLG): what SDR shows of them is enhanced, and what is brighter than white stays.

The light is learned from photographs whose values mean brightness by sRGB's curve. `sdr_view` brings an HDR
photograph into that curve: diffuse white is white there, and so is everything brighter. The view is enhanced
as any photograph, and `hdr_of_view` brings it back. A pixel of which a channel is as bright as white, or
brighter, gets its old values: enhancing leaves white as it is, so there is no step beside it.

Sources: ITU-R BT.2100 (the curves, and HLG's system gamma for a screen of 1000 cd/m2), ITU-R BT.2408 (diffuse
white at 203 cd/m2).
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Pixels
from rave_runtime.photos.headers.colour_codes import BT2020, HDR, srgb_encoded
from rave_runtime.photos.photo import HdrOriginal, Photo

PQ: Final = 16
"""The number of PQ in ITU-T H.273; HLG's is 18."""

_WHITE: Final = 203.0
"""Luminance of diffuse white, in cd/m2."""

_WHITE_VALUE: Final = 65535

_STRIP_ROWS: Final = 256


def sdr_values(values: NDArray[np.floating[Any]], transfer: int) -> NDArray[np.floating[Any]]:
    """Returns values of an HDR picture in sRGB's curve: diffuse white is 1, and what is brighter lies above.

    Args:
        values: red, green, blue or luma from 0 (black) to 1, the greatest of BT.2100; more is taken as well.
        transfer: the number of the transfer function in ITU-T H.273: 16 (PQ) or 18 (HLG).
    """
    known = np.maximum(values, 0)
    if transfer == PQ:
        m1, m2 = 2610 / 16384, 2523 / 4096 * 128
        c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        power = np.minimum(known, 1) ** (1 / m2)
        light = 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    else:
        a = 0.17883277
        b, c = 1 - 4 * a, 0.5 - a * math.log(4 * a)
        scene = np.where(known <= 0.5, known**2 / 3, (np.exp((np.maximum(known, 0.5) - c) / a) + b) / 12)
        light = 1000 * scene**1.2
    return srgb_encoded(light / _WHITE)


def sdr_view(values: NDArray[np.uint16], transfer: int) -> NDArray[np.uint16]:
    """Returns an HDR photograph's values in sRGB's curve: 65535 is diffuse white and everything brighter.

    Args:
        values: uint16, as `HdrOriginal` has them.
        transfer: the number of their curve in ITU-T H.273.
    """
    views: NDArray[np.uint16] = _views(transfer)[values]
    return views


def hdr_of_view(original: HdrOriginal, view: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Returns what an enhanced view is in the curve of the HDR photograph.

    Args:
        original: the photograph.
        view: [h, w, 3] uint16, what became of `sdr_view` of its values.

    Returns:
        Values of the shape of the view. Pixels that have not changed, and those of which a channel is as
        bright as white or brighter, have their old values.
    """
    table = _values(original.transfer)
    out = np.empty_like(original.values)
    for start in range(0, len(out), _STRIP_ROWS):
        rows = slice(start, start + _STRIP_ROWS)
        old, after = original.values[rows], view[rows]
        before = sdr_view(old, original.transfer)
        stays = (before.max(2, keepdims=True) == _WHITE_VALUE) | (before == after)
        out[rows] = np.where(stays, old, table[after])
    return out


def bring_back(photo: Photo, pixels: Pixels, format: str) -> tuple[Photo, Pixels, list[str]]:
    """Returns a photograph, its new pixels and notes, as a format holds them: HEIC in the curve of HDR.

    Args:
        photo: any photograph.
        pixels: its new pixels.
        format: the name of the format that is written.
    """
    if photo.hdr is None:
        return photo, pixels, []
    if format == "HEIF":  # which states the colours by numbers
        view = pixels.astype(np.uint16, copy=False)
        return replace(photo, icc_profile=None), hdr_of_view(photo.hdr, view), []
    name = HDR[photo.hdr.transfer]
    return photo, pixels, [f"its HDR ({name}) ends at the white of other pictures in {format}: HEIC keeps it"]


def colour_numbers_of(photo: Photo) -> dict[str, int]:
    """Returns what pillow-heif must be given to state an HDR photograph's colours; nothing for others."""
    if photo.hdr is None:
        return {}
    primaries, transfer = photo.hdr.primaries, photo.hdr.transfer
    return {
        "color_primaries": primaries,
        "transfer_characteristics": transfer,
        "matrix_coefficients": BT2020,
    }


@functools.cache
def _views(transfer: int) -> NDArray[np.uint16]:
    """The view of each value, [65536] uint16."""
    views = sdr_values(np.arange(2**16) / _WHITE_VALUE, transfer)
    return np.asarray(np.round(_WHITE_VALUE * np.minimum(views, 1)), np.uint16)


@functools.cache
def _values(transfer: int) -> NDArray[np.uint16]:
    """The value of each view, [65536] uint16."""
    known = np.arange(2**16)
    views = sdr_values(known / _WHITE_VALUE, transfer) * _WHITE_VALUE
    return np.asarray(np.round(np.interp(known, views, known)), np.uint16)
