"""Dividing a film's frame by its light, on the luma and chroma planes that the film holds.

Y'CbCr is a matrix product of gamma-encoded R'G'B', so dividing red, green and blue by one light divides
luma and both chroma differences by it. The planes need no conversion: 4:2:0 has half the values of RGB, and
chroma is never resampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array

Plane = NDArray[np.uint8] | NDArray[np.uint16]

STRIP_ROWS: Final = 32
"""Rows divided at a time: few enough to stay in a processor's cache, and a multiple of every subsampling."""

_LEAST_LIGHT: Final = 1.0 / 64
"""Films are lifted by six stops at most: below that there is only the noise of the codec."""


class Light(Protocol):
    """The light of a frame's rows: see `rave_runtime.light.reduction.GuidedLight.rows`."""

    def rows(self, start: int, stop: int, luma: Array) -> Array:
        """[stop - start, width] float32 for rows whose luma, in [0, 1], is given."""


@dataclass(frozen=True)
class PlaneFormat:
    """How a planar Y'CbCr frame stores its values.

    Attributes:
        bits: bits per value, from 8 to 16. More than 8 are stored in two bytes.
        across: columns of luma for each column of chroma, 1 or 2.
        down: rows of luma for each row of chroma, 1 or 2.
        is_full_range: whether luma uses all values, instead of 16 to 235 (times a power of two).
        has_chroma: whether there are chroma planes.
    """

    bits: int
    across: int
    down: int
    is_full_range: bool
    has_chroma: bool = True

    @property
    def black(self) -> float:
        """The value of black."""
        return 0.0 if self.is_full_range else 16.0 * 2 ** (self.bits - 8)

    @property
    def luma_span(self) -> float:
        """The difference between white and black."""
        return float(2**self.bits - 1) if self.is_full_range else 219.0 * 2 ** (self.bits - 8)

    @property
    def neutral(self) -> float:
        """The value of both chroma planes where there is no colour."""
        return float(2 ** (self.bits - 1))

    @property
    def chroma_bounds(self) -> tuple[float, float]:
        """The least and greatest value of the chroma planes."""
        if self.is_full_range:
            return 0.0, float(2**self.bits - 1)
        return 16.0 * 2 ** (self.bits - 8), 240.0 * 2 ** (self.bits - 8)


def relight_planes(
    planes: tuple[Plane, ...], layout: PlaneFormat, light: Light, knee: float | None = None
) -> None:
    """Divides a frame by its light, in place.

    Luma is limited to white; with a knee, it rolls off from there instead, as photographs do. Chroma is
    scaled by what luma was really scaled by, averaged over the pixels that share a value of chroma, so that
    highlights keep their hue instead of turning into saturated colour.

    Args:
        planes: luma [h, w], and blue and red difference [ceil(h / down), ceil(w / across)] unless the format
            has no chroma; uint8 or uint16, writable, rows may be padded.
        layout: how they store values.
        light: the frame's light.
        knee: result, in [0, 1], from which highlights roll off; None clips them.
    """
    height, width = planes[0].shape
    for start in range(0, height, STRIP_ROWS):
        stop = min(start + STRIP_ROWS, height)
        luma = planes[0][start:stop].astype(np.float32)
        luma -= np.float32(layout.black)
        luma *= np.float32(1 / layout.luma_span)
        gain = light.rows(start, stop, luma)
        np.clip(gain, np.float32(_LEAST_LIGHT), np.float32(np.inf), out=gain)
        bend = None if knee is None else _bend(gain, knee)
        np.divide(luma, gain, out=gain)
        if bend is not None and knee is not None:
            _roll_off(gain, bend, knee)
        lifted = np.clip(gain, np.float32(-1), np.float32(1), out=gain)
        if layout.has_chroma:
            _scale_chroma(planes[1:], layout, luma, lifted, start, stop)
        lifted *= np.float32(layout.luma_span)
        lifted += np.float32(layout.black + 0.5)
        np.clip(lifted, np.float32(0), np.float32(2**layout.bits - 1), out=lifted)
        np.copyto(planes[0][start:stop], lifted[:, :width], casting="unsafe")


def _bend(divisor: Array, knee: float) -> Array:
    """How much the shoulder of each pixel bends: c of `rave_runtime.light.normal_way`."""
    k = np.float32(knee)
    limited = np.clip(divisor, np.float32(0), np.float32(1))
    bend = 1 - limited
    limited *= -k
    limited += 1
    limited *= 1 - k
    bend /= limited
    return bend


def _roll_off(lifted: Array, bend: Array, knee: float) -> None:
    """Takes t above the knee k to k + (t - k) / (1 + c * (t - k)), in place: white stays white."""
    over = lifted - np.float32(knee)
    if over.max() <= 0:
        return
    np.clip(over, np.float32(0), np.float32(np.inf), out=over)
    bend *= over
    over *= bend
    bend += 1
    over /= bend
    lifted -= over


def _scale_chroma(
    chroma: tuple[Plane, ...], layout: PlaneFormat, luma: Array, lifted: Array, start: int, stop: int
) -> None:
    """Scales the chroma of some rows of luma by how much their luma grew."""
    before, after = (_sums(values, layout) for values in (luma, lifted))
    # Where luma is next to nothing its ratio is noise: chroma there grows with the pixel as a whole.
    floor = np.float32(layout.across * layout.down / 255)
    scale = np.abs(after) + floor
    scale /= np.abs(before) + floor
    rows = slice(start // layout.down, -(-stop // layout.down))
    low, high = layout.chroma_bounds
    for plane in chroma:
        values = plane[rows].astype(np.float32)
        values -= np.float32(layout.neutral)
        values *= scale[: values.shape[0], : values.shape[1]]
        values += np.float32(layout.neutral + 0.5)
        np.clip(values, np.float32(low), np.float32(high + 0.5), out=values)
        np.copyto(plane[rows], values, casting="unsafe")


def _sums(values: Array, layout: PlaneFormat) -> Array:
    """Sums over the pixels that share a value of chroma; a last odd row or column counts twice."""
    height, width = values.shape
    if height % layout.down:
        values = np.concatenate([values, values[-1:]], 0)
    if width % layout.across:
        values = np.concatenate([values, values[:, -1:]], 1)
    if layout.down == 2:
        values = values[0::2] + values[1::2]
    if layout.across == 2:
        values = values[:, 0::2] + values[:, 1::2]
    return values


def as_plane(buffer: Any, height: int, width: int, line_bytes: int, bits: int) -> Plane:
    """[height, width] uint8, or uint16 above 8 bits, over a buffer of padded rows, without a copy."""
    dtype = np.uint8 if bits == 8 else np.uint16
    flat: NDArray[Any] = np.frombuffer(buffer, dtype)
    step = line_bytes // flat.itemsize
    shaped: Plane = np.lib.stride_tricks.as_strided(flat, (height, width), (line_bytes, flat.itemsize))
    assert (height - 1) * step + width <= flat.size, "the plane is larger than its buffer"
    return shaped
