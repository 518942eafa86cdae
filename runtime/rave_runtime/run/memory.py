"""Keeping a batch inside a memory limit: how large the tiles, how many photographs at a time."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rave_runtime.backends.limits import allowed_memory_mib
from rave_runtime.errors import UsageError
from rave_runtime.photos.headers.dimensions import read_dimensions

DEFAULT_LIMIT_MIB: Final = 2048
"""What a batch may take at most where nothing is said: photographs and tiles, beside the programs."""

TILE_BYTES_PER_PX: Final = 2900
"""Peak working memory of the network per pixel of a tile, measured with onnxruntime on the CPU."""

PHOTO_BYTES_PER_PX: Final = 16
"""Decoder's copy (4), pixels (3), luminance (1), result (3), encoder's copy (4), and room for strips."""

_DEEP_FACTOR: Final = 3
"""Times as much for 16 bits: twice the bytes, and copies of a library for each change of layout."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`, from its malloc.h."""

_LARGEST_KEPT_BYTES: Final = 1 << 30

_TILE_SIDES_PX: Final = tuple(range(448, 64, -32))


def default_limit_mib() -> int:
    """What a batch may take where nothing is said, in MiB: half of what a container allows, 2048 at most."""
    allowed = allowed_memory_mib()
    return DEFAULT_LIMIT_MIB if allowed is None else max(64, min(DEFAULT_LIMIT_MIB, allowed // 2))


def choose_tile_size(limit_mib: int, workers: int) -> int:
    """The largest tile of which each worker may hold one within half of the limit.

    448 is the most: 16 % of its pixels are halo already, and memory grows with its square.

    Raises:
        UsageError: not even the smallest fits.
    """
    share = limit_mib * 2**20 / 2 / workers
    for side in _TILE_SIDES_PX:
        if side * side * TILE_BYTES_PER_PX <= share:
            return side
    raise UsageError(
        f"a memory limit of {limit_mib} MiB is too small for {workers} workers: "
        f"give at least {workers * 2 * _TILE_SIDES_PX[-1] ** 2 * TILE_BYTES_PER_PX // 2**20 + 1} MiB"
    )


def keep_freed_memory() -> None:
    """Has this process keep the memory of one photograph for the next, where the C library is glibc.

    Otherwise every buffer of a photograph is a mapping of its own, whose pages the kernel clears each
    time. For programs, not for libraries.
    """
    with contextlib.suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        set_option(_M_TRIM_THRESHOLD, _LARGEST_KEPT_BYTES)


def most_workers(limit_mib: int) -> int:
    """How many workers may each hold the smallest tile within half of the limit, at least 1."""
    return max(1, int(limit_mib * 2**20 / 2) // (_TILE_SIDES_PX[-1] ** 2 * TILE_BYTES_PER_PX))


class MemoryBudget:
    """Lets photographs into work while they fit together; one that is too large goes in alone."""

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._used = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def reserve(self, wanted_bytes: int) -> Iterator[None]:
        """Waits until that much is free, or nothing else is held."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + wanted_bytes <= self._total)
            self._used += wanted_bytes
        try:
            yield
        finally:
            with self._changed:
                self._used -= wanted_bytes
                self._changed.notify_all()


def photo_bytes(source: Path | bytes, working_size_px: int | None = None) -> int:
    """About how much memory a photograph takes while it is worked on; 0 where its header is no help.

    Args:
        source: a file, or its bytes; only the header is read.
        working_size_px: long side on which its light is estimated; None, in tiles at full size.
    """
    dimensions = read_dimensions(source)
    if dimensions is None:
        return 0
    width, height = dimensions.width, dimensions.height
    bytes_per_px = PHOTO_BYTES_PER_PX * (_DEEP_FACTOR if dimensions.is_deep else 1)
    reduced = 0
    if working_size_px is not None:
        scale = min(1.0, working_size_px / max(width, height, 1))
        reduced = int(width * scale * height * scale)
    return width * height * bytes_per_px + reduced * TILE_BYTES_PER_PX
