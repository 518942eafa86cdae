"""Enhances one film from file to file, or from pipe to pipe.

One thread decodes and estimates the light, frame by frame, since the light is steadied over time. A pool of
threads divides frames. The calling thread encodes them in order, and passes on sound, subtitles and
everything else. Queues are short, so memory does not grow with the film's length.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final

from rave_runtime.backends.limits import startable_threads, usable_processors
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import PhotoError, RaveError
from rave_runtime.files.atomic import partial_file
from rave_runtime.films.containers import container_of, container_options, late_start_us
from rave_runtime.films.dividing import DividedFilm, FilmOptions, FilmResult
from rave_runtime.films.encoders import least_threads, usual_scheduling
from rave_runtime.films.encoding import (
    FREE_ENCODERS,
    TimedEncoder,
    add_video,
    choose_encoder,
    encoder_for_container,
    quality_of,
)
from rave_runtime.films.marking import can_hold_mark, mark_film, mark_of_film
from rave_runtime.films.opening import import_av, open_film, plain_reason
from rave_runtime.films.outlet import Outlet
from rave_runtime.films.streams import CopiedStream, copy_chapters, copy_streams, pass_on
from rave_runtime.photos.metadata.mark import Mark
from rave_runtime.run.one_photo import mark_of

_NO_MARK_NOTE: Final = (
    "its result does not say that it was enhanced, since files of that kind have no place for a comment: do "
    "not give the result to rave-run once more"
)

_ODD_NOTE: Final = (
    "its width or height is odd, which H.264 and HEVC hold only with colour at full resolution (4:4:4), and "
    "some players do not show that: --film-encoder libvpx-vp9 keeps its colour as it is"
)

_LESS_NOTE: Final = (
    "its pixels ({own}) became {written}, the nearest that {encoder} takes: another --film-encoder may keep "
    "more"
)

_SHAPE_NOTE: Final = (
    "its pixels are not square ({shape}), which AV1 and VP9 lose in MKV and WebM, so that players show it "
    "too wide or too narrow: give an OUTPUT that ends in .mp4"
)

_THREADS: Final = 48
_THREADS_PER_PROCESSOR: Final = 12
"""Threads that decoding, dividing and encoding start together, at most: on two processors 20 were counted
with H.264 and 53 with AV1."""

_TOO_FEW_THREADS: Final = (
    "needs more threads than the system allows: raise the limit (ulimit -u, or the container's), or give "
    "--film-encoder libx264, which needs the fewest"
)


def enhance_film(
    source: Path | IO[bytes],
    target: Path | IO[bytes],
    enhancer: Enhancer,
    options: FilmOptions | None = None,
    *,
    attributes_of: Path | None = None,
    before_replacing: Callable[[Path], None] = lambda _: None,
) -> FilmResult:
    """Enhances a film; sound, subtitles, chapters, time stamps, rotation and metadata are kept.

    Args:
        source: a file, or a binary stream that is read as it comes.
        target: a file, which appears only when it is complete, or a binary stream.
        enhancer: estimates the light. Its working size, strength and highlights apply.
        options: how the film is written.
        attributes_of: a file whose times and extended attributes are given to the target, if that is a file.
        before_replacing: called with the complete new file just before that takes the target's place.

    Returns:
        Size, number of frames, encoder and notes of the new film.

    Raises:
        PhotoError: the film cannot be read, was enhanced before, or cannot be written.
        UsageError: PyAV or an encoder is missing, or the target's name is not that of a film.
        OSError: the target is a stream that is full, or was closed by its reader.
    """
    options = options or FilmOptions()
    if not _has_threads():
        options = replace(options, alone=True)
    started = time.perf_counter()
    result = FilmResult()
    container = container_of(target)
    mark = None if enhancer.look.changes_nothing else mark_of(enhancer)
    av = import_av()
    with open_film(source) as film:
        earlier_mark = mark_of_film(film)
        if earlier_mark is not None and not options.again:
            raise PhotoError(f"was enhanced before, by {earlier_mark}: --again enhances it once more")
        result.enhanced_before = earlier_mark is not None
        result.warnings += [] if earlier_mark is None else [earlier_mark.note(again=True)]
        divided = DividedFilm(film, enhancer, options, result, late_start_us(film, container))
        if isinstance(target, Path):
            like = source if isinstance(source, Path) else None
            with partial_file(target, like, attributes_of) as (descriptor, partial):
                # Opened by its name, it could be a link that somebody put there meanwhile.
                with open(descriptor, "wb", closefd=False) as stream:
                    try:
                        _write(av, divided, stream, container, options, result, mark)
                    except OSError as error:
                        raise PhotoError(f"cannot be written as a film: {plain_reason(error)}") from error
                before_replacing(partial)
            if mark is not None and not can_hold_mark(container):
                result.warnings.append(_NO_MARK_NOTE)
        else:
            _write(av, divided, target, container, options, result, mark)
    result.seconds = time.perf_counter() - started
    return result


def _has_threads() -> bool:
    """Tells whether the system allows as many threads as a film may take."""
    count = _THREADS + _THREADS_PER_PROCESSOR * usable_processors()
    return startable_threads(count) == count


def _write(
    av: Any,
    run: DividedFilm,
    target: Any,
    container: str,
    options: FilmOptions,
    result: FilmResult,
    mark: Mark | None,
) -> None:
    """Encodes frames and passes packets on until the film ends; what became of it is added to the result.

    Raises:
        PhotoError: the film cannot be read or encoded.
        OSError: the stream is full, or was closed by its reader.
    """
    settings = container_options(run.container, container)
    outlet = Outlet(target)
    try:
        with av.open(outlet, "w", format=container, options=settings) as output:
            output.metadata.update(run.container.metadata)
            if mark is not None and can_hold_mark(container):
                mark_film(output.metadata, mark)
            streams: dict[int, CopiedStream] = {}
            early_packets: list[Any] = []
            video: TimedEncoder | None = None
            for item in run.items():
                outlet.check()
                if isinstance(item, av.Packet):
                    if video is None:
                        early_packets.append(item)
                    else:
                        pass_on(output, streams, item)
                    continue
                if video is None:
                    video = _start_video(run, output, container, options, result)
                    streams, notes = copy_streams(run.container, run.video, output, early_packets)
                    result.warnings += notes
                    result.warnings += copy_chapters(run.container, output)
                    for packet in early_packets:
                        pass_on(output, streams, packet)
                    early_packets.clear()
                output.mux(video.encode(item))
                result.frames += 1
            if video is not None:
                output.mux(video.finish(run.stays_until))
        outlet.check()
    except RaveError:
        raise
    except MemoryError as error:
        raise PhotoError("does not fit into memory") from error
    except (av.FFmpegError, OSError, ValueError) as error:  # some of FFmpeg's are RuntimeErrors, too
        if error is outlet.error:
            raise
        if isinstance(error, OSError) and error.errno == errno.EAGAIN:
            raise PhotoError(_TOO_FEW_THREADS) from error
        raise PhotoError(f"cannot be written as a film: {plain_reason(error)}") from error
    except RuntimeError as error:
        if "new thread" in str(error):  # as Python says where another program took the last ones meanwhile
            raise PhotoError(_TOO_FEW_THREADS) from error
        raise


def _start_video(
    run: DividedFilm, output: Any, container: str, options: FilmOptions, result: FilmResult
) -> TimedEncoder:
    """Chooses encoder and quality, adds the video stream to the output, and returns what encodes into it."""
    assert run.info is not None
    encoder = encoder_for_container(choose_encoder(run.info, options.encoder), container, options.encoder)
    quality = quality_of(run.info, encoder, options.quality)
    result.encoder = encoder
    result.width_px, result.height_px = run.info.width, run.info.height
    if options.alone and startable_threads(count := least_threads(encoder)) < count:
        raise PhotoError(_TOO_FEW_THREADS)
    start = {"live": options.live, "alone": options.alone}
    video = add_video(output, run.video, run.first_frame, run.info, encoder, quality, **start)
    result.warnings += _notes_on_pixels(run, video.codec_context.pix_fmt, encoder, container)
    if options.alone:
        video.codec_context.thread_count = 1
    with usual_scheduling():
        video.codec_context.open(strict=False)
    return TimedEncoder(video, run.video)


def _notes_on_pixels(run: DividedFilm, written: str, encoder: str, container: str) -> Iterator[str]:
    """Yields notes about what an encoder, its pixel format and a container do not keep of a film's pixels."""
    assert run.info is not None
    own, layout = run.info.pixel_format, run.info.layout
    has_full_colour = any(kind in written for kind in ("422", "444"))
    if "444" in written and "444" not in own:
        yield _ODD_NOTE
    elif (layout.bits > 8 and not written.endswith(("10le", "12le"))) or (
        layout.has_chroma and layout.down == 1 and not has_full_colour
    ):
        yield _LESS_NOTE.format(own=own, written=written, encoder=encoder)
    shape = run.video.sample_aspect_ratio
    # PyAV cannot tell these containers the shape, and these codecs do not hold it.
    if shape and abs(shape - 1) > 0.01 and container in ("matroska", "webm") and encoder in FREE_ENCODERS:
        yield _SHAPE_NOTE.format(shape=f"{shape.numerator}:{shape.denominator}")
