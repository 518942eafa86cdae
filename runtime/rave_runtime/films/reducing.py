"""Reduces a film's frames to small RGB pictures, from which the light is estimated."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.light.luma import LUMA_BT601

_LUMA_WEIGHTS: Final = {1: (0.2126, 0.7152, 0.0722), 9: (0.2627, 0.6780, 0.0593)}
"""Weights of red, green and blue in luma, by the matrix's number in ITU-T H.273; others are BT.601."""

_SWS_MATRICES: Final = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""swscale's number for each matrix of ITU-T H.273."""

_UNSPECIFIED: Final = 2
"""The number in ITU-T H.273 for a matrix that is not stated."""

_HD_HEIGHT_PX: Final = 720
"""Films of this height or more that do not state a matrix are taken for BT.709, smaller ones for BT.601."""


def reduced_frame(frame: Any, long_side_px: int, conversion: dict[str, int]) -> NDArray[np.uint8]:
    """Returns a frame as [h', w', 3] uint8 RGB, reduced to a long side with options of PyAV's conversion."""
    scale = min(1.0, long_side_px / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale)) for side in (frame.width, frame.height))
    matrix = _matrix(frame)
    matrices = {"src_colorspace": _SWS_MATRICES.get(matrix, 5)}
    small = frame.reformat(width, height, "rgb24", interpolation="AREA", **matrices, **conversion)
    pixels: NDArray[np.uint8] = small.to_ndarray()
    return pixels


def _matrix(frame: Any) -> int:
    """Returns the number in ITU-T H.273 of the matrix between RGB and the planes."""
    matrix = int(frame.colorspace)
    if matrix == _UNSPECIFIED:
        return 1 if frame.height >= _HD_HEIGHT_PX else 6
    return matrix


def luma_weights(frame: Any) -> tuple[float, float, float]:
    """Returns the weights of red, green and blue in a frame's luma."""
    return _LUMA_WEIGHTS.get(_matrix(frame), LUMA_BT601)
