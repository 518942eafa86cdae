"""One film from file to file, or from pipe to pipe.

A thread decodes and estimates the light, frame by frame, since the light is steadied over time; a pool
divides frames; the calling thread encodes them in order and passes sound, subtitles and everything else on.
Queues are short, so memory does not grow with the film.
"""

from __future__ import annotations

import contextlib
import os
import queue
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.backends.limits import usable_processors
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import PhotoError, RaveError, UsageError, reason_of
from rave_runtime.films.encoding import add_video, choose_encoder, quality_of
from rave_runtime.films.opening import FilmInfo, describe_film, import_av, main_video, open_film
from rave_runtime.films.planes import as_plane, relight_planes
from rave_runtime.films.steady import Line, SteadyLight
from rave_runtime.light.reduction import Array, UpsampledLight, fit_line

DEFAULT_WORKING_SIZE_PX: Final = 192
"""Long side on which the light is estimated where the enhancer works at full resolution."""

_CONTAINERS: Final = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".ts": "mpegts",
    ".mts": "mpegts",
    ".m2ts": "mpegts",
    ".mpg": "mpeg",
    ".mpeg": "mpeg",
}
"""FFmpeg's name of the container for each ending."""

_LUMA_WEIGHTS: Final = {1: (0.2126, 0.7152, 0.0722), 9: (0.2627, 0.6780, 0.0593)}
_LUMA_WEIGHTS_601: Final = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma by the matrix of ITU-T H.273; others are those of BT.601."""

_SWS_MATRICES: Final = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""swscale's number for each matrix of ITU-T H.273."""

_UNSPECIFIED: Final = 2
_HD_HEIGHT_PX: Final = 720
"""Films of this height and more are BT.709 where they do not say, smaller ones BT.601."""


@dataclass(frozen=True)
class FilmOptions:
    """How a film is written.

    Attributes:
        encoder: an encoder of FFmpeg, such as "h264_nvenc"; None follows the input's codec.
        quality: 1 to 100; None is like the input's.
        container: FFmpeg's name of the container; None follows the target's name, or is MPEG-TS for a pipe.
        live: whether each frame must leave at once, as for a camera's stream.
        workers: threads that divide frames; 0 is all processors.
    """

    encoder: str | None = None
    quality: int | None = None
    container: str | None = None
    live: bool = False
    workers: int = 0


@dataclass
class FilmResult:
    """What became of a film.

    Attributes:
        frames: frames written.
        width_px, height_px: size of a frame, as stored.
        seconds: time it took.
        cuts: cuts at which the light began anew.
        encoder: the encoder that was used.
        warnings: what a user should know.
    """

    frames: int = 0
    width_px: int = 0
    height_px: int = 0
    seconds: float = 0.0
    cuts: int = 0
    encoder: str = ""
    warnings: list[str] = field(default_factory=list)


def enhance_film(
    source: Path | IO[bytes], target: Path | IO[bytes], enhancer: Enhancer, options: FilmOptions | None = None
) -> FilmResult:
    """Enhances a film; sound, subtitles, chapters, time stamps, rotation and metadata are kept.

    Args:
        source: a file, or a binary stream that is read as it comes.
        target: a file, which is there whole or not at all, or a binary stream.
        enhancer: estimates the light. Its working size and strength apply.
        options: how the film is written.

    Raises:
        PhotoError: the film cannot be read, is HDR, or cannot be written.
        UsageError: PyAV or an encoder is missing, or the target's name is not that of a film.
    """
    options = options or FilmOptions()
    started = time.perf_counter()
    result = FilmResult()
    container = options.container or _container_of(target)
    av = import_av()
    with open_film(source) as opened:
        run = _Run(opened, enhancer, options, result)
        if isinstance(target, Path):
            with _whole_or_nothing(target) as partial:
                _write(av, run, str(partial), container, options, result)
        else:
            _write(av, run, target, container, options, result)
    result.seconds = time.perf_counter() - started
    return result


class _Run:
    """Decoding and dividing: yields packets to pass on and frames to encode, in order.

    Args:
        container: the opened film.
        enhancer: estimates the light.
        options: of the run.
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
                ready = pool.submit(self._divided, *item) if isinstance(item, tuple) else item
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
                yield self._with_light(frame)
        if broken:
            many = "a broken packet was" if broken == 1 else f"{broken} broken packets were"
            self._result.warnings.append(f"{many} left out")
        if self.info is None:
            raise PhotoError("holds no frame that can be decoded")

    def _with_light(self, frame: Any) -> tuple[Any, UpsampledLight]:
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
        if self._enhancer.strength == 0:
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

    def _divided(self, frame: Any, light: UpsampledLight) -> Any:
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
        relight_planes(planes, layout, light)
        return frame


def _write(av: Any, run: _Run, target: Any, container: str, options: FilmOptions, result: FilmResult) -> None:
    """Encodes frames and passes packets on until the film ends."""
    settings = _container_options(run.container, container)
    try:
        with av.open(target, "w", format=container, options=settings) as output:
            output.metadata.update(run.container.metadata)
            copied: dict[int, Any] = {}
            waiting: list[Any] = []
            video: Any = None
            last_pts = None
            for item in run.items():
                if isinstance(item, av.Packet):
                    if video is None:
                        waiting.append(item)
                    else:
                        _pass_on(output, copied, item)
                    continue
                if video is None:
                    video = _start_video(run, output, container, options, result)
                    copied = _copy_streams(av, run, output, result)
                    with contextlib.suppress(av.FFmpegError, ValueError, NotImplementedError):
                        output.set_chapters(run.container.chapters())
                    for packet in waiting:
                        _pass_on(output, copied, packet)
                    waiting.clear()
                item.pict_type = 0  # the encoder chooses its key frames
                if last_pts is not None and (item.pts is None or item.pts <= last_pts):
                    item.pts = last_pts + 1
                last_pts = item.pts
                output.mux(video.encode(item))
                result.frames += 1
            output.mux(video.encode())
    except (RaveError, MemoryError):
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise PhotoError(f"cannot be written as a film: {reason_of(error)}") from error


def _start_video(run: _Run, output: Any, container: str, options: FilmOptions, result: FilmResult) -> Any:
    assert run.info is not None
    encoder = choose_encoder(run.info, options.encoder)
    if container == "webm" and options.encoder is None and encoder not in ("libvpx-vp9", "libsvtav1"):
        encoder = "libvpx-vp9"
    quality = quality_of(run.info, encoder, options.quality)
    result.encoder = encoder
    result.width_px, result.height_px = run.info.width, run.info.height
    video = add_video(output, run.video, run.first_frame, run.info, encoder, quality, live=options.live)
    if options.workers:
        video.codec_context.thread_count = options.workers
    return video


def _copy_streams(av: Any, run: _Run, output: Any, result: FilmResult) -> dict[int, Any]:
    """Streams of the output for everything but the film itself, by the index of the input's stream."""
    copied = {}
    for stream in run.container.streams:
        if stream is run.video:
            continue
        try:
            twin = output.add_stream_from_template(stream, opaque=True)
            twin.metadata.update(stream.metadata)
            twin.disposition = stream.disposition
        except (av.FFmpegError, ValueError, TypeError, AttributeError, NotImplementedError):
            result.warnings.append(f"its {stream.type} stream {stream.index} has no place there: left out")
            continue
        copied[stream.index] = twin
    return copied


def _pass_on(output: Any, copied: dict[int, Any], packet: Any) -> None:
    twin = copied.get(packet.stream.index)
    if twin is not None:
        packet.stream = twin
        output.mux(packet)


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


def _container_of(target: Path | IO[bytes]) -> str:
    if not isinstance(target, Path):
        return "mpegts"
    container = _CONTAINERS.get(target.suffix.lower())
    if container is None:
        raise UsageError(f"{target.name} is not the name of a film: give one of {', '.join(_CONTAINERS)}")
    return container


def _container_options(source: Any, container: str) -> dict[str, str]:
    """Keeps the keys that phones write, which a plain MP4 has no room for."""
    if container in ("mp4", "mov") and any(key.startswith("com.") for key in source.metadata):
        return {"movflags": "use_metadata_tags"}
    return {}


@contextlib.contextmanager
def _whole_or_nothing(target: Path) -> Iterator[Path]:
    """A temporary file beside a target, which takes its place at the end.

    Raises:
        PhotoError: the folder cannot be made, or the file cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(target.suffix, ".rave-film-", target.parent)
        os.close(descriptor)
    except OSError as error:
        raise PhotoError(f"cannot be written to {target}: {error.strerror or error}") from error
    partial = Path(name)
    try:
        yield partial
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)
        partial.replace(target)
    except OSError as error:
        raise PhotoError(f"cannot be written to {target}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
