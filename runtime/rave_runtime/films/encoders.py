"""Finds out which of FFmpeg's encoders work on this machine, and their options."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rave_runtime.errors import UsageError
from rave_runtime.films.opening import import_av

_QUALITY_OPTIONS: Final = {
    "libx264": "crf",
    "libx265": "crf",
    "libsvtav1": "crf",
    "libvpx-vp9": "crf",
    "nvenc": "cq",
    "qsv": "global_quality",
    "vaapi": "qp",
    "videotoolbox": "q",
    "amf": "qp_p",
}
"""The name of the option for constant quality, by encoder or by family of hardware encoders."""

_OFFERED: Final = (
    *("libx264", "libx265", "libsvtav1", "libvpx-vp9"),
    *(
        f"{codec}_{family}"
        for family in ("nvenc", "qsv", "amf", "videotoolbox", "mf", "v4l2m2m")
        for codec in ("h264", "hevc", "av1")
    ),
)
"""Encoders that are tried when a message names those that work."""

_LEAST_THREADS: Final = {"libx265": 4, "libsvtav1": 40}
"""Threads without which an encoder waits for ever, or says that there is no memory. Others need none."""

_TRIAL_PX: Final = 256
"""Side of the frame for which an encoder is tried: some hardware refuses smaller ones."""

_TRIAL_QUALITY: Final = 24
"""The constant quality for which an encoder is tried, on the encoder's scale."""


def require_encoder(name: str, *, is_used_here: bool = True) -> str:
    """Returns an encoder's full name, such as "libx264" for "h264".

    Args:
        name: an encoder of FFmpeg.
        is_used_here: whether it must start on this machine, not only be part of the installed FFmpeg.

    Raises:
        UsageError: it is not an encoder for films, or does not start here; the message names those that do.
    """
    av = import_av()
    try:
        codec = av.codec.Codec(name, "w")
    except (av.FFmpegError, ValueError):
        codec = None
    if codec is None or codec.type != "video":
        problem = "is not an encoder for films that this FFmpeg has"
    elif is_used_here and not _opens(codec.name):
        problem = "does not start on this machine, which may lack its hardware or driver"
    else:
        full_name: str = codec.name
        return full_name
    usable = [each for each in _OFFERED if each in av.codecs_available and _opens(each)]
    raise UsageError(
        f"--film-encoder {name} {problem}: give one of {', '.join(usable)}, or leave the option out"
    )


def encoder_options(encoder: str, quality: int, *, live: bool, alone: bool = False) -> dict[str, str]:
    """Returns FFmpeg's options for an encoder.

    Args:
        encoder: an encoder of FFmpeg.
        quality: constant quality on the encoder's scale.
        live: whether frames must be written without delay, at the cost of some compression.
        alone: whether the encoder starts as few threads as it can.
    """
    name = _QUALITY_OPTIONS.get(encoder) or _QUALITY_OPTIONS.get(encoder.rpartition("_")[2])
    options = {name: str(quality)} if name else {}
    if encoder in ("libx264", "libx265"):
        options["preset"] = "veryfast"
        if live:
            options["tune"] = "zerolatency"
        if encoder == "libx265":
            options["x265-params"] = "log-level=error" + ":pools=none:frame-threads=1" * alone
    elif encoder == "libsvtav1":
        options["preset"] = "10"
        if alone:
            options["svtav1-params"] = "lp=1"
    elif encoder == "libvpx-vp9":
        options |= {"b": "0", "deadline": "realtime", "cpu-used": "6"}
        options["row-mt"] = "0" if alone else "1"
    return options


def least_threads(encoder: str) -> int:
    """Returns the least number of threads that an encoder needs beside the calling one."""
    return _LEAST_THREADS.get(encoder, 0)


def supported_format(encoder: str, pixel_format: str, *, is_odd: bool = False) -> str:
    """Returns the pixel format if the encoder takes it, otherwise the nearest that it takes.

    Args:
        encoder: an encoder of FFmpeg.
        pixel_format: the format of the film's frames.
        is_odd: whether their width or height is odd: x264 and x265 then take only colour that is not reduced.
    """
    if is_odd and encoder in ("libx264", "libx265"):
        pixel_format = pixel_format.replace("420p", "444p").replace("422p", "444p")
    formats = import_av().codec.Codec(encoder, "w").video_formats
    names = [item.name for item in formats or ()]
    if not names or pixel_format in names:
        return pixel_format
    full = pixel_format.replace("yuvj", "yuv")
    tens = full.replace("12le", "10le").replace("16le", "10le")  # x264 and SVT-AV1 take no more than 10 bits
    depth, depth_of_tens = (name.partition("p")[2] for name in (full, tens))
    reduced = f"yuv420p{depth}", f"yuv420p{depth_of_tens}"
    for candidate in (full, tens, *reduced, "p010le" if depth else "nv12", "yuv420p", "nv12"):
        if candidate in names:
            return candidate
    first: str = names[0]
    return first


def _opens(encoder: str) -> bool:
    """Whether an encoder starts on this machine, which is tried for small frames.

    Software encoders, whose names begin with lib, work on every machine and are not tried.
    """
    if encoder.startswith("lib"):
        return True
    av = import_av()
    try:
        context: Any = av.codec.CodecContext.create(encoder, "w")
        context.width = context.height = _TRIAL_PX
        context.pix_fmt = supported_format(encoder, "yuv420p")
        context.framerate = 25
        context.options = encoder_options(encoder, _TRIAL_QUALITY, live=False)
        context.open()
    except (av.FFmpegError, OSError, ValueError, NotImplementedError):
        return False
    return True


@contextlib.contextmanager
def usual_scheduling() -> Iterator[None]:
    """Takes back the priority that SVT-AV1, started by root, gives its threads and the one that starts it.

    They would go before all other threads of the machine (SCHED_FIFO, 99) for as long as they live. A thread
    that waits actively, as those of OpenVINO do, then keeps the one that it waits for from running, for ever.
    """
    threads = Path("/proc/self/task")
    if not threads.is_dir():
        yield
        return
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in threads.iterdir():
            with contextlib.suppress(OSError):  # a thread that has ended
                if os.sched_getscheduler(int(thread.name)) == os.SCHED_FIFO != policy:
                    os.sched_setscheduler(int(thread.name), policy, parameter)
