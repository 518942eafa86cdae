"""Notices films whose file ends before the film does, such as after a broken download."""

from __future__ import annotations

from typing import Any, Final

_TELLING: Final = ("mov", "matroska", "avi", "flv")
"""Parts of the names that FFmpeg has for containers that state how long they are.

For others it guesses, and ASF counts seconds before the film begins.
"""

_TOLERANCE_S: Final = 0.5
_TOLERANCE: Final = 0.03
_TOLERANCE_FRAMES: Final = 2
"""Seconds, share of the whole, and frames by which a file may state more than it holds."""

_MICROSECONDS: Final = 1e6


class EndWatch:
    """Compares what a film's file states with what was read of it.

    Args:
        container: the opened film.
        video: its stream that is enhanced.
    """

    def __init__(self, container: Any, video: Any) -> None:
        self._container = container.format.name
        self._stated_frames = int(video.frames or 0)
        self._stated_s = (container.duration or 0) / _MICROSECONDS
        if self._container == "avi":  # FFmpeg states the seconds that are there, but the header's frames
            self._stated_s = float(self._stated_frames * (video.time_base or 0))
        self._video = video
        self._end_s = 0.0
        rate = min(float(rate or 1) for rate in (video.average_rate, video.guessed_rate))
        self._tolerance_s = max(_TOLERANCE_S, _TOLERANCE * self._stated_s, _TOLERANCE_FRAMES / rate)
        self.packets = 0

    def see(self, packet: Any) -> None:
        """Takes note of a packet that was read."""
        if not packet.size:
            return
        self.packets += packet.stream is self._video
        at = packet.dts if packet.pts is None else packet.pts
        if at is not None and packet.time_base:
            self._end_s = max(self._end_s, float((at + (packet.duration or 0)) * packet.time_base))

    def note(self) -> str | None:
        """Returns a note where the file ended early, after all packets were seen; otherwise None."""
        missing_s = self._stated_s - self._end_s
        is_telling = any(name in self._container for name in _TELLING)
        is_short = is_telling and missing_s > self._tolerance_s
        if not is_short:
            return None
        if self._stated_frames > self.packets and self._container != "avi":  # where repeated frames count
            return f"its file ends early: {self.packets} of {self._stated_frames} frames are in it"
        return f"its file ends early: {self._end_s:.1f} of {self._stated_s:.1f} seconds are in it"
