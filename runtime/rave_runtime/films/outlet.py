"""Where a film is written: a stream whose errors wait until FFmpeg has closed the film."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import IO


class Outlet:
    """Passes what FFmpeg writes on to a binary stream, at once.

    An error inside FFmpeg's call would be lost, and another one come when FFmpeg closes the film. Here the
    first one is kept, what follows is thrown away, and `check` raises the error where it can be handled.

    Attributes:
        error: the first error of the stream; None while there is none.

    Args:
        stream: what to write into. It can be sought in if the stream can.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.error: OSError | None = None
        self.seek: Callable[..., int] | None = None
        self.tell: Callable[[], int] | None = None
        with contextlib.suppress(AttributeError, OSError, ValueError):
            if stream.seekable():
                self.seek, self.tell = self._seek, stream.tell

    def seekable(self) -> bool:
        """Whether it can be sought in."""
        return self.seek is not None

    def write(self, data: bytes) -> int:
        """Writes bytes, or throws them away after an error; returns how many."""
        if self.error is None:
            try:
                self._stream.write(data)
                self._stream.flush()
            except OSError as error:
                self.error = error
        return len(data)

    def check(self) -> None:
        """Raises the error of the stream, if there was one.

        Raises:
            OSError: what the stream raised.
        """
        if self.error is not None:
            raise self.error

    def _seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._stream.seek(offset, whence)
        except OSError as error:
            self.error = self.error or error
            return -1
