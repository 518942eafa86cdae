"""Takes along what a film's file holds beside the enhanced video: sound, subtitles, covers, further video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from rave_runtime.films.opening import import_av, is_cover

_COVERS: Final = {
    "mjpeg": ("cover.jpg", "image/jpeg"),
    "png": ("cover.png", "image/png"),
    "bmp": ("cover.bmp", "image/bmp"),
}
"""The name and media type that Matroska wants for a cover picture, by its codec."""

_NO_PLACE: Final = "was left out: that kind of file has no place for it"


def copy_streams(
    source: Any, video: Any, output: Any, early_packets: Sequence[Any]
) -> tuple[dict[int, Any], list[str]]:
    """Adds a stream to the output for each stream of a film except the enhanced video.

    Args:
        source: the film's container.
        video: its stream that is enhanced.
        output: the container to write.
        early_packets: packets that came before the first frame, cover pictures among them.

    Returns:
        The new streams by the index of the film's, and notes about those that had to be left out.
    """
    av = import_av()
    problems = (av.FFmpegError, ValueError, TypeError, AttributeError, NotImplementedError)
    streams: dict[int, Any] = {}
    notes = []
    for stream in source.streams:
        if stream is video or _is_chapter_track(source, stream):
            continue
        if is_cover(stream) and output.format.name != "mp4":
            if not _attach_cover(stream, output, early_packets):
                notes.append(f"its cover picture {_NO_PLACE}")
            continue
        try:
            twin = output.add_stream_from_template(stream, opaque=True)
            twin.metadata.update(stream.metadata)
            twin.disposition = stream.disposition.value
        except problems:
            what = "cover picture" if is_cover(stream) else f"{stream.type} stream {stream.index}"
            notes.append(f"its {what} {_NO_PLACE}")
            continue
        streams[stream.index] = twin
    return streams, notes


def pass_on(output: Any, streams: dict[int, Any], packet: Any) -> None:
    """Writes a packet of a stream that `copy_streams` added; others are dropped."""
    twin = streams.get(packet.stream.index)
    if twin is not None:
        packet.stream = twin
        output.mux(packet)


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
