"""How an enhanced film is encoded: like the input, as far as there is an encoder."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Final

from rave_runtime.errors import UsageError
from rave_runtime.films.opening import FilmInfo, import_av

_ENCODERS: Final = {
    "h264": "libx264",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "libdav1d": "libsvtav1",
    "vp9": "libvpx-vp9",
    "libvpx-vp9": "libvpx-vp9",
    "vp8": "libvpx-vp9",
}
"""The encoder for each codec of an input; others become H.264."""

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
"""The option by which each encoder, or each family of hardware encoders, takes its constant quality."""

_TYPICAL_BITS_PER_PIXEL: Final = {"libx264": 0.07, "libx265": 0.045, "libsvtav1": 0.035, "libvpx-vp9": 0.045}
_TYPICAL_QUALITY: Final = {"libx264": 21, "libx265": 24, "libsvtav1": 30, "libvpx-vp9": 31}
_BEST_QUALITY: Final = 14
_WORST_QUALITY: Final = 36

_INTERLACED_FLAGS: Final = (1 << 18) | (1 << 29)
"""Interlaced transforms and motion, of FFmpeg's codec flags."""


def choose_encoder(info: FilmInfo, encoder: str | None) -> str:
    """The encoder to use.

    Args:
        info: the input.
        encoder: an encoder of FFmpeg by name, such as "h264_nvenc"; None follows the input's codec.

    Raises:
        UsageError: FFmpeg has no such encoder here.
    """
    av = import_av()
    name = encoder or _ENCODERS.get(info.codec, "libx264")
    if name not in av.codecs_available:
        if encoder is None and "libx264" in av.codecs_available:
            return "libx264"
        raise UsageError(
            f"this FFmpeg has no encoder {name}: leave out --film-encoder, or install an FFmpeg that has it"
        )
    return name


def quality_of(info: FilmInfo, encoder: str, quality: int | None) -> int:
    """The constant-quality number for an encoder, on its scale, where smaller is better.

    Without a wish it follows the input: six steps of an H.264 quantiser halve the bits, so an input with
    twice the usual bits per pixel gets six steps better.

    Args:
        info: the input.
        encoder: what `choose_encoder` returns.
        quality: 1 to 100 as for photographs, or None.
    """
    typical = _TYPICAL_QUALITY.get(encoder, 23)
    if quality is not None:
        return round(_WORST_QUALITY + (_BEST_QUALITY - _WORST_QUALITY) * quality / 100)
    if info.bits_per_pixel is None:
        return typical
    usual = _TYPICAL_BITS_PER_PIXEL.get(encoder, 0.07)
    steps = 6 * math.log2(max(info.bits_per_pixel, 1e-4) / usual)
    return int(min(_WORST_QUALITY, max(_BEST_QUALITY, round(typical - steps))))


def add_video(
    output: Any, source: Any, frame: Any, info: FilmInfo, encoder: str, quality: int, *, live: bool
) -> Any:
    """The output's video stream, set up like the input's.

    Args:
        output: the container to write.
        source: the input's video stream.
        frame: its first frame.
        info: the input.
        encoder: what `choose_encoder` returns.
        quality: what `quality_of` returns.
        live: whether frames must leave at once, at the cost of some compression.
    """
    av = import_av()
    options = {_quality_option(encoder): str(quality)} if _quality_option(encoder) else {}
    if encoder in ("libx264", "libx265"):
        options["preset"] = "veryfast"
        if live:
            options["tune"] = "zerolatency"
        if encoder == "libx265":
            options["x265-params"] = "log-level=error"
    elif encoder == "libsvtav1":
        options["preset"] = "10"
    elif encoder == "libvpx-vp9":
        options |= {"b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
    stream = output.add_stream(encoder, rate=info.rate, options=options)
    context = stream.codec_context
    context.width, context.height = info.width, info.height
    context.pix_fmt = _supported_format(av, encoder, info.pixel_format)
    context.time_base = source.time_base or Fraction(1, 90000)
    context.color_range = int(frame.color_range)
    context.colorspace = int(frame.colorspace)
    context.color_trc = int(frame.color_trc)
    context.color_primaries = int(frame.color_primaries)
    if source.sample_aspect_ratio:
        context.sample_aspect_ratio = source.sample_aspect_ratio
    if info.is_interlaced and encoder == "libx264":
        context.flags |= _INTERLACED_FLAGS
    if info.codec == "hevc" and encoder == "libx265" and output.format.name in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # without it Apple's players show nothing
    stream.metadata.update(source.metadata)
    if info.rotation_deg:
        stream.set_display_rotation(info.rotation_deg)
    return stream


def _quality_option(encoder: str) -> str | None:
    if encoder in _QUALITY_OPTIONS:
        return _QUALITY_OPTIONS[encoder]
    return _QUALITY_OPTIONS.get(encoder.rpartition("_")[2])


def _supported_format(av: Any, encoder: str, pixel_format: str) -> str:
    """The input's pixel format where the encoder takes it, or the nearest that it takes."""
    formats = av.codec.Codec(encoder, "w").video_formats
    names = [item.name for item in formats or ()]
    if not names or pixel_format in names:
        return pixel_format
    full = pixel_format.replace("yuvj", "yuv")
    depth = full.partition("p")[2]
    for candidate in (full, f"yuv420p{depth}", "p010le" if depth else "nv12", "yuv420p", "nv12"):
        if candidate in names:
            return candidate
    first: str = names[0]
    return first
