"""Takes along what a film's file holds beside the enhanced video: sound, subtitles, covers, further video."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, Final

from rave_runtime.films.opening import import_av, is_cover

_COVERS: Final = {
    "mjpeg": ("cover.jpg", "image/jpeg"),
    "png": ("cover.png", "image/png"),
    "bmp": ("cover.bmp", "image/bmp"),
}
"""The name and media type that Matroska wants for a cover picture, by its codec."""

_HELD: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "mpegts": {
        "audio": ("aac", "aac_latm", "ac3", "dts", "eac3", "mp1", "mp2", "mp3", "opus", "s302m", "truehd"),
        "subtitle": ("arib_caption", "dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"),
    },
    "mpeg": {"subtitle": ("dvd_subtitle",)},
    "flv": {"audio": ("aac", "ac3", "eac3", "flac", "mp3", "nellymoser", "opus")},
}
"""FFmpeg's names of what some containers hold. It writes the packets of other codecs into MPEG streams
without a word about what they are, so that nothing can read them, and ends the program at those of an FLV."""

_PCM: Final = "pcm_s16le"
_PCM_CONTAINERS: Final = ("matroska", "mp4")
"""Containers in which PCM takes the place of other sound of 16 bits, such as the G.711 of surveillance
cameras. MP4 has no place for that, and PyAV does not let FFmpeg put it into Matroska, which has."""

_AMR: Final = ("amr_nb", "amr_wb")
"""The sound of 3GP, FFmpeg's names. It is decoded to floats, whose values are those of 16 bits."""

_AMR_FRAME_BYTES: Final = (13, 14, 16, 18, 20, 21, 27, 32, 6, *[1] * 7)
"""Sizes of AMR narrowband frames by their type, the middle bits of their first byte. Source: RFC 4867."""

_WITHOUT_LAYOUT: Final = ("avi", "matroska,webm", "asf")
"""FFmpeg's names of containers that state how many channels PCM has, and mostly not which. An MP4 must state
it: FFmpeg fails at its end."""

_TIME_CODE: Final = "timecode"
"""The tag of a film's first time code, by which FFmpeg writes the track or the tag of the result."""

_TIME_CODE_CONTAINERS: Final = ("mov", "mp4", "matroska", "webm")

_CHAPTER_CONTAINERS: Final = ("mov", "mp4", "matroska", "webm", "asf", "3gp", "3g2", "f4v")

_ONE_LEFT_OUT: Final = "its {} was left out: that kind of file has no place for it"
_MANY_LEFT_OUT: Final = "its {} were left out: that kind of file has no place for them"
_BECAME_PCM: Final = (
    "its audio stream {} ({}) became PCM, which loses nothing: that kind of file cannot take it as it is"
)


@dataclass
class CopiedStream:
    """A stream of the output whose packets are those of a stream of the film.

    Attributes:
        twin: the stream of the output.
        last_dts: when its last packet is decoded, in the twin's time base; None before the first.
    """

    twin: Any
    last_dts: int | None = None


def copy_streams(
    source: Any, video: Any, output: Any, early_packets: Sequence[Any]
) -> tuple[dict[int, CopiedStream], list[str]]:
    """Adds a stream to the output for each stream of a film except the enhanced video.

    Args:
        source: the film's container.
        video: its stream that is enhanced.
        output: the container to write, which has the enhanced video.
        early_packets: packets that came before the first frame, cover pictures among them.

    Returns:
        The new streams by the index of the film's, and notes about those that had to be left out.
    """
    streams: dict[int, CopiedStream] = {}
    notes = []
    for stream in source.streams:
        if stream is video or _is_chapter_track(source, stream):
            continue
        if _is_time_code(stream):
            if output.format.name in _TIME_CODE_CONTAINERS:
                output.streams.video[0].metadata.setdefault(_TIME_CODE, stream.metadata[_TIME_CODE])
            else:
                notes.append(_ONE_LEFT_OUT.format("time code"))
            continue
        if is_cover(stream) and output.format.name != "mp4":
            if not _attach_cover(stream, output, early_packets):
                notes.append(_ONE_LEFT_OUT.format("cover picture"))
            continue
        twin = _add_twin(stream, output) if _has_place(stream, output.format.name) else None
        if twin is None and (twin := _add_pcm(stream, output)) is not None:
            notes.append(_BECAME_PCM.format(stream.index, stream.codec_context.name))
        if twin is None:
            what = "cover picture" if is_cover(stream) else f"{stream.type} stream {stream.index}"
            notes.append(_ONE_LEFT_OUT.format(what))
            continue
        streams[stream.index] = CopiedStream(twin)
    return streams, list(dict.fromkeys(notes))  # a film may have several time codes


def copy_chapters(source: Any, output: Any) -> list[str]:
    """Gives the output a film's chapters; returns a note where it has no place for them."""
    chapters = source.chapters()
    if not chapters:
        return []
    if output.format.name not in _CHAPTER_CONTAINERS:
        return [_MANY_LEFT_OUT.format("chapters")]
    av = import_av()
    with contextlib.suppress(av.FFmpegError, ValueError, NotImplementedError):
        output.set_chapters(chapters)
    return []


def pass_on(output: Any, streams: dict[int, CopiedStream], packet: Any) -> None:
    """Writes a packet of a stream that `copy_streams` added, decoded where it becomes PCM; drops others."""
    stream = streams.get(packet.stream.index)
    if stream is None:
        return
    twin = stream.twin
    packets = [packet]
    if twin.type == "audio" and twin.codec_context.name != packet.stream.codec_context.name:
        packets = []
        with contextlib.suppress(import_av().error.InvalidDataError):
            packets = [part for frame in packet.decode() for part in twin.encode(frame)]
    elif _codec_of(packet.stream) == "amr_nb":
        packets = _single_amr_frames(packet)
    is_strict = not output.format.flags & import_av().format.Flags.ts_nonstrict.value
    for part in packets:
        part.stream = twin
        if stream.last_dts is not None:
            _keep_in_order(part, stream.last_dts + is_strict)
        output.mux(part)
        stream.last_dts = part.dts  # in the twin's time base now


def _codec_of(stream: Any) -> str:
    """Returns FFmpeg's name of a stream's codec, which may differ from its decoder's; "" if it knows none."""
    return "" if stream.codec_context is None else str(stream.codec_context.codec.canonical_name)


def _single_amr_frames(packet: Any) -> list[Any]:
    """Returns the frames of a packet of AMR narrowband sound; FFmpeg writes no packet of several frames."""
    content, parts, start = bytes(packet), [], 0
    while start < len(content):
        size = _AMR_FRAME_BYTES[content[start] >> 3 & 15]
        parts.append(import_av().Packet(content[start : start + size]))
        start += size
    for i, part in enumerate(parts):
        part.time_base, part.duration = packet.time_base, packet.duration // len(parts)
        part.pts, part.dts = (
            None if at is None else at + i * part.duration for at in (packet.pts, packet.dts)
        )
    return parts


def _keep_in_order(packet: Any, first_dts: int) -> None:
    """Moves a packet that comes too early after the last one of its stream, as in broken recordings.

    FFmpeg would refuse it, and the whole film with it.
    """
    if packet.dts is None or not packet.time_base:
        return
    scale = packet.time_base / packet.stream.time_base
    dts, pts, duration = (
        math.floor((ticks or 0) * scale + Fraction(1, 2))
        for ticks in (packet.dts, packet.pts, packet.duration)
    )
    if dts < first_dts:
        packet.dts, packet.pts, packet.duration = first_dts, max(pts, first_dts), duration
        packet.time_base = packet.stream.time_base


def _add_twin(stream: Any, output: Any) -> Any:
    """Adds a stream like another to the output and returns it; None where that takes none of its kind."""
    av = import_av()
    with contextlib.suppress(av.FFmpegError, ValueError, TypeError, AttributeError, NotImplementedError):
        twin = output.add_stream_from_template(stream, opaque=True)
        if stream.type == "audio" and stream.codec_context.name.startswith("pcm_"):
            _complete_layout(twin, stream)
        twin.metadata.update(stream.metadata)
        twin.disposition = stream.disposition.value
        return twin
    return None


def _add_pcm(stream: Any, output: Any) -> Any:
    """Adds a stream of PCM for sound of 16 bits to an output that takes PCM and not the sound; else None."""
    if stream.type != "audio" or output.format.name not in _PCM_CONTAINERS:
        return None
    sound = stream.codec_context
    is_whole = _codec_of(stream) in _AMR or (sound and sound.format and sound.format.packed.name == "s16")
    if not is_whole:
        return None
    twin = output.add_stream(_PCM, rate=sound.sample_rate, layout=sound.layout.name)
    _complete_layout(twin, stream)
    twin.metadata.update(stream.metadata)
    twin.disposition = stream.disposition.value
    return twin


def _complete_layout(twin: Any, stream: Any) -> None:
    """Gives a stream of PCM the usual layout for its number of channels, where the film states none."""
    if stream.container.format.name not in _WITHOUT_LAYOUT:
        return  # PyAV ends the program when it is asked for an odd layout, such as twice the same channel
    layout = stream.codec_context.layout
    if layout.nb_channels and layout.name.endswith(" channels"):
        twin.codec_context.layout = f"{layout.nb_channels}c"


def _has_place(stream: Any, container: str) -> bool:
    """Whether a container, by FFmpeg's name, takes a stream.

    Some refuse a stream only when their header is written, and the whole film with it. So the header of a
    film with that stream alone is tried.
    """
    if stream.type == "attachment":
        return container == "matroska"
    if stream.type in ("audio", "subtitle", "video") and not _codec_of(stream):
        return False  # FFmpeg does not know its codec, such as that of the spatial sound of phones
    held = _HELD.get(container, {}).get(stream.type)
    if held is not None and _codec_of(stream) not in held:
        return False
    av = import_av()
    is_taken = False
    with (
        contextlib.suppress(av.FFmpegError, OSError, ValueError, NotImplementedError),
        av.open(io.BytesIO(), "w", format=container) as trial,
    ):
        if _add_twin(stream, trial) is not None:
            trial.start_encoding()
            is_taken = True
    return is_taken


def _attach_cover(stream: Any, output: Any, packets: Sequence[Any]) -> bool:
    """Attaches a cover picture to a Matroska file, as that wants it; tells whether it could be done."""
    if output.format.name != "matroska":
        return False
    content = next((bytes(packet) for packet in packets if packet.stream is stream), b"")
    if not content or stream.codec_context.name not in _COVERS:
        return False
    name, media_type = _COVERS[stream.codec_context.name]
    tags = {key.lower(): text for key, text in stream.metadata.items()}
    given = PurePosixPath(tags.get("filename", "")).name
    output.add_attachment(given or name, tags.get("mimetype") or media_type, content)
    return True


def _is_chapter_track(container: Any, stream: Any) -> bool:
    """Whether a stream is QuickTime's track of chapter titles, which FFmpeg writes anew from the chapters."""
    return stream.type == "data" and stream.name == "bin_data" and bool(container.chapters())


def _is_time_code(stream: Any) -> bool:
    """Whether a stream is a track of time codes, which FFmpeg writes anew and cannot copy.

    It has a single packet, with the first time code. Tracks of Sony's cameras that hold more than time codes
    have one for each frame.
    """
    is_nameless_data = stream.type == "data" and stream.name is None
    return is_nameless_data and _TIME_CODE in stream.metadata and stream.frames <= 1
