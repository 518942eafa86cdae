"""The packed texts and profiles of a PNG, unpacked within a limit."""

from __future__ import annotations

import zlib
from typing import Final

_MAX_UNPACKED: Final = 1 << 24
"""The most bytes that all packed profiles and texts of a PNG together may unpack to."""


class PngUnpacker:
    """Unpacks the profiles and texts of one PNG, until all together are beyond measure."""

    def __init__(self) -> None:
        self._room = _MAX_UNPACKED

    def unpack(self, packed: bytes) -> bytes | None:
        """Returns the unpacked bytes; None where they are damaged or beyond measure."""
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(packed, max(1, self._room))  # 0 would stand for no limit
        except zlib.error:
            return None
        self._room -= len(data)
        return data if unpacker.eof else None

    def text_of(self, kind: bytes, data: bytes) -> bytes | None:
        """Unpacks the text of a text chunk; returns None where it is damaged or beyond measure.

        Behind the keyword and a 0, tEXt has the text, zTXt the method of packing and the packed text, and
        iTXt a flag, the method, two further texts that end with 0, and the text, packed if the flag is 1.
        """
        _, _, rest = data.partition(b"\0")
        if kind == b"tEXt":
            return rest
        if kind == b"zTXt":
            return self.unpack(rest[1:])
        fields = rest[2:].split(b"\0", 2)
        if len(fields) < 3:
            return None
        return self.unpack(fields[2]) if rest[0] else fields[2]
