"""Decoding a film, estimating the light of its frames and dividing them by it, in order."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.backends.limits import usable_processors
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import PhotoError
from rave_runtime.films.opening import FilmInfo, describe_film, import_av, main_video
from rave_runtime.films.plane_format import as_plane
from rave_runtime.films.planes import relight_planes
from rave_runtime.films.shade_colours import MeanColours
from rave_runtime.films.steady import Line, SteadyLight
from rave_runtime.light.reduction import UpsampledLight, fit_line
from rave_runtime.light.workspace import Workspace


@dataclass(frozen=True)
class FilmOptions:
    """How a film is written.

    Attributes:
        encoder: an encoder of FFmpeg, such as "h264_nvenc"; None follows the input's codec.
        quality: 1 to 100; None is like the input's.
        container: FFmpeg's name of the container; None follows the target's name, or is MPEG-TS for a pipe.
        live: whether each frame must leave at once, as for a camera's stream.
        workers: threads that divide frames; 0 is all processors.
        again: whether a film that says that it was enhanced is enhanced once more, and not refused.
    """

    encoder: str | None = None
    quality: int | None = None
    container: str | None = None
    live: bool = False
    workers: int = 0
    again: bool = False


@dataclass
class FilmResult:
    """What became of a film.

    Attributes:
        frames: frames written.
        width_px, height_px: size of a frame, as stored.
        seconds: time it took.
        cuts: cuts at which the light began anew.
        encoder: the encoder that was used.
        enhanced_before: whether it said that it had been enhanced.
        is_unchanged: whether it was copied as it is for that reason.
        warnings: what a user should know.
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


DEFAULT_WORKING_SIZE_PX: Final = 192
"""Long side on which the light is estimated where the enhancer works at full resolution."""


_LUMA_WEIGHTS: Final = {1: (0.2126, 0.7152, 0.0722), 9: (0.2627, 0.6780, 0.0593)}


_LUMA_WEIGHTS_601: Final = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma by the matrix of ITU-T H.273; others are those of BT.601."""


_SWS_MATRICES: Final = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""swscale's number for each matrix of ITU-T H.273."""


_UNSPECIFIED: Final = 2


_HD_HEIGHT_PX: Final = 720
"""Films of this height and more are BT.709 where they do not say, smaller ones BT.601."""


class DividedFilm:
    """Decoding and dividing: yields packets to pass on and frames to encode, in order.

    Args:
        container: the opened film.
        enhancer: estimates the light.
        options: the options of the run.
        result: where frames, cuts and warnings are noted.
    """

    def __init__(self, container: Any, enhancer: Enhancer, options: FilmOptions, result: FilmResult) -> None:
        self.container = container
        self.video = main_video(container)
        self.video.thread_type = "SLICE" if options.live else "AUTO"
        self.info: FilmInfo | None = None
        self.first_frame: Any = None
        self._enhancer = enhancer
        self._workers = options.workers or usable_processors()
        self._result = result
        self._stop = threading.Event()
        self._items: queue.Queue[Any] = queue.Queue(self._workers + 2)
        self._steady: SteadyLight | None = None
        self._own = threading.local()

    def items(self) -> Iterator[Any]:
        """Frames, divided, and packets of the other streams, as the film has them."""
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
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._items.put(item, timeout=0.1)
                return True
        return False

    def _produce(self, pool: ThreadPoolExecutor) -> None:
        try:
            for item in self._decoded():
                ready = pool.submit(self.divide, *item) if isinstance(item, tuple) else item
                if not self._put(ready):
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _decoded(self) -> Iterator[Any]:
        """Packets of other streams, and frames each with its light."""
        av = import_av()
        broken = 0
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets)
                if packet.stream is not self.video:
                    if packet.dts is not None:
                        yield packet
                    continue
                frames = packet.decode()
            except StopIteration:
                break
            except (av.error.InvalidDataError, av.error.PatchWelcomeError):
                broken += 1
                continue
            for frame in frames:
                yield self.light_frame(frame)
        if broken:
            many = "a broken packet was" if broken == 1 else f"{broken} broken packets were"
            self._result.warnings.append(f"{many} left out")
        if self.info is None:
            raise PhotoError("holds no frame that can be decoded")

    def light_frame(self, frame: Any) -> tuple[Any, UpsampledLight]:
        """A decoded frame and its steadied light. Frames must come in order.

        Raises:
            PhotoError: the film is HDR, its pixels cannot be divided, or its frames change their size.
        """
        if self.info is None:
            self.info = describe_film(self.video, frame)
            self.first_frame = frame
            self._steady = SteadyLight(float(self.info.rate))
        assert self._steady is not None
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
        """The steadied light of a frame, as a line over its luma."""
        assert self._steady is not None
        assert self.info is not None
        rgb = _reduced(frame, self._enhancer.working_size_px or DEFAULT_WORKING_SIZE_PX)
        turns = round(self.info.rotation_deg / 90)
        light = np.rot90(self._enhancer.illumination(np.ascontiguousarray(np.rot90(rgb, turns))), -turns)
        guide: Array = (rgb @ np.array(_weights(frame), np.float32) / np.float32(255)).astype(np.float32)
        own = Line(
            fit_line(np.ascontiguousarray(light), guide, max(frame.width, frame.height)),
            float(light.min()),
            float(light.max()),
        )
        line = self._steady.update(own, guide)
        self._result.cuts = self._steady.cuts
        return line

    def divide(self, frame: Any, light: UpsampledLight) -> Any:
        """The frame, divided by its light. Threads may divide several frames at once."""
        assert self.info is not None
        layout = self.info.layout
        if frame.format.name != self.info.pixel_format:
            plain = frame.reformat(format=self.info.pixel_format)
            plain.pts, plain.time_base = frame.pts, frame.time_base
            frame = plain
        frame.make_writable()
        planes = tuple(
            as_plane(plane, plane.height, plane.width, plane.line_size, layout.bits) for plane in frame.planes
        )
        colours = None
        if MeanColours.fits(layout, frame.height, frame.width) and not self._enhancer.look.changes_nothing:
            colours = MeanColours((planes[1], planes[2]), layout)
        if not hasattr(self._own, "workspace"):
            self._own.workspace = Workspace()
        relight_planes(planes, layout, light, self._enhancer.look.knee, colours, self._own.workspace)
        return frame


def _reduced(frame: Any, long_side_px: int) -> NDArray[np.uint8]:
    """A frame as [h', w', 3] uint8 RGB with a given long side."""
    scale = min(1.0, long_side_px / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale)) for side in (frame.width, frame.height))
    matrix = _matrix(frame)
    small = frame.reformat(
        width, height, "rgb24", src_colorspace=_SWS_MATRICES.get(matrix, 5), interpolation="AREA"
    )
    pixels: NDArray[np.uint8] = small.to_ndarray()
    return pixels


def _matrix(frame: Any) -> int:
    """The matrix between RGB and the planes, by its number in ITU-T H.273."""
    matrix = int(frame.colorspace)
    if matrix == _UNSPECIFIED:
        return 1 if frame.height >= _HD_HEIGHT_PX else 6
    return matrix


def _weights(frame: Any) -> tuple[float, float, float]:
    return _LUMA_WEIGHTS.get(_matrix(frame), _LUMA_WEIGHTS_601)
