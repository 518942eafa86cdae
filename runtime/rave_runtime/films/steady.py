"""Steadies the light of a film's frames over time, so that it does not flicker, pump or lag behind a cut.

The network sees each frame alone, so its light varies with noise and with whatever enters the picture. This
module does not steady the light itself but its two coefficients, from which the guided filter computes the
light with the frame's luminance (`rave_runtime.light.reduction`). They are smooth in space, so they may
change slowly without ghosts, while the edges of the light stay on the edges of the current frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from rave_runtime.arrays import Array

SETTLING_S: Final = 0.6
"""Time in which the light of a still scene follows 63 % of a change."""

_MOVING_SHARE: Final = 0.35
"""Share of the new frame's coefficients where the picture moves: the light follows in about six frames."""

_STILL_STEP: Final = 0.012
_MOVING_STEP: Final = 0.06
"""A pixel of the reduced and blurred frame counts as still up to the first change of luminance, in [0, 1],
and as moving from the second on. Noise of five grey levels at full size changes it by less than 0.003."""

_CUT_STEP: Final = 0.10
_CUT_FACTOR: Final = 3.0
"""A cut changes mean luminance by more than the step, and by more than the factor times the usual change."""

_DARK_CUT_STEP: Final = 0.02
_DARK_CUT_SHARE: Final = 0.3
"""In the dark a smaller step is a cut as well if each pixel's share of its frame's light changes by so much:
it does between two scenes, hardly where a pan begins, and not where a lamp goes on."""


@dataclass(frozen=True)
class Line:
    """Light as a linear function of luminance, pixel by pixel of the reduced frame.

    Attributes:
        coefficients: [2, h', w'] float32: slope and offset.
        low: the least light that the network gave.
        high: the greatest light that the network gave.
    """

    coefficients: Array
    low: float
    high: float


class SteadyLight:
    """Steadies the coefficients of successive frames.

    Attributes:
        cuts: how many cuts were found.

    Args:
        frames_per_s: rate of the film.
    """

    def __init__(self, frames_per_s: float) -> None:
        self._usual_s = 1 / max(frames_per_s, 1.0)
        self._line: Line | None = None
        self._guide: Array | None = None
        self._usual_step = 0.0
        self.cuts = 0

    def update(self, line: Line, guide: Array, step_s: float | None = None) -> Line:
        """Returns the steadied coefficients of a frame.

        Args:
            line: the frame's own coefficients.
            guide: [h', w'] float32 in [0, 1], luminance of the reduced frame.
            step_s: seconds since the frame before; None is the usual time. Films of cameras that record when
                something moves have hours between some frames, so the usual time tells nothing about others.

        Returns:
            Coefficients between those of the frame and of the earlier frames; the frame's after a cut.
        """
        previous, previous_guide = self._line, self._guide
        self._guide = guide
        if previous is None or previous_guide is None or previous_guide.shape != guide.shape:
            self._line = line
            return line
        step = _blurred(np.abs(guide - previous_guide))
        mean_step = float(step.mean())
        if mean_step > _CUT_FACTOR * self._usual_step and _is_cut(guide, previous_guide, mean_step):
            self.cuts += 1
            self._usual_step = 0.0
            self._line = line
            return line
        self._usual_step += 0.2 * (mean_step - self._usual_step)
        moving = np.clip((step - _STILL_STEP) / (_MOVING_STEP - _STILL_STEP), 0, 1)
        after_s = step_s if step_s is not None and step_s > 0 else self._usual_s
        still_share = 1 - math.exp(-after_s / SETTLING_S)
        share = still_share + (max(_MOVING_SHARE, still_share) - still_share) * moving
        coefficients = previous.coefficients + share * (line.coefficients - previous.coefficients)
        bounds_share = float(share.mean())
        self._line = Line(
            coefficients.astype(np.float32, copy=False),
            previous.low + bounds_share * (line.low - previous.low),
            previous.high + bounds_share * (line.high - previous.high),
        )
        return self._line


def _is_cut(guide: Array, previous: Array, mean_step: float) -> bool:
    """Tells whether two frames' luminances, [h', w'] float32, differ as those of two scenes do."""
    if not _DARK_CUT_STEP < mean_step <= _CUT_STEP:
        return mean_step > _CUT_STEP
    shares = [values / max(float(values.mean()), 1e-3) for values in (guide, previous)]
    return float(np.abs(shares[0] - shares[1]).mean()) > _DARK_CUT_SHARE


def _blurred(values: Array) -> Array:
    """Returns means over 5 x 5 pixels, [h, w] float32, with border pixels repeated outwards."""
    for axis in (0, 1):
        padded = np.pad(values, [(2, 2) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        length = values.shape[axis]
        shifted = [np.take(padded, range(i, i + length), axis) for i in range(5)]
        values = (np.sum(shifted, 0) / 5).astype(np.float32)
    return values
