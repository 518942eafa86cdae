"""Whether two pictures have one shape: a comparison of others would measure how far one was stretched."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

Size = tuple[int, int]
"""Width and height in pixels, upright."""

_TOLERANCE: Final = 0.02
"""Difference of the logarithms of aspect ratios that is tolerated beside one pixel of rounding: some networks
round sides to multiples of their stride."""


def why_not_compared(size_px: Size, partner: Path, partner_size_px: Size) -> str | None:
    """Says why a picture cannot be compared with its partner; None where both have the same aspect ratio.

    Args:
        size_px: width and height of the picture.
        partner: the file of its partner, for the message.
        partner_size_px: width and height of the partner.
    """
    (width, height), (true_width, true_height) = size_px, partner_size_px
    ratio = width * true_height / (height * true_width)
    rounding = 1 / min(*size_px, *partner_size_px)
    if abs(math.log(ratio)) <= _TOLERANCE + rounding:
        return None
    return f"{width}x{height} pixels cannot be compared with {partner}, {true_width}x{true_height}"
