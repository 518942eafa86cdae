"""The fast ways of decoding and encoding JPEG.

Decoding is done by simplejpeg, where it is installed: into the array at once, in two thirds of the time. Both
are libjpeg-turbo with the same settings, and give the same values; Pillow decodes into its own memory, which
is then copied. Files that simplejpeg cannot decode are left to Pillow, so that refusals and their messages do
not depend on what is installed.

Encoding is done by Pillow, into a file in memory, since Pillow keeps Python's lock while it encodes into
Python's own buffers: one photograph at a time, while the others wait.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import threading
from collections.abc import Callable
from typing import Any, BinaryIO, Final

import numpy as np

from rave_runtime.arrays import Pixels, wide_pixels, with_fourth_byte

_Decode = Callable[..., Any]

_DAMAGE: Final = re.compile(
    "premature end of data segment|bad (Huffman|arithmetic) code|instead of RST|bytes before marker 0xd[0-7]"
)
"""What libjpeg says of coded pixels that make no sense. It shows grey or wrong colours there, and goes on."""

_KEPT_BYTES: Final = 1 << 25
"""The largest content whose memory a thread keeps for the next one: new pages cost a millisecond for 3 MB."""


class DamagedJpegError(Exception):
    """Coded pixels of a JPEG make no sense."""


def decode_jpeg(content: bytes, mode: str, width: int, height: int, wide: bool = False) -> Pixels | None:
    """Decodes the first picture of a JPEG, as it is stored, not turned.

    Args:
        content: a file's bytes.
        mode: what Pillow says that it holds, such as "RGB" or "L".
        width: in pixels, by its header.
        height: in pixels, by its header.
        wide: whether pixels in colour lie four bytes apart, see `rave_runtime.arrays.wide_pixels`.

    Returns:
        [h, w, 3] uint8 for "RGB", [h, w, 1] for "L"; None where Pillow has to decode it: another mode, a
        damaged or truncated file, an unusual sampling of colours, or simplejpeg is not installed.

    Raises:
        DamagedJpegError: some of its coded pixels make no sense. Pillow decodes such a file without a word.
    """
    decode = _decoder()
    if decode is None or mode not in ("RGB", "L"):
        return None
    pixels: Pixels
    if mode == "RGB" and wide:
        pixels = wide_pixels(height, width)
        memory, kind = with_fourth_byte(pixels), "RGBX"
    else:
        pixels = memory = np.empty((height, width, 3 if mode == "RGB" else 1), np.uint8)
        kind = "RGB" if mode == "RGB" else "GRAY"
    try:
        # Strictly: what libjpeg only warns of is for Pillow to judge.
        decoded = decode(content, kind, buffer=memory, strict=True)
    except (ValueError, RuntimeError) as error:
        if _DAMAGE.search(str(error)):
            raise DamagedJpegError from error
        return None
    return pixels if decoded.shape == memory.shape else None


@functools.cache
def _decoder() -> _Decode | None:
    try:
        import simplejpeg
    except ImportError:
        return None
    decode: _Decode = simplejpeg.decode_jpeg
    return decode


class _MemoryFile:
    """Holds a file in memory that the system knows as a file, and closes it when its thread ends.

    Attributes:
        file: the file; None where the system has no such files.
    """

    def __init__(self) -> None:
        self.file: BinaryIO | None = None
        if hasattr(os, "memfd_create"):
            with contextlib.suppress(OSError):
                self.file = open(os.memfd_create("rave-run"), "w+b", buffering=0)  # noqa: SIM115

    def __del__(self) -> None:
        if self.file is not None:
            self.file.close()


_of_thread = threading.local()


def _forget_files() -> None:
    """Makes a forked process open files of its own: it would write into those of its parent."""
    global _of_thread
    _of_thread = threading.local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_files)


def bytes_written(write: Callable[[BinaryIO], object]) -> bytes:
    """Returns what a function writes into a file, if possible one into which Pillow encodes without the lock.

    Args:
        write: writes into an empty file, from its start on.
    """
    if not hasattr(_of_thread, "memory"):
        _of_thread.memory = _MemoryFile()
    file: BinaryIO | None = _of_thread.memory.file
    if file is None:
        buffer = io.BytesIO()
        write(buffer)
        return buffer.getvalue()
    file.seek(0)
    try:
        write(file)
        size = file.tell()
        file.seek(0)
        parts = []
        while size > 0 and (part := file.read(size)):  # the system gives at most 2 GiB at once
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        if os.fstat(file.fileno()).st_size > _KEPT_BYTES:
            file.truncate(0)
