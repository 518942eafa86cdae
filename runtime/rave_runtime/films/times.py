"""Watches a film's packets and frames: what of it is missing or damaged, and whether parts were joined."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

_TELLING: Final = ("mov", "matroska", "avi", "flv")
"""Parts of the names that FFmpeg has for containers that state how long they are.

For others it guesses, and ASF counts seconds before the film begins.
"""

_TOLERANCE_S: Final = 0.5
_TOLERANCE: Final = 0.03
_TOLERANCE_FRAMES: Final = 2
"""Seconds, share of the whole, and frames by which a file may state more than it holds."""

_LACKING_START_S: Final = 0.1
"""A beginning without a picture of at least this length is told."""

_MICROSECONDS: Final = 1e6

JOINABLE: Final = ("mpegts", "mpeg")
"""FFmpeg's names of the containers whose parts can be joined byte by byte."""

_STEP_BACK_S: Final = 0.1
"""A stream whose decoding times go back by more than this is in the next part."""


def shift(packet: Any, seconds: Fraction) -> None:
    """Moves a packet's time stamps, where it has some."""
    if not seconds or not packet.time_base:
        return
    ticks = round(seconds / packet.time_base)
    if packet.pts is not None:
        packet.pts += ticks
    if packet.dts is not None:
        packet.dts += ticks


class EndWatch:
    """Compares what a film's file states with what was read of it, which is less after a broken download.

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
        if not packet.size and packet.dts is None:
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


class FrameWatch:
    """Notices what of a film's video cannot be decoded, or in part only.

    A recording that was cut in the middle, or of which packets were lost on the way, begins with frames that
    cannot be decoded, up to its first key frame. FFmpeg leaves them out without a word, and fills the damaged
    parts of later frames with what it has.
    """

    def __init__(self) -> None:
        self._start_s: float | None = None
        self._first_frame_s: float | None = None
        self._has_frame = False
        self._damaged = 0

    def see_packet(self, packet: Any) -> None:
        """Takes note of a packet of the video; those that an edit list leaves out do not count."""
        if self._has_frame or not packet.size or packet.is_discard or packet.pts is None:
            return
        at_s = float(packet.pts * packet.time_base)
        self._start_s = at_s if self._start_s is None else min(self._start_s, at_s)

    def see_frame(self, frame: Any) -> None:
        """Takes note of a frame that was decoded."""
        if not self._has_frame:
            self._has_frame, self._first_frame_s = True, frame.time
        self._damaged += frame.is_corrupt

    def notes(self) -> Iterator[str]:
        """Yields a note on the beginning and one on the frames, where something is wrong with them."""
        if self._start_s is not None and self._first_frame_s is not None:
            lacking_s = self._first_frame_s - self._start_s
            if lacking_s >= _LACKING_START_S:
                yield f"its first {lacking_s:.1f} seconds were left out: the key frame before them is missing"
        if self._damaged:
            many = "a frame of it is" if self._damaged == 1 else f"{self._damaged} of its frames are"
            yield f"{many} damaged, also in the result"


class JoinedTimes:
    """Moves the time stamps of recordings that were joined end to end, as cameras and `cat` join them.

    In MPEG streams such as those of camcorders and DVDs each part may begin at a time of its own, earlier
    than the end of the part before it. Written like that, the frames of the later parts would all be shown
    at once. So each part is made to begin where the part before it ends.

    All streams of a part are moved by the same time, so that sound stays with its picture.

    Args:
        container: the opened film.
    """

    def __init__(self, container: Any) -> None:
        self._may_be_joined = container.format.name in JOINABLE
        self._shifts_s = [Fraction(0)]
        self._parts: dict[int, int] = {}
        self._stated: dict[int, Fraction] = {}
        self._written: dict[int, int] = {}
        self._end_s = Fraction(0)

    def mend(self, packet: Any) -> None:
        """Moves a packet's time stamps. Packets must come in the file's order."""
        if not self._may_be_joined or packet.dts is None or not packet.time_base:
            return
        index, newest = packet.stream.index, len(self._shifts_s) - 1
        at_s = packet.dts * packet.time_base
        part = self._parts.setdefault(index, newest)
        if at_s < self._stated.get(index, at_s) - Fraction(_STEP_BACK_S):
            if part == newest and packet.stream.type in ("video", "audio"):
                self._shifts_s.append(self._end_s - at_s)
            self._parts[index] = part = len(self._shifts_s) - 1
        self._stated[index] = at_s
        if part:
            self._shift(packet, round(self._shifts_s[part] / packet.time_base))
        self._written[index] = packet.dts
        last = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
        self._end_s = max(self._end_s, (last + (packet.duration or 0)) * packet.time_base)

    def note(self) -> str | None:
        """Returns a note where a film is of several parts, after all packets were seen; otherwise None."""
        many = len(self._shifts_s)
        return (
            f"its {many} parts, each with times of its own, were put one after the other"
            if many > 1
            else None
        )

    def _shift(self, packet: Any, ticks: int) -> None:
        """Moves a packet, and further where its stream's part before is longer than that of the others."""
        least = self._written.get(packet.stream.index, packet.dts + ticks - 1) + 1
        packet.dts = max(packet.dts + ticks, least)
        if packet.pts is not None:
            packet.pts = max(packet.pts + ticks, packet.dts)
