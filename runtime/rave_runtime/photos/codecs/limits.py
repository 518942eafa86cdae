"""How large a picture can be in a format: what its files can state, and what its libraries write and read.

Source: tried with libavif 1.4.2, whose decoder has these limits unless a program lifts them (`avif.h`), and
with x265 4.3 and libheif 1.23.6; ITU-T H.265, A.4, for narrow pictures.
"""

from __future__ import annotations

from typing import Final

from rave_runtime.photos.formats import format_named

_MOST_PX: Final = {"AVIF": 1 << 28}
"""Width times height at most."""

_NARROW: Final = {"HEIF": (32, 4216)}
"""The width or height, in pixels, below which the other one has at most so many: larger pictures need blocks
of 32 pixels."""


def why_too_large(format: str, width: int, height: int) -> str | None:
    """Says why a picture of that size, in pixels, cannot be written in a format; None where it can be."""
    longest_px = format_named(format).longest_side_px or width + height
    narrow_px, longest_narrow_px = _NARROW.get(format, (0, 0))
    if max(width, height) > longest_px:
        limit = f"whose sides have at most {longest_px} pixels"
    elif width * height > _MOST_PX.get(format, width * height):
        limit = f"which has at most {_MOST_PX[format]} pixels here"
    elif min(width, height) < narrow_px and max(width, height) > longest_narrow_px:
        limit = f"whose sides have at most {longest_narrow_px} pixels where the other is under {narrow_px}"
    else:
        return None
    return f"cannot be written as {format}, {limit}: it is {width} x {height}, which --format png can hold"
