"""Checks the sizes of tiles and of reduced pictures."""

from __future__ import annotations

from typing import Final

import numpy as np

from rave_runtime.bundle import MIN_WORKING_SIZE_PX
from rave_runtime.errors import UsageError

DEFAULT_TILE_PX: Final = 384
"""Greatest side of a tile by default: it needs less than 500 MiB, and is not slower than larger ones."""


def check_tile_size(tile_size: int | str | None, halo_px: int) -> int | None:
    """Returns the greatest side of a tile, in pixels; None where every image is taken whole.

    Args:
        tile_size: "auto", a number of pixels, or None.
        halo_px: how far the network looks around a pixel.

    Raises:
        UsageError: the size is something else, or too small to leave a core between two halos.
    """
    if tile_size is None:
        return None
    if tile_size == "auto":
        return DEFAULT_TILE_PX
    if isinstance(tile_size, bool) or not isinstance(tile_size, (int, np.integer)):
        raise UsageError(f"tile_size must be 'auto', a number of pixels or None, got {tile_size!r}")
    if tile_size <= 2 * halo_px:
        raise UsageError(
            f"tile_size is {tile_size} px; this network looks {halo_px} px around each pixel, "
            f"so at least {2 * halo_px + 1} is needed"
        )
    return int(tile_size)


def check_working_size(working_size: int | str | None, recommended: int | None) -> int | None:
    """Returns the long side, in pixels, on which the light is estimated; None for full resolution.

    Args:
        working_size: "recommended", a number of pixels, or None.
        recommended: what the bundle recommends, in pixels, or None.

    Raises:
        UsageError: the size is something else, or less than `MIN_WORKING_SIZE_PX`.
    """
    if working_size == "recommended":
        return recommended
    if working_size is None:
        return None
    if isinstance(working_size, bool) or not isinstance(working_size, (int, np.integer)):
        raise UsageError(
            f"working_size must be 'recommended', a number of pixels or None, got {working_size!r}"
        )
    if working_size < MIN_WORKING_SIZE_PX:
        raise UsageError(
            f"working_size is {working_size} px: at least {MIN_WORKING_SIZE_PX} are needed, "
            "or None for full resolution"
        )
    return int(working_size)
