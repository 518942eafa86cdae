"""How the planes of a frame store luma and chroma in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class PlaneFormat:
    """How a planar Y'CbCr frame stores its values.

    Attributes:
        bits: bits per value, from 8 to 16. More than 8 are stored in two bytes.
        across: columns of luma for each column of chroma, 1 or 2.
        down: rows of luma for each row of chroma, 1 or 2.
        is_full_range: whether luma uses all values, instead of 16 to 235 times 2^(bits - 8).
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


def as_plane(buffer: Any, height: int, width: int, line_bytes: int, bits: int) -> Plane:
    """Returns a view of a buffer of padded rows: [height, width] uint8, or uint16 above 8 bits."""
    dtype = np.uint8 if bits == 8 else np.uint16
    flat: NDArray[Any] = np.frombuffer(buffer, dtype)
    step = line_bytes // flat.itemsize
    shaped: Plane = np.lib.stride_tricks.as_strided(flat, (height, width), (line_bytes, flat.itemsize))
    assert (height - 1) * step + width <= flat.size, "the plane is larger than its buffer"
    return shaped
