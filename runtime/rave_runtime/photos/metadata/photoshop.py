"""Photoshop's image resources: a list of numbered blocks, one of which holds captions as IPTC-IIM has them.

JPEG keeps the list in its APP13 segments, TIFF in a tag, and PNG in a text that ImageMagick and ExifTool
know.

Source: Adobe Photoshop File Formats Specification, image resource blocks; IPTC-IIM 4.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_RESOLUTION: Final = 0x03ED
"""The resource of the resolutions across and down, each a number and two units in 8 bytes."""

_IPTC: Final = 0x0404
_THUMBNAILS: Final = (0x0409, 0x040C)


def without_thumbnails(resources: bytes) -> bytes:
    """Takes thumbnails, which show the old picture, out of image resources; leaves damaged ones unchanged."""
    return _without(resources, _THUMBNAILS)


def with_turned_resolution(resources: bytes, orientation: int) -> bytes:
    """Exchanges the resolutions across and down where a turn exchanged the sides.

    Args:
        resources: image resources.
        orientation: how the picture was stored, 1 to 8.
    """
    turned = resources
    for number, _, stop, data in _blocks(resources) if orientation >= 5 else ():
        if number == _RESOLUTION and len(data) == 16:
            start = stop - 16
            turned = turned[:start] + data[8:] + data[:8] + turned[stop:]
    return turned


def without_iptc(resources: bytes) -> bytes:
    """Takes captions out of image resources, for a file that holds them elsewhere."""
    return _without(resources, (_IPTC,))


def _without(resources: bytes, numbers: tuple[int, ...]) -> bytes:
    blocks, stop = [], 0
    for number, start, stop, _ in _blocks(resources):
        if number not in numbers:
            blocks.append(resources[start:stop])
    rest = resources[stop:]
    return resources if rest.startswith(b"8BIM") else b"".join(blocks) + rest


def iptc_of(resources: bytes) -> bytes | None:
    """Returns the IPTC-IIM records among image resources, or None."""
    return next((data for number, _, _, data in _blocks(resources) if number == _IPTC and data), None)


def resource_of_iptc(iptc: bytes) -> bytes:
    """Writes IPTC-IIM records as one image resource."""
    return b"8BIM" + struct.pack(">HHI", _IPTC, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)


def _blocks(resources: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yields number, start, stop and data of each whole block, up to what makes no sense."""
    start = 0
    while resources.startswith(b"8BIM", start) and start + 6 < len(resources):
        (number,) = struct.unpack_from(">H", resources, start + 4)
        size_at = start + 6 + (resources[start + 6] + 2) // 2 * 2
        if size_at + 4 > len(resources):
            return
        (size,) = struct.unpack_from(">I", resources, size_at)
        stop = size_at + 4 + size + size % 2
        if stop > len(resources) + 1:  # the last one's padding may be left out
            return
        yield number, start, stop, resources[size_at + 4 : size_at + 4 + size]
        start = stop
