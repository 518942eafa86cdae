"""The kinds of film files: which are read, which are written, and what becomes of the others."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import IO, Any, Final

from rave_runtime.errors import UsageError

WRITTEN_CONTAINERS: Final = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".qt": "mov",
    ".3gp": "3gp",
    ".3g2": "3g2",
    ".mkv": "matroska",
    ".mk3d": "matroska",
    ".webm": "webm",
    ".avi": "avi",
    ".divx": "avi",
    ".wmv": "asf",
    ".asf": "asf",
    ".flv": "flv",
    ".f4v": "f4v",
    ".ts": "mpegts",
    ".mts": "mpegts",
    ".m2ts": "mpegts",
    ".m2t": "mpegts",
    ".mpg": "mpeg",
    ".mpeg": "mpeg",
    ".mpe": "mpeg",
}
"""FFmpeg's name of the container, by the ending of a file's name, of films that are read and written."""

ENDINGS_ONLY_READ: Final = (".ogv", ".vob", ".mxf", ".dv", ".rm", ".rmvb", ".dav")
"""Endings of films whose containers take none of the codecs that are written, or are for discs, tape and the
recorders of surveillance cameras."""

FILM_ENDINGS: Final = (*WRITTEN_CONTAINERS, *ENDINGS_ONLY_READ)
"""Endings, in lower case, of files that count as films."""

_ENDING_INSTEAD: Final = ".mkv"
"""What results of such films are: Matroska takes their sound and subtitles as they are."""

TRANSPORT_ENDINGS: Final = (".ts", ".mts", ".m2ts", ".m2t")
"""Endings of transport streams; other files may share one of them, such as TypeScript's .ts."""

UNREADABLE_FILM_ENDINGS: Final = (".braw", ".r3d", ".crm", ".insv", ".360")
"""Endings of films that need their makers' programs: raw films of cameras, and views all around."""

READ_CONTAINERS: Final = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "mxf", "gxf", "nut", "dv", "rm"),
    *("ivf", "obu", "dhav", "mpegvideo", "m4v", "h264", "hevc", "vvc", "av1", "mjpeg", "yuv4mpegpipe"),
)
"""FFmpeg's names of the containers that are read. None of them opens another file; playlists do."""


def is_film(name: str) -> bool:
    """Whether a file's name is that of a film."""
    return os.path.splitext(name)[1].lower() in FILM_ENDINGS


def is_film_file(file: Path) -> bool:
    """Whether a file is a film by its name, and by its first bytes where other files share the ending.

    In a transport stream, packets of 188 bytes begin with G; camcorders put 4 more bytes before each. A
    recording may begin inside a packet.

    Source: ISO/IEC 13818-1.
    """
    if not is_film(file.name):
        return False
    if file.suffix.lower() not in TRANSPORT_ENDINGS:
        return True
    try:
        with file.open("rb") as stream:
            head = stream.read(3 * 192)
    except OSError:
        return True  # opening it as a film tells the reason
    return any(head[at::step][:3] == b"GGG" for step in (188, 192) for at in range(step))


def can_read_films() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def ending_of_film_result(ending: str) -> str:
    """Returns the ending of a film's result: the film's own, or another if that kind is only read."""
    return _ENDING_INSTEAD if ending.lower() in ENDINGS_ONLY_READ else ending


def container_of(target: Path | IO[bytes]) -> str:
    """Returns FFmpeg's name of the container by the target's name; a stream is MPEG-TS.

    Raises:
        UsageError: the name is not that of a film that can be written.
    """
    if not isinstance(target, Path):
        return "mpegts"
    ending = target.suffix.lower()
    container = WRITTEN_CONTAINERS.get(ending)
    if container is None and ending in ENDINGS_ONLY_READ:
        raise UsageError(
            f"{target.name} cannot be written, since films that end in {ending} are only read: give an "
            f"OUTPUT that ends in {_ENDING_INSTEAD}"
        )
    if container is None:
        raise UsageError(
            f"{target.name} is not the name of a film: give one of {', '.join(WRITTEN_CONTAINERS)}"
        )
    return container


def late_start_us(source: Any, container: str) -> int:
    """Returns by how many microseconds a film must begin earlier in a container of another kind than its own.

    Transport streams begin at any time up to 26 hours, and some cameras count from 1970: players show an MP4
    like that black for so long, and an AVI cannot be written. Streams whose clock starts anew in the middle
    begin before zero, which is hidden in an MP4.
    """
    is_own_kind = container in source.format.name.split(",")
    return 0 if is_own_kind else int(source.start_time or 0)


def container_options(source: Any, container: str) -> dict[str, str]:
    """Returns the options that make MP4 and MOV keep the metadata keys of phones, if the source has some."""
    if container in ("mp4", "mov") and any(key.startswith("com.") for key in source.metadata):
        return {"movflags": "use_metadata_tags"}
    return {}
