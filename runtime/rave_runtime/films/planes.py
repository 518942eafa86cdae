"""Dividing a film's frame by its light, on the luma and chroma planes that the film holds.

Y'CbCr is a matrix product of gamma-encoded R'G'B', so dividing red, green and blue by one light divides
luma and both chroma differences by it. The planes need no conversion: 4:2:0 has half the values of RGB, and
chroma is never resampled.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from rave_runtime.arrays import Array
from rave_runtime.films.plane_format import Plane, PlaneFormat
from rave_runtime.films.shade_colours import ShadeColours
from rave_runtime.light import compiled
from rave_runtime.light.reduction import UpsampledLight
from rave_runtime.light.workspace import Workspace

STRIP_ROWS: Final = 128
"""Rows divided at a time: few enough to stay in a processor's cache, and a multiple of every subsampling."""

_LEAST_LIGHT: Final = 1.0 / 64
"""Films are lifted by six stops at most: below that there is only the noise of the codec."""


class Light(Protocol):
    """The light of a frame's rows: see `rave_runtime.light.reduction.UpsampledLight.rows`."""

    def rows(self, start: int, stop: int, luma: Array, workspace: Workspace | None = None) -> Array:
        """[stop - start, width] float32 for rows whose luma, in [0, 1], is given."""


def relight_planes(
    planes: tuple[Plane, ...],
    layout: PlaneFormat,
    light: Light,
    knee: float | None = None,
    colours: ShadeColours | None = None,
    workspace: Workspace | None = None,
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
        colours: smooths the colours of the shade before they are scaled; None leaves them as they are.
        workspace: memory to use again from frame to frame; fresh memory unless given.
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
        divide(planes[0][start:stop], layout, light, start, knee, sums, space)
        if layout.has_chroma:
            _scale_chroma(planes[1:], layout, sums, start, colours, space)


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
        start: the first of the rows.
        knee: as for `relight_planes`.
        sums: [3, rows of chroma, columns of chroma] float32, which is written: sums of luma and of divided
            luma over the pixels that share a value of chroma, and the divisor at the first of them.
        space: memory to use.
    """
    luma, lifted = space.array("luma", (2, *plane.shape))
    np.subtract(plane, np.float32(layout.black), out=luma)
    luma *= np.float32(1 / layout.luma_span)
    divisor = light.rows(start, start + len(plane), luma, space)
    np.clip(divisor, np.float32(_LEAST_LIGHT), np.float32(np.inf), out=divisor)
    np.divide(luma, divisor, out=lifted)
    if knee is not None:
        _roll_off(lifted, divisor, knee)
    np.clip(lifted, np.float32(-1), np.float32(1), out=lifted)
    sums[0], sums[1] = _sums(luma, layout), _sums(lifted, layout)
    sums[2] = divisor[:: layout.down, :: layout.across]
    lifted *= np.float32(layout.luma_span)
    lifted += np.float32(layout.black + 0.5)
    np.clip(lifted, np.float32(0), np.float32(2**layout.bits - 1), out=lifted)
    np.copyto(plane, lifted, casting="unsafe")


def _divide_luma_compiled(
    plane: Plane,
    layout: PlaneFormat,
    light: Light,
    start: int,
    knee: float | None,
    sums: Array,
    space: Workspace,
) -> None:
    """The same in one pass, bit for bit."""
    assert isinstance(light, UpsampledLight)
    line = light.wide_line(start, start + len(plane), 1, space)
    span = layout.luma_span
    values = np.array([layout.black, 1 / span, span, layout.black + 0.5, 2**layout.bits - 1], np.float32)
    bounds = np.array([light.low, light.high, _LEAST_LIGHT, knee or 0.0], np.float32)
    sharing = (layout.across, layout.down)
    compiled.divide_luma(plane, values, line.values, line.upper, line.share, bounds, *sharing, sums, space)


def _roll_off(lifted: Array, divisor: Array, knee: float) -> None:
    """Takes t above the knee k to k + (t - k) / (1 + c * (t - k)), in place: white stays white.

    c is how much the shoulder of each pixel bends, see `rave_runtime.light.normal_way`. Most pixels of most
    films lie below the knee, so only the others are computed.
    """
    values, k = lifted.reshape(-1), np.float32(knee)
    places = np.flatnonzero(values > k)
    if not places.size:
        return
    limited = np.minimum(divisor.reshape(-1)[places], np.float32(1))
    bend = 1 - limited
    limited *= -k
    limited += 1
    limited *= 1 - k
    bend /= limited
    over = values[places] - k
    bend *= over
    bend += 1
    over /= bend
    over += k
    values[places] = over


def _scale_chroma(
    chroma: tuple[Plane, ...],
    layout: PlaneFormat,
    sums: Array,
    start: int,
    colours: ShadeColours | None,
    space: Workspace,
) -> None:
    """Scales the chroma of some rows by how much their luma grew.

    Args:
        chroma: both planes, whole.
        layout: how they store values.
        sums: as `_divide_luma` writes them; they are overwritten.
        start: the first of the rows, of luma.
        colours: smooths the chroma first.
        space: memory to use.
    """
    pixels = layout.across * layout.down
    before, after, divisor = sums
    first = start // layout.down
    values = space.array("chroma", (2, *before.shape))
    for value, plane in zip(values, chroma, strict=True):
        np.subtract(plane[first : first + before.shape[0]], np.float32(layout.neutral), out=value)
    if colours is not None:
        colours.smooth(values, first, before * np.float32(1 / pixels), divisor, space)
    # Where luma is next to nothing its ratio is noise: chroma there grows with the pixel as a whole.
    floor = np.float32(pixels / 255)
    for part in (before, after):
        np.abs(part, out=part)
        part += floor
    after /= before
    values *= after
    values += np.float32(layout.neutral + 0.5)
    low, high = layout.chroma_bounds
    np.clip(values, np.float32(low), np.float32(high + 0.5), out=values)
    for value, plane in zip(values, chroma, strict=True):
        np.copyto(plane[first : first + before.shape[0]], value, casting="unsafe")


def _sums(values: Array, layout: PlaneFormat) -> Array:
    """Sums over the pixels that share a value of chroma, new; a last odd row or column counts twice."""
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
