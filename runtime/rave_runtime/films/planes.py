"""Divides a film's frame by its light, on the luma and chroma planes of the film.

Y'CbCr is a matrix product of gamma-encoded R'G'B', so dividing red, green and blue by the same light divides
luma and both chroma differences by it too. Hence the planes need not be converted to RGB, which would have
twice the values of 4:2:0, and chroma is never resampled.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from rave_runtime.arrays import Array
from rave_runtime.films.hdr import HdrCurve
from rave_runtime.films.plane_format import Plane, PlaneFormat
from rave_runtime.films.shade_colours import MeanColours
from rave_runtime.light import compiled
from rave_runtime.light.reduction import UpsampledLight
from rave_runtime.light.workspace import Workspace

STRIP_ROWS: Final = 128
"""Rows divided at a time: few enough to stay in a processor's cache, and even, as subsampling needs."""

_LEAST_LIGHT: Final = 1.0 / 64
"""The least divisor, which brightens by six stops: darker values hold only the codec's noise."""


class Light(Protocol):
    """The light of a frame's rows: see `rave_runtime.light.reduction.UpsampledLight.rows`."""

    def rows(self, start: int, stop: int, luma: Array, workspace: Workspace | None = None) -> Array:
        """Returns the light of rows from their luma in [0, 1]: [stop - start, width] float32."""


def relight_planes(
    planes: tuple[Plane, ...],
    layout: PlaneFormat,
    light: Light,
    knee: float | None = None,
    colours: MeanColours | None = None,
    workspace: Workspace | None = None,
    curve: HdrCurve | None = None,
) -> None:
    """Divides a frame by its light, in place.

    Luma above white is clipped; with a knee, it rolls off from the knee to white instead, as in photographs.
    What is above white in the film, as cameras write highlights into limited range and as HDR has them, stays
    as it is where the light would lift it.
    Chroma is scaled by the factor of luma after that, averaged over the pixels that share a value of chroma,
    so that highlights do not become too colourful.

    Args:
        planes: luma [h, w], and blue and red difference [ceil(h / down), ceil(w / across)] unless the format
            has no chroma; uint8 or uint16, writable, rows may be padded.
        layout: how the planes store values.
        light: the frame's light.
        knee: result, in [0, 1], from which highlights roll off; None clips them.
        colours: smooths the colours of the shade before they are scaled; None leaves them as they are.
        workspace: memory to use again from frame to frame; None allocates new memory.
        curve: the curve of an HDR film; None for others. The light must fit luma in sRGB's curve.
    """
    space = workspace or Workspace()
    height, width = planes[0].shape
    divide = _divide_luma
    if isinstance(light, UpsampledLight) and compiled.library() is not None:
        divide = _divide_luma_compiled
    for start in range(0, height, STRIP_ROWS):
        stop = min(start + STRIP_ROWS, height)
        shape = (3, -(-(stop - start) // layout.down), -(-width // layout.across))
        sums = space.array("sums", shape)
        rows = planes[0][start:stop]
        if curve is None:
            divide(rows, layout, light, start, knee, sums, space)
        else:
            luma = curve.to_sdr(rows)
            divide(luma, curve.layout, light, start, knee, sums, space)
            curve.from_sdr(luma, rows)
        if layout.has_chroma:
            _scale_chroma(planes[1:], layout, sums, start, colours, space, curve)


def _divide_luma(
    plane: Plane,
    layout: PlaneFormat,
    light: Light,
    start: int,
    knee: float | None,
    sums: Array,
    space: Workspace,
) -> None:
    """Divides rows of luma by their light, in place.

    Args:
        plane: [rows, w] of luma.
        layout: how they are stored.
        light: the frame's light.
        start: the frame's row with which the plane begins.
        knee: as for `relight_planes`.
        sums: [3, rows of chroma, columns of chroma] float32, where this writes the sums of luma and of
            divided luma over the pixels that share a value of chroma, and the divisor at the first of them.
        space: memory for intermediate values.
    """
    luma, result = space.array("luma", (2, *plane.shape))
    np.subtract(plane, np.float32(layout.black), out=luma)
    luma *= np.float32(1 / layout.luma_span)
    divisor = light.rows(start, start + len(plane), luma, space)
    np.clip(divisor, np.float32(_LEAST_LIGHT), np.float32(np.inf), out=divisor)
    np.divide(luma, divisor, out=result)
    if knee is not None:
        _roll_off(result, divisor, knee)
    np.clip(result, np.float32(-1), np.maximum(luma, np.float32(1)), out=result)
    np.copyto(result, luma, where=(luma > 1) & (divisor < 1))
    sums[0], sums[1] = _sums(luma, layout), _sums(result, layout)
    sums[2] = divisor[:: layout.down, :: layout.across]
    result *= np.float32(layout.luma_span)
    result += np.float32(layout.black + 0.5)
    np.clip(result, np.float32(0), np.float32(2**layout.bits - 1), out=result)
    np.copyto(plane, result, casting="unsafe")


def _divide_luma_compiled(
    plane: Plane,
    layout: PlaneFormat,
    light: Light,
    start: int,
    knee: float | None,
    sums: Array,
    space: Workspace,
) -> None:
    """Does what `_divide_luma` does in one compiled pass, bit for bit."""
    assert isinstance(light, UpsampledLight)
    line = light.wide_line(start, start + len(plane), 1, space)
    span = layout.luma_span
    values = np.array([layout.black, 1 / span, span, layout.black + 0.5, 2**layout.bits - 1], np.float32)
    bounds = np.array([light.low, light.high, _LEAST_LIGHT, knee or 0.0], np.float32)
    sharing = (layout.across, layout.down)
    compiled.divide_luma(plane, values, line.values, line.upper, line.share, bounds, *sharing, sums, space)


def _roll_off(result: Array, divisor: Array, knee: float) -> None:
    """Maps t above the knee k to k + (t - k) / (1 + c * (t - k)), in place: white stays white.

    c is the bend of each pixel, see `rave_runtime.light.normal_way`. Most pixels of most films are below the
    knee, so only the others are computed.
    """
    values, k = result.reshape(-1), np.float32(knee)
    places = np.flatnonzero(values > k)
    if not places.size:
        return
    d1 = np.minimum(divisor.reshape(-1)[places], np.float32(1))
    bend = 1 - d1
    d1 *= -k
    d1 += 1
    d1 *= 1 - k
    bend /= d1
    excess = values[places] - k
    bend *= excess
    bend += 1
    excess /= bend
    excess += k
    values[places] = excess


def _scale_chroma(
    chroma: tuple[Plane, ...],
    layout: PlaneFormat,
    sums: Array,
    start: int,
    colours: MeanColours | None,
    space: Workspace,
    curve: HdrCurve | None,
) -> None:
    """Scales the chroma of some rows by how much their luma grew.

    Args:
        chroma: both planes of the whole frame.
        layout: how they store values.
        sums: as `_divide_luma` writes them; they are overwritten.
        start: the first of the rows, counted in rows of luma.
        colours: smooths the chroma first.
        space: memory for intermediate values.
        curve: the curve of an HDR film; None for others.
    """
    pixels = layout.across * layout.down
    old_luma, new_luma, divisor = sums
    first = start // layout.down
    values = space.array("chroma", (2, *old_luma.shape))
    for value, plane in zip(values, chroma, strict=True):
        np.subtract(plane[first : first + old_luma.shape[0]], np.float32(layout.neutral), out=value)
    mean_luma = old_luma * np.float32(1 / pixels)
    if colours is not None:
        colours.smooth(values, first, mean_luma, divisor, space)
    # In near black the ratio of luma is noise: adding a little to both sums takes it towards 1.
    floor = np.float32(pixels / 255)
    for part in (old_luma, new_luma):
        np.abs(part, out=part)
        part += floor
    new_luma /= old_luma
    if curve is None:
        values *= new_luma
    else:
        curve.scale_chroma(values, mean_luma, new_luma)
    values += np.float32(layout.neutral + 0.5)
    low, high = layout.chroma_bounds
    np.clip(values, np.float32(low), np.float32(high + 0.5), out=values)
    for value, plane in zip(values, chroma, strict=True):
        np.copyto(plane[first : first + old_luma.shape[0]], value, casting="unsafe")


def _sums(values: Array, layout: PlaneFormat) -> Array:
    """Returns new sums over pixels that share a value of chroma; a last odd row or column counts twice."""
    height, width = values.shape
    if height % layout.down:
        values = np.concatenate([values, values[-1:]], 0)
    if width % layout.across:
        values = np.concatenate([values, values[:, -1:]], 1)
    if layout.down == 2:
        values = values[0::2] + values[1::2]
    if layout.across == 2:
        values = values[:, 0::2] + values[:, 1::2]
    return values.copy() if layout.down * layout.across == 1 else values
