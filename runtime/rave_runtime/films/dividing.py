"""Decodes a film, estimates the light of its frames, and divides the frames by it, in order."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

import numpy as np

from rave_runtime.backends.limits import usable_processors
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import PhotoError
from rave_runtime.films.hdr import HdrCurve, curve_of, seen_frame, state_hdr
from rave_runtime.films.opening import FilmInfo, describe_film, import_av, is_cover, main_video, require_clear
from rave_runtime.films.plane_format import as_plane, without_rgb
from rave_runtime.films.planes import relight_planes
from rave_runtime.films.shade_colours import MeanColours
from rave_runtime.films.steady import Line, SteadyLight
from rave_runtime.films.times import JOINABLE, EndWatch, FrameWatch, JoinedTimes, shift
from rave_runtime.light.reduction import UpsampledLight, fit_line
from rave_runtime.light.workspace import Workspace
from rave_runtime.photos.photo import DEFAULT_MAX_MEGAPIXELS


@dataclass(frozen=True)
class FilmOptions:
    """How a film is written.

    Attributes:
        encoder: an encoder of FFmpeg, such as "h264_nvenc"; None follows the input's codec.
        quality: 1 to 100; None is about the input's quality.
        live: whether each frame must be written without delay, as for a camera's stream.
        again: whether a film with the mark of an earlier enhancement is enhanced once more, not refused.
        alone: whether everything is done in the calling thread, where the system allows no others.
        max_megapixels: films with larger frames are refused.
    """

    encoder: str | None = None
    quality: int | None = None
    live: bool = False
    again: bool = False
    alone: bool = False
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS


@dataclass
class FilmResult:
    """The result of enhancing a film.

    Attributes:
        frames: how many frames were written.
        width_px, height_px: size of a frame, as stored.
        seconds: the time it took.
        cuts: how many cuts were found, at which the light is not steadied.
        encoder: the encoder that was used.
        enhanced_before: whether the film has the mark of an earlier enhancement.
        is_unchanged: whether it was copied as it is for that reason.
        warnings: notes for the user.
    """

    frames: int = 0
    width_px: int = 0
    height_px: int = 0
    seconds: float = 0.0
    cuts: int = 0
    encoder: str = ""
    enhanced_before: bool = False
    is_unchanged: bool = False
    warnings: list[str] = field(default_factory=list)


DEFAULT_WORKING_SIZE_PX: Final = 144
"""Long side on which the light is estimated where the enhancer works at full resolution."""

_AT_THE_END: Final = (
    "has its table of contents at its end, so it cannot be read from a pipe: give the file itself as INPUT, "
    "or put the table first (ffmpeg -i film.mp4 -c copy -movflags faststart new.mp4)"
)


class DividedFilm:
    """Decodes and divides a film: `items` yields packets to pass on and frames to encode, in order.

    Attributes:
        container: the opened film.
        video: its video stream.
        info: facts about its frames; None until the first is decoded.
        first_frame: the first decoded frame.
        stays_until: up to when the last frame is shown by empty packets, in the stream's time base; or None.

    Args:
        container: the opened film.
        enhancer: estimates the light.
        options: the options of the run.
        result: where cuts and warnings are added.
        late_start_us: microseconds by which all time stamps become smaller.

    Raises:
        PhotoError: the frames have more pixels than the options allow, or are coded in an unknown way.
    """

    def __init__(
        self,
        container: Any,
        enhancer: Enhancer,
        options: FilmOptions,
        result: FilmResult,
        late_start_us: int = 0,
    ) -> None:
        self.container = container
        self._late_start_s = Fraction(late_start_us, 1_000_000)
        self.video = main_video(container)
        megapixels = self.video.width * self.video.height / 1e6
        if megapixels > options.max_megapixels:
            raise PhotoError(
                f"has frames of {megapixels:.3g} megapixels, more than the limit of "
                f"{options.max_megapixels:g}: raise it with --max-megapixels if the file can be trusted"
            )
        self._stated_transfer = int(self.video.codec_context.color_trc)  # decoding forgets it
        self.video.thread_type = "SLICE" if options.live else "AUTO"
        if options.alone:
            self.video.thread_type = "NONE"
            self.video.codec_context.thread_count = 1
        self._alone = options.alone
        self._is_piped = options.live
        self._conversion = {"threads": 1} if options.alone else {}
        self.info: FilmInfo | None = None
        self.first_frame: Any = None
        self.stays_until: int | None = None
        self._enhancer = enhancer
        self._workers = usable_processors()
        self._result = result
        self._stop = threading.Event()
        self._items: queue.Queue[Any] = queue.Queue(self._workers + 2)
        self._steady: SteadyLight | None = None
        self._curve: HdrCurve | None = None
        self._time_s: float | None = None
        self._thread_local = threading.local()

    def items(self) -> Iterator[Any]:
        """Yields divided frames, and packets of the other streams unchanged, in the film's order."""
        if self._alone:
            yield from (self.divide(*item) if isinstance(item, tuple) else item for item in self._decoded())
            return
        with ThreadPoolExecutor(self._workers, "rave-film") as pool:
            producer = threading.Thread(target=self._produce, args=(pool,), name="rave-film-decode")
            producer.start()
            try:
                while True:
                    item = self._items.get()
                    if item is None:
                        return
                    if isinstance(item, BaseException):
                        raise item
                    yield item.result() if isinstance(item, Future) else item
            finally:
                self._stop.set()
                with contextlib.suppress(queue.Empty):
                    while True:
                        self._items.get_nowait()
                producer.join()

    def _put(self, item: Any) -> bool:
        """Puts an item into the queue; returns False if the film is not read any more."""
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=0.1)
                return True
        return False

    def _produce(self, pool: ThreadPoolExecutor) -> None:
        """Decodes the film, has the pool divide its frames, and queues them; then None, or the error."""
        try:
            for item in self._decoded():
                entry = pool.submit(self.divide, *item) if isinstance(item, tuple) else item
                if not self._put(entry):
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _decoded(self) -> Iterator[Any]:
        """Yields packets of the other streams, and pairs of a frame and its light."""
        av = import_av()
        broken = 0
        # AVI holds no times of display, and those that FFmpeg guesses for reordered frames are in disorder.
        is_avi = self.container.format.name == "avi"
        avi_times: deque[int] = deque()
        watch, frame_watch = EndWatch(self.container, self.video), FrameWatch()
        joined = JoinedTimes(self.container)
        packets = self.container.demux()
        # The decoder's error at a packet whose end is missing would lose the frames that it still holds. The
        # demuxers of MPEG streams call packets corrupt of which most can be decoded.
        may_end_inside_a_packet = self.container.format.name not in JOINABLE
        while True:
            try:
                packet = next(packets)
                if packet.is_corrupt and may_end_inside_a_packet:
                    continue
                watch.see(packet)
                joined.mend(packet)
                shift(packet, -self._late_start_s)
                if packet.stream is not self.video:
                    # Matroska has no decoding times for a stream's first packets; a cover has none at all.
                    is_timed = packet.dts is not None or packet.pts is not None
                    if is_timed or (packet.size and is_cover(packet.stream)):
                        yield packet
                    continue
                if not packet.size and packet.dts is not None:
                    # So Theora and some cameras say that the picture stays; decoders refuse an empty packet.
                    self.stays_until = packet.dts + (packet.duration or 0)
                    continue
                require_clear(packet)
                frame_watch.see_packet(packet)
                if is_avi and packet.size:
                    avi_times.append(packet.dts)
                frames = packet.decode()
            except StopIteration:
                break
            except (av.error.InvalidDataError, av.error.PatchWelcomeError):
                broken += 1
                if avi_times:
                    avi_times.pop()
                continue
            for frame in frames:
                frame_watch.see_frame(frame)
                if avi_times:
                    frame.pts = avi_times.popleft()
                yield self.light_frame(without_rgb(frame, self._conversion))
        if broken:
            many = "a broken packet was" if broken == 1 else f"{broken} broken packets were"
            self._result.warnings.append(f"{many} left out")
        self._result.warnings += [
            note for note in (watch.note(), joined.note(), *frame_watch.notes()) if note
        ]
        if self.info is None:
            is_unread = self._is_piped and not watch.packets and "mov" in self.container.format.name
            raise PhotoError(_AT_THE_END if is_unread else "holds no frame that can be decoded")

    def light_frame(self, frame: Any) -> tuple[Any, UpsampledLight]:
        """Returns a decoded frame and its steadied light. Frames must come in order.

        Raises:
            PhotoError: its pixels cannot be divided, or its frames change their size.
        """
        if self.info is None:
            self.info = describe_film(self.video, frame, self._stated_transfer)
            self.first_frame = frame
            self._steady = SteadyLight(float(self.info.rate))
            self._result.warnings += self.info.hdr.notes if self.info.hdr else ()
        assert self._steady is not None
        if (hdr := self.info.hdr) is not None:
            state_hdr(frame, hdr)
            self._curve = self._curve or curve_of(frame, hdr, self.info.layout)
        if (frame.width, frame.height) != (self.info.width, self.info.height):
            raise PhotoError(
                f"changes its size in the middle, from {self.info.width} x {self.info.height} to "
                f"{frame.width} x {frame.height}: cut it there"
            )
        if self._enhancer.look.changes_nothing:
            line = Line(np.stack([np.zeros((2, 2)), np.ones((2, 2))]).astype(np.float32), 1.0, 1.0)
        else:
            line = self._light_of(frame)
        return frame, UpsampledLight(line.coefficients, line.low, line.high, frame.height, frame.width)

    def _light_of(self, frame: Any) -> Line:
        """Estimates the light of a frame and steadies it; returns it as a linear function of luma."""
        assert self._steady is not None
        assert self.info is not None
        long_side_px = self._enhancer.working_size_px or DEFAULT_WORKING_SIZE_PX
        rgb, guide = seen_frame(frame, long_side_px, self._conversion, self._curve)
        turns = round(self.info.rotation_deg / 90)
        step = -1 if self.info.is_mirrored else 1
        shown = np.ascontiguousarray(np.rot90(rgb, turns)[::step])
        light = np.rot90(self._enhancer.illumination(shown)[::step], -turns)
        frame_line = Line(
            fit_line(np.ascontiguousarray(light), guide, max(frame.width, frame.height)),
            float(light.min()),
            float(light.max()),
        )
        earlier_s, self._time_s = self._time_s, frame.time
        step_s = None if earlier_s is None or frame.time is None else frame.time - earlier_s
        line = self._steady.update(frame_line, guide, step_s)
        self._result.cuts = self._steady.cuts
        return line

    def divide(self, frame: Any, light: UpsampledLight) -> Any:
        """Returns the frame divided by its light. Several threads may divide frames at once."""
        assert self.info is not None
        layout = self.info.layout
        if frame.format.name != self.info.pixel_format:
            planar = frame.reformat(format=self.info.pixel_format, **self._conversion)
            planar.pts, planar.time_base = frame.pts, frame.time_base
            frame = planar
        frame.make_writable()
        planes = tuple(
            as_plane(plane, plane.height, plane.width, plane.line_size, layout.bits) for plane in frame.planes
        )
        colours = None
        if MeanColours.fits(layout, frame.height, frame.width) and not self._enhancer.look.changes_nothing:
            colours = MeanColours((planes[1], planes[2]), layout)
        if not hasattr(self._thread_local, "workspace"):
            self._thread_local.workspace = Workspace()
        knee, space = self._enhancer.look.knee, self._thread_local.workspace
        relight_planes(planes, layout, light, knee, colours, space, self._curve)
        return frame
