"""Decoding JPEG by simplejpeg, where it is installed: into the array at once, in two thirds of the time.

Both are libjpeg-turbo with the same settings, and give the same values; Pillow decodes into its own memory,
which is then copied. Files that simplejpeg cannot decode are left to Pillow, so that refusals and their
messages do not depend on what is installed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from rave_runtime.arrays import Pixels, wide_pixels, with_fourth_byte

_Decode = Callable[..., Any]


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
    except (ValueError, RuntimeError):
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
