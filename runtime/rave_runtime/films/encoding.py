"""Chooses how an enhanced film is encoded: like the input, as far as there is an encoder."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from typing import Any, Final

from rave_runtime.errors import UsageError
from rave_runtime.films.encoders import encoder_options, require_encoder, supported_format
from rave_runtime.films.hdr import encoder_metadata
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
"""The encoder for each codec of an input; other codecs become H.264."""

_TYPICAL_BITS_PER_PIXEL: Final = {"libx264": 0.07, "libx265": 0.045, "libsvtav1": 0.035, "libvpx-vp9": 0.045}
_TYPICAL_QUALITY: Final = {"libx264": 21, "libx265": 24, "libsvtav1": 30, "libvpx-vp9": 31}
"""The constant quality that each encoder gets for an input with the typical bits per pixel and frame."""

_BEST_QUALITY: Final = 14
_WORST_QUALITY: Final = 36
"""Limits of the constant quality, for 100 and 0 of `--quality`."""

_UNORDERED_CONTAINERS: Final = ("avi", "asf")
"""Containers that hold no times of display: if an encoder puts later frames first there, all are shown some
frames after their sound."""

FREE_ENCODERS: Final = ("libvpx-vp9", "libsvtav1")
"""Encoders of VP9 and AV1."""

_WITHOUT_FREE_CODECS: Final = ("mov", "mpegts", "mpeg")
"""Containers that cannot hold VP9 and AV1. FFmpeg refuses them at the header of a MOV, and writes MPEG
streams that nothing can read."""

_NOT_HELD: Final = (
    "{encoder} makes a film that the container {container} cannot hold: choose another --film-encoder, or an "
    "OUTPUT that ends in .mkv"
)

_INTERLACED_FLAGS: Final = (1 << 18) | (1 << 29)
"""FFmpeg's codec flags for interlaced transforms and motion."""

_UNKNOWN_ORDER: Final = 0
_BOTTOM_FIRST: Final = (3, 5)
"""FFmpeg's numbers for interlaced films that do not state which field comes first, and for those whose bottom
field does. DV states nothing: its bottom field comes first."""


def choose_encoder(info: FilmInfo, encoder: str | None) -> str:
    """Returns the name of the encoder to use.

    Args:
        info: facts about the input.
        encoder: an encoder of FFmpeg by name, such as "h264_nvenc"; None follows the input's codec.

    Raises:
        UsageError: FFmpeg has no such encoder, or it does not start here.
    """
    if encoder is not None:
        return require_encoder(encoder)
    name = _ENCODERS.get(info.codec, "libx264" if info.hdr is None else "libx265")
    if info.hdr is not None and name == "libvpx-vp9":  # it takes 8 bits, in which HDR has bands
        name = "libsvtav1"
    available = import_av().codecs_available
    if name in available or "libx264" not in available:
        return require_encoder(name)
    return "libx264"


def encoder_for_container(encoder: str, container: str, wanted: str | None) -> str:
    """Returns the encoder, or another where the container cannot hold what it makes and nobody asked for it.

    Args:
        encoder: what `choose_encoder` returns.
        container: FFmpeg's name of the container to write.
        wanted: the encoder that the user named, if any.

    Raises:
        UsageError: the container cannot hold the encoder's codec, which the user named.
    """
    if wanted is None and container == "webm" and encoder not in FREE_ENCODERS:
        return "libvpx-vp9"
    if container not in _WITHOUT_FREE_CODECS or encoder not in FREE_ENCODERS:
        return encoder
    if wanted is not None:
        raise UsageError(_NOT_HELD.format(encoder=encoder, container=container))
    return "libx264"


def quality_of(info: FilmInfo, encoder: str, quality: int | None) -> int:
    """Returns the constant quality for an encoder, on its scale, where smaller is better.

    By default it follows the input: six steps of an H.264 quantiser halve the bits, so an input with
    twice the usual bits per pixel gets a number that is smaller by six.

    Args:
        info: facts about the input.
        encoder: what `choose_encoder` returns.
        quality: 1 to 100 as for photographs; None follows the input.
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
    output: Any,
    source: Any,
    frame: Any,
    info: FilmInfo,
    encoder: str,
    quality: int,
    *,
    live: bool,
    alone: bool = False,
) -> Any:
    """Adds a video stream to the output, set up like the input's, and returns it.

    Args:
        output: the container to write.
        source: the input's video stream.
        frame: its first frame.
        info: facts about the input.
        encoder: what `choose_encoder` returns.
        quality: what `quality_of` returns.
        live: whether frames must be written without delay, at the cost of some compression.
        alone: whether the encoder works in the calling thread, as far as it can.

    Raises:
        UsageError: the container cannot hold the encoder's codec.
    """
    if encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # otherwise it writes thirty lines to standard error
    settings = encoder_options(encoder, quality, live=live, alone=alone)
    if info.hdr is not None:
        for name, words in encoder_metadata(info.hdr, encoder).items():
            settings[name] = f"{settings[name]}:{words}" if name in settings else words
    if info.is_interlaced and encoder == "libx264" and _shows_bottom_first(source):
        settings["x264-params"] = "bff=1"  # x264 starts with the top field, and says so even if told later
    try:
        stream = output.add_stream(encoder, rate=info.rate, options=settings)
    except ValueError as error:
        raise UsageError(_NOT_HELD.format(encoder=encoder, container=output.format.name)) from error
    context = stream.codec_context
    context.width, context.height = info.width, info.height
    context.pix_fmt = supported_format(
        encoder, info.pixel_format, is_odd=bool(info.width % 2 or info.height % 2)
    )
    context.time_base = source.time_base or Fraction(1, 90000)
    if output.format.name in _UNORDERED_CONTAINERS:
        context.max_b_frames = 0
    context.color_range = int(frame.color_range)
    context.colorspace = int(frame.colorspace)
    context.color_trc = int(frame.color_trc)
    context.color_primaries = int(frame.color_primaries)
    if source.sample_aspect_ratio:
        context.sample_aspect_ratio = source.sample_aspect_ratio
    if info.is_interlaced and encoder == "libx264":
        context.flags |= _INTERLACED_FLAGS
    if info.codec == "hevc" and encoder == "libx265" and output.format.name in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # Apple's players need it
    stream.metadata.update(source.metadata)
    stream.disposition = source.disposition.value  # PyAV 17 takes numbers alone
    if info.is_mirrored:
        stream.set_display_rotation(info.rotation_deg, vflip=True)
    elif info.rotation_deg:
        stream.set_display_rotation(info.rotation_deg)
    return stream


def _shows_bottom_first(source: Any) -> bool:
    """Whether the even rows of an interlaced film's frames, counted from 1, are the earlier ones."""
    context = source.codec_context
    order = getattr(context, "field_order", _UNKNOWN_ORDER)  # since PyAV 18
    return order in _BOTTOM_FIRST or (order == _UNKNOWN_ORDER and context.name == "dvvideo")


class TimedEncoder:
    """Encodes frames one after the other, and lets the last one stay as long as it did in the input.

    Encoders give no durations. Containers know how long a frame is shown from the time of the next one, but
    the last frame, which in the recording of a screen may stay for seconds, would be gone at once.

    Args:
        stream: what `add_video` returns.
        source: the input's video stream.
    """

    def __init__(self, stream: Any, source: Any) -> None:
        self._stream = stream
        # Where frames are reordered, a packet lasts until the next packet, not until the next frame.
        self._knows_durations = not source.codec_context.has_b_frames
        self._durations: dict[int, int] = {}
        self._start_pts = source.start_time or 0
        self._last_pts: int | None = None
        self._first_packet: Any = None

    def encode(self, frame: Any) -> list[Any]:
        """Returns the packets that are complete after this frame, whose time comes after the earlier ones."""
        frame.pict_type = 0  # the encoder chooses its key frames
        if frame.pts is None:  # raw H.264 and HEVC, as from a camera's pipe, hold no times
            before = self._last_pts
            frame.pts = self._start_pts if before is None else before + (frame.duration or 1)
        elif self._last_pts is not None and frame.pts <= self._last_pts:
            frame.pts = self._last_pts + 1
        self._last_pts = frame.pts
        if self._knows_durations and frame.pts is not None and frame.duration:
            self._durations[frame.pts] = frame.duration
        return self._timed(self._stream.encode(frame))

    def finish(self, stays_until: int | None = None) -> list[Any]:
        """Returns the last packets; the last frame stays until a time, if that is later than its own end."""
        end = None if self._last_pts is None else self._last_pts + self._durations.get(self._last_pts, 0)
        if end is not None and stays_until is not None:
            end = max(end, stays_until)
        packets = self._timed(self._stream.encode())
        if packets and packets[0] is self._first_packet and len(packets) <= 2:
            for packet in packets:  # x265 leaves the decoding times of so short a film to chance
                packet.dts = packet.pts
        if packets and end is not None and end != self._last_pts:
            # In MP4 a film is as long as its packets together, in their own order.
            first, last = self._first_packet, packets[-1]
            last.duration = (end - first.pts) - (last.dts - first.dts)
        return packets

    def _timed(self, packets: list[Any]) -> list[Any]:
        """Returns packets, with the durations of their frames."""
        for packet in packets:
            self._first_packet = self._first_packet or packet
            duration = self._durations.pop(packet.pts, 0)
            if duration:
                packet.duration = duration
        return packets
