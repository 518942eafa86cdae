"""A limit on how often a picture's file is read while its header is parsed.

Decoders written in Python walk through a header piece by piece, and a file can have any number of pieces
of no length: zeros after JPEG's first marker, empty chunks, blanks. The limit ends every such walk after a
fraction of a second, whatever the format.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO, Final

from rave_runtime.errors import PhotoError

_MAX_HEADER_READS: Final = 150_000
"""Reads while a picture is opened; a TIFF with 2,000 tags needs 6,000, a JPEG with 64 segments 200."""

_BYTES_PER_READ: Final = 64
"""Bytes that each read must bring on average while pixels are decoded, where there are more reads than that.

GIF's pieces bring 127, PNG's usually 2,000.
"""


class BoundedFile:
    """A file that can be read and sought, until it has been read too often.

    Args:
        file: what is read.
        size: the size of the file, in bytes.

    Raises:
        PhotoError: raised by `read` and `readline` after too many reads.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._reads_left = _MAX_HEADER_READS
        self._problem = "its header does not end"
        self.seek = file.seek
        self.tell = file.tell

    def start_decoding(self, allowed_reads: int = 0) -> None:
        """Sets the limit anew for the pixels, to at least that many reads."""
        self._reads_left = max(_MAX_HEADER_READS, self._size // _BYTES_PER_READ, allowed_reads)
        self._problem = "its pixels lie in too many pieces"

    def read(self, count: int = -1, /) -> bytes:
        """Reads as a file does, and counts the call."""
        self._count()
        return self._file.read(count)

    def readline(self, count: int = -1, /) -> bytes:
        """Reads a line as a file does, and counts the call."""
        self._count()
        return self._file.readline(count)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _count(self) -> None:
        self._reads_left -= 1
        if self._reads_left < 0:
            raise PhotoError(f"is damaged, or no photograph: {self._problem}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def bounded(content: bytes) -> BoundedFile:
    """Wraps bytes as a `BoundedFile`."""
    return BoundedFile(io.BytesIO(content), len(content))
