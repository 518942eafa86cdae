"""BMP's header of version 5, which holds a colour profile.

Source: Microsoft, BITMAPV5HEADER.
"""

from __future__ import annotations

import struct
from typing import Final

_FILE_HEADER_BYTES: Final = 14
_SHORT_HEADER_BYTES: Final = 40
_LONG_HEADER_BYTES: Final = 124
_FOR_PICTURES: Final = 4
"""Rendering intent LCS_GM_IMAGES, which is perceptual."""


def add_bmp_profile(bmp: bytes, icc_profile: bytes) -> bytes:
    """A BMP with a header of 40 bytes, as Pillow writes it, and a profile behind its pixels.

    Raises:
        ValueError: the BMP has another header.
    """
    size, pixels_start = struct.unpack_from("<I", bmp, 14)[0], struct.unpack_from("<I", bmp, 10)[0]
    if size != _SHORT_HEADER_BYTES:
        raise ValueError(f"BMP header of {size} bytes, {_SHORT_HEADER_BYTES} are needed")
    added = _LONG_HEADER_BYTES - _SHORT_HEADER_BYTES
    profile_start = len(bmp) + added - _FILE_HEADER_BYTES
    file_header = bmp[:2] + struct.pack(
        "<IHHI", len(bmp) + added + len(icc_profile), 0, 0, pixels_start + added
    )
    header = struct.pack("<I", _LONG_HEADER_BYTES) + bmp[18 : _FILE_HEADER_BYTES + _SHORT_HEADER_BYTES]
    header += bytes(16) + b"DEBM" + bytes(48)
    header += struct.pack("<4I", _FOR_PICTURES, profile_start, len(icc_profile), 0)
    return file_header + header + bmp[_FILE_HEADER_BYTES + _SHORT_HEADER_BYTES :] + icc_profile
