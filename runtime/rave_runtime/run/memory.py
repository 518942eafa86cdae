"""Keeping a batch inside a memory limit: how large the tiles, how many photographs at a time."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from rave_runtime.backends.limits import allowed_memory_mib, machine_memory_mib
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.photos.formats import format_named, output_format
from rave_runtime.photos.headers.dimensions import read_dimensions

DEFAULT_LIMIT_MIB: Final = 2048
"""Default memory limit of a batch's photographs and tiles together, beside the programs themselves."""

TILE_BYTES_PER_PX: Final = 2900
"""Peak working memory of the network per pixel of a tile, measured with onnxruntime on the CPU."""

_MOST_BYTES_PER_PX: Final = 60
"""Peak memory per pixel of 8 bits of any format that is read or written."""

_PROGRESSIVE_BYTES_PER_PX: Final = 6
"""The coefficients of a progressive JPEG, which are held until its last scan."""

_FULL_SIZE_BYTES_PER_PX: Final = 8
"""Copies for the network where light is estimated at full size."""

_LONGEST_ROW_PX: Final = 65536
_ROW_BYTES_PER_PX: Final = 220
"""What the light takes for each pixel of a row; it is counted for very long rows only."""

_DEEP_FACTOR: Final = 2.2
"""Factor of memory for 16 bits: twice the bytes, and copies of a library for each change of layout."""

_GREY_SHARE: Final = 0.5
"""The share of that memory that a grey TIFF takes which is written as TIFF again."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`, from its malloc.h."""

_LARGEST_KEPT_BYTES: Final = 1 << 30

_TILE_SIDES_PX: Final = tuple(range(448, 64, -32))


def default_limit_mib() -> int:
    """Returns what a batch may take by default, in MiB: half of what a container allows, 2048 at most."""
    allowed = allowed_memory_mib()
    return DEFAULT_LIMIT_MIB if allowed is None else max(64, min(DEFAULT_LIMIT_MIB, allowed // 2))


def memory_for_one_mib() -> int:
    """Returns what one photograph alone may take by default, in MiB: half of the memory that there is."""
    limits = [limit for limit in (allowed_memory_mib(), machine_memory_mib()) if limit is not None]
    return max(default_limit_mib(), min(limits, default=0) // 2)


def choose_tile_size(limit_mib: int, workers: int) -> int:
    """Returns the largest tile side, in pixels, at which one tile of each worker fits into half the limit.

    The largest is 448: only 16 % of its pixels are halo, and memory grows with the square of the side.

    Raises:
        UsageError: not even the smallest tile fits.
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
    """Makes this process keep the memory of one photograph for the next, where the C library is glibc.

    Otherwise every large buffer is a new mapping, whose pages the kernel clears each time. This is for
    programs: a library must not change the allocator of its host.
    """
    # TypeError: on Windows, ctypes opens no library without a name.
    with contextlib.suppress(OSError, AttributeError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        set_option(_M_TRIM_THRESHOLD, _LARGEST_KEPT_BYTES)


def most_workers(limit_mib: int) -> int:
    """Returns how many workers may each hold the smallest tile within half of the limit, at least 1."""
    return max(1, int(limit_mib * 2**20 / 2) // (_TILE_SIDES_PX[-1] ** 2 * TILE_BYTES_PER_PX))


class Need(NamedTuple):
    """The memory that a photograph takes while it is worked on.

    Attributes:
        photo_bytes: its pixels and files, on the way from one file to the other.
        network_bytes: the network's work on its light, at a reduced size.
        megapixels: its size by its header; None where the header does not tell it.
    """

    photo_bytes: int
    network_bytes: int = 0
    megapixels: float | None = None


class MemoryBudget:
    """Lets photographs into work while they fit together; one that does not fit alone is refused.

    Args:
        total_bytes: the memory for all photographs that are in work together.
        alone_bytes: the most for a photograph that is in work alone; None is the total.
    """

    def __init__(self, total_bytes: int, alone_bytes: int | None = None) -> None:
        self.largest_bytes = max(total_bytes, alone_bytes or 0)
        self._total = total_bytes
        self._used = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def reserve(self, need: Need) -> Iterator[None]:
        """Waits until that much is free or no other photograph holds memory, and holds it during the block.

        Raises:
            PhotoError: the photograph would never fit.
        """
        if need.photo_bytes > self.largest_bytes:
            need_mib, limit_mib = -(-need.photo_bytes // 2**20), self.largest_bytes // 2**20
            raise PhotoError(
                f"needs about {need_mib} MiB of memory, more than the limit of {limit_mib} MiB: "
                f"give --memory-limit {need_mib}, or make the photograph smaller first"
            )
        reserved_bytes = need.photo_bytes + need.network_bytes
        if need.megapixels is None:  # unknown: it is worked on alone
            reserved_bytes = max(reserved_bytes, self._total)
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + reserved_bytes <= self._total)
            self._used += reserved_bytes
        try:
            yield
        finally:
            with self._changed:
                self._used -= reserved_bytes
                self._changed.notify_all()

    def max_megapixels(self, need: Need) -> float:
        """Says how large a picture may turn out to be: as its header says, or as surely fits."""
        if need.megapixels is not None:
            return need.megapixels
        return self.largest_bytes / (_MOST_BYTES_PER_PX * _DEEP_FACTOR) / 1e6


def estimate_need(
    source: Path | bytes, working_size_px: int | None = None, written_format: str | None = None
) -> Need:
    """Estimates the memory that a photograph takes while it is worked on; the estimate is rather too high.

    Args:
        source: a file, or its bytes; only the header is read.
        working_size_px: long side on which its light is estimated; None, in tiles at full size.
        written_format: name of the format of the result; None is the photograph's own.
    """
    dimensions = read_dimensions(source)
    if dimensions is None:
        return Need(0)
    width, height = dimensions.width, dimensions.height
    read_bytes = format_named(dimensions.format).read_bytes_per_px
    read_bytes += _PROGRESSIVE_BYTES_PER_PX if dimensions.is_progressive else 0
    out = format_named(output_format(dimensions.format, written_format))
    written_bytes = out.written_bytes_per_px or _MOST_BYTES_PER_PX
    if out.name == "WEBP" and not dimensions.may_have_alpha:
        written_bytes = out.read_bytes_per_px
    bytes_per_px: float = max(read_bytes * (_DEEP_FACTOR if dimensions.is_deep else 1), written_bytes)
    if dimensions.is_grey_tiff and out.name == "TIFF":
        bytes_per_px *= _GREY_SHARE
    long_side = max(width, height)
    network = 0
    if working_size_px is not None:
        scale = min(1.0, working_size_px / max(long_side, 1))
        network = int(width * scale + 1) * int(height * scale + 1) * TILE_BYTES_PER_PX
    else:
        bytes_per_px += _FULL_SIZE_BYTES_PER_PX
    photo = int(width * height * bytes_per_px) + dimensions.file_bytes
    if long_side > _LONGEST_ROW_PX:  # the light is applied to whole rows, one at least
        photo += long_side * _ROW_BYTES_PER_PX
    return Need(photo, network, (width * height + 1) / 1e6)
