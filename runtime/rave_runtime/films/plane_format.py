"""How the planes of a frame store luma and chroma in memory, and the small RGB picture of them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rave_runtime.light.luma import LUMA_BT601
from rave_runtime.photos.headers.colour_codes import LUMINANCE

Plane = NDArray[np.uint8] | NDArray[np.uint16]

_LUMA_WEIGHTS: Final = {1: LUMINANCE, 9: (0.2627, 0.6780, 0.0593)}
"""Weights of red, green and blue in luma, by the matrix's number in ITU-T H.273; others are BT.601."""

_SWS_MATRICES: Final = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""swscale's number for each matrix of ITU-T H.273."""

_UNSPECIFIED: Final = 2
"""The number in ITU-T H.273 for a matrix that is not stated."""

_HD_HEIGHT_PX: Final = 720
"""Films of this height or more that do not state a matrix are taken for BT.709, smaller ones for BT.601."""


class PlaneFormat(NamedTuple):
    """How a planar Y'CbCr frame stores its values.

    Attributes:
        bits: bits per value, from 8 to 16. More than 8 are stored in two bytes.
        across: columns of luma for each column of chroma, 1 or 2.
        down: rows of luma for each row of chroma, 1 or 2.
        is_full_range: whether luma uses all values, instead of 16 to 235 times 2^(bits - 8).
        has_chroma: whether there are chroma planes.
        levels: the value of black, and the difference between white and black, where they are not the
            range's.
    """

    bits: int
    across: int
    down: int
    is_full_range: bool
    has_chroma: bool = True
    levels: tuple[float, float] | None = None

    @property
    def black(self) -> float:
        """The value of black."""
        if self.levels is not None:
            return self.levels[0]
        return 0.0 if self.is_full_range else 16.0 * 2 ** (self.bits - 8)

    @property
    def luma_span(self) -> float:
        """The difference between white and black."""
        if self.levels is not None:
            return self.levels[1]
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


def as_plane(buffer: Any, height: int, width: int, line_bytes: int, bits: int) -> Plane:
    """Returns a view of a buffer of padded rows: [height, width] uint8, or uint16 above 8 bits."""
    dtype = np.uint8 if bits == 8 else np.uint16
    flat: NDArray[Any] = np.frombuffer(buffer, dtype)
    step = line_bytes // flat.itemsize
    shaped: Plane = np.lib.stride_tricks.as_strided(flat, (height, width), (line_bytes, flat.itemsize))
    assert (height - 1) * step + width <= flat.size, "the plane is larger than its buffer"
    return shaped


def without_rgb(frame: Any, conversion: dict[str, int]) -> Any:
    """Returns an RGB frame as 4:2:0 in BT.709, which all players show, and every other frame as it is.

    Args:
        frame: a frame of PyAV; if it is transparent it stays as it is.
        conversion: options of PyAV's conversion.
    """
    components = frame.format.components
    if not frame.format.is_rgb or any(component.is_alpha for component in components):
        return frame
    planar = "yuv420p" if max(component.bits for component in components) <= 8 else "yuv420p10le"
    return frame.reformat(format=planar, dst_colorspace=1, dst_color_range=1, **conversion)


def reduced_frame(frame: Any, long_side_px: int, conversion: dict[str, int], kind: str = "rgb24") -> Any:
    """Returns a frame as [h', w', 3] RGB in its own curve, reduced to a long side.

    Args:
        frame: a frame of PyAV.
        long_side_px: the long side of the result.
        conversion: options of PyAV's conversion.
        kind: "rgb24" for uint8, "rgb48le" for uint16.
    """
    scale = min(1.0, long_side_px / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale)) for side in (frame.width, frame.height))
    matrix = _matrix(frame)
    matrices = {"src_colorspace": _SWS_MATRICES.get(matrix, 5)}
    small = frame.reformat(width, height, kind, interpolation="AREA", **matrices, **conversion)
    return small.to_ndarray()


def _matrix(frame: Any) -> int:
    """Returns the number in ITU-T H.273 of the matrix between RGB and the planes."""
    matrix = int(frame.colorspace)
    if matrix == _UNSPECIFIED:
        return 1 if frame.height >= _HD_HEIGHT_PX else 6
    return matrix


def luma_weights(frame: Any) -> tuple[float, float, float]:
    """Returns the weights of red, green and blue in a frame's luma."""
    return _LUMA_WEIGHTS.get(_matrix(frame), LUMA_BT601)
