"""The access log: a line of JSON per request, without photographs or names, written by a separate thread."""

from __future__ import annotations

import json
import queue
import threading
import time
from typing import Any, Final, TextIO

_MOST_WAITING: Final = 10_000
"""Lines that may wait for a slow reader of the log; later ones are counted and dropped."""


class LineLog:
    """Writes lines of JSON in a thread, so that a full pipe or disk never stops a request.

    Args:
        stream: where the lines are written; None writes nothing.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(_MOST_WAITING)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write_all, name="rave-log", daemon=True)
        if stream is not None:
            self._thread.start()

    def write(self, **facts: Any) -> None:
        """Adds a line; it begins with the time (UTC, ISO 8601)."""
        if self._stream is None:
            return
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03}Z"
        try:
            self._queue.put_nowait({"time": stamp, **facts})
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Writes the lines that wait, for two seconds at most."""
        if self._stream is not None:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                return
            self._thread.join(2)

    def _write_all(self) -> None:
        assert self._stream is not None
        while (facts := self._queue.get()) is not None:
            if self._dropped:
                facts, self._dropped = facts | {"dropped_lines": self._dropped}, 0
            try:
                self._stream.write(json.dumps(facts) + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # a full disk or a closed pipe costs lines, not photographs
                self._dropped += 1
