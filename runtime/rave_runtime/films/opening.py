"""Opens films, tells their facts, and refuses those that cannot be enhanced."""

from __future__ import annotations

import contextlib
import errno
import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from rave_runtime.errors import PhotoError, UsageError, reason_of
from rave_runtime.films.containers import READ_CONTAINERS
from rave_runtime.films.hdr import HdrFacts, hdr_facts
from rave_runtime.films.plane_format import PlaneFormat
from rave_runtime.photos.headers.colour_codes import UNSPECIFIED

_NOT_A_FILM: Final = (
    "is not a film, or of a kind that is not read, such as a playlist of other files: convert it to MP4 first"
)

_FULL_RANGE: Final = 2
"""FFmpeg's number for luma that uses all values."""

_PLANAR: Final = {
    f"yuv{j}{name}p{suffix}": (across, down, bits, j == "j")
    for name, across, down in (("420", 2, 2), ("422", 2, 1), ("444", 1, 1))
    for suffix, bits in (("", 8), ("10le", 10), ("12le", 12))
    for j in (("", "j") if bits == 8 else ("",))
}
"""Planar pixel formats: chroma subsampling across and down, bits, and whether the name says full range."""

_CONVERTED: Final = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "p010le": "yuv420p10le",
    "p210le": "yuv422p10le",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "yuv410p": "yuv420p",
    "yuv411p": "yuv422p",
    "yuvj411p": "yuvj422p",
    "yuv440p": "yuv444p",
    "yuvj440p": "yuvj444p",
}
"""Formats that are converted first, to planar ones with the same values in another order, or with more values
of colour where no encoder takes the format, such as that of American DV tapes."""


def import_av() -> Any:
    """Imports PyAV and returns its module.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UsageError("films need PyAV: pip install 'rave-backlit[video]'") from error
    return av


class FilmInfo(NamedTuple):
    """Facts about a film's frames.

    Attributes:
        codec: name of the codec or decoder, such as "h264".
        width: width of a frame, in pixels, as stored.
        height: height of a frame, in pixels, as stored.
        pixel_format: the planar format in which frames are divided, such as "yuv420p10le".
        layout: how that format stores its values.
        rate: frames per second.
        bits_per_pixel: bits of the film per pixel and frame; None where the file does not tell.
        rotation_deg: how far players turn the frames, in degrees counterclockwise.
        is_interlaced: whether the odd and even rows of a frame are from two moments.
        is_mirrored: whether they turn them upside down, as in a mirror, after that.
        hdr: what an HDR film says about itself; None for others.
    """

    codec: str
    width: int
    height: int
    pixel_format: str
    layout: PlaneFormat
    rate: Fraction
    bits_per_pixel: float | None
    rotation_deg: int
    is_interlaced: bool
    is_mirrored: bool = False
    hdr: HdrFacts | None = None


@contextlib.contextmanager
def open_film(source: Path | IO[bytes]) -> Iterator[Any]:
    """Opens a film's container, and closes it afterwards.

    Raises:
        UsageError: PyAV is missing.
        PhotoError: the file cannot be read, or holds no moving picture.
    """
    av = import_av()
    # An absolute path, since FFmpeg takes a name such as "concat:a.mp4" for several files.
    place = str(source.absolute()) if isinstance(source, Path) else source
    options = {"format_whitelist": ",".join(READ_CONTAINERS), "protocol_whitelist": "file"}
    if isinstance(source, io.BufferedReader) and not source.peek(1):
        raise PhotoError("is empty (0 bytes)")
    try:
        container = av.open(place, options=options, **_lenient(av))
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(source, Path) and source.is_file() and not source.stat().st_size:
            raise PhotoError("is empty (0 bytes)") from error
        if getattr(error, "errno", None) == errno.EINVAL:
            raise PhotoError(_NOT_A_FILM) from error
        raise PhotoError(f"cannot be opened as a film: {plain_reason(error)}") from error
    try:
        if all(map(is_cover, container.streams.video)):
            what = ", but sound with a cover picture" if container.streams.video else ""
            raise PhotoError(f"holds no moving picture{what}")
        yield container
    finally:
        container.close()


def _lenient(av: Any) -> dict[str, str]:
    """Returns what makes PyAV up to 18 take texts that are no UTF-8; newer ones do so by themselves."""
    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def main_video(container: Any) -> Any:
    """Returns the video stream that players show: the first that is marked so, or the first of all.

    Cover pictures do not count.

    Raises:
        PhotoError: FFmpeg does not know how it is coded.
    """
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    stream = next((stream for stream in streams if _has(stream, "default")), streams[0])
    if stream.codec_context is None:
        raise PhotoError(
            "is coded in a way that FFmpeg does not know: convert it with the program that made it"
        )
    return stream


def is_cover(stream: Any) -> bool:
    """Whether a stream is a cover picture, not a film."""
    return stream.type == "video" and _has(stream, "attached_pic")


def require_clear(packet: Any) -> None:
    """Refuses an encrypted packet. MP4 says of each packet whether it is, and WebM of a whole stream.

    Raises:
        PhotoError: it is encrypted. Its decoder would give nothing, or noise.
    """
    if packet.has_sidedata("encryption_info") or "enc_key_id" in packet.stream.metadata:
        raise PhotoError("is encrypted by copy protection, so its pictures cannot be read")


def plain_reason(error: Exception) -> str:
    """Returns the reason of an error of PyAV in a user's words, without numbers and the file's path."""
    av = import_av()
    if isinstance(error, av.error.InvalidDataError):
        return "it is damaged, cut short, or not a film"
    if isinstance(error, EOFError):
        return "it ends before a film begins"
    return str(getattr(error, "strerror", None) or reason_of(error))


def describe_film(stream: Any, frame: Any, stated_transfer: int = UNSPECIFIED) -> FilmInfo:
    """Returns the facts about a film's frames.

    Args:
        stream: the video stream, of PyAV.
        frame: its first decoded frame.
        stated_transfer: the transfer characteristics that the container states, by their number in ITU-T
            H.273; the frame's own count more.

    Raises:
        PhotoError: its pixels are of a kind that cannot be divided by the light.
    """
    hdr = hdr_facts(frame, stated_transfer)
    if _is_transparent(stream, frame):
        raise PhotoError("is transparent, which cannot be kept: convert it to an MP4 without transparency")
    name = frame.format.name
    pixel_format = _CONVERTED.get(name, name)
    if pixel_format.startswith("gray"):
        bits = 8 if pixel_format == "gray" else int(pixel_format.removeprefix("gray").removesuffix("le"))
        across = down = 1
        named_full = False
    elif pixel_format in _PLANAR:
        across, down, bits, named_full = _PLANAR[pixel_format]
    else:
        raise PhotoError(f"has pixels of the format {name}, which cannot be enhanced: convert it to yuv420p")
    context = stream.codec_context
    # The average of a DV file is 60000, and of a film with a variable rate it is the smaller one.
    rate = min((each for each in (stream.average_rate, stream.guessed_rate) if each), default=Fraction(25))
    bit_rate = context.bit_rate or stream.container.bit_rate
    pixels_per_s = frame.width * frame.height * float(rate)
    is_full_range = named_full or int(frame.color_range) == _FULL_RANGE
    is_mirrored = _is_mirrored(frame)
    layout = PlaneFormat(bits, across, down, is_full_range, not pixel_format.startswith("gray"))
    return FilmInfo(
        codec=context.name,
        width=frame.width,
        height=frame.height,
        pixel_format=pixel_format,
        layout=layout,
        rate=Fraction(rate),
        bits_per_pixel=bit_rate / pixels_per_s if bit_rate else None,
        # FFmpeg tells where the rows of a frame go, and a picture that is turned over afterwards has them
        # go the other way round.
        rotation_deg=-int(frame.rotation) if is_mirrored else int(frame.rotation),
        is_interlaced=bool(frame.interlaced_frame),
        is_mirrored=is_mirrored,
        hdr=hdr,
    )


def _has(stream: Any, disposition: str) -> bool:
    """Whether a stream has a disposition, such as "default"; their texts differ between Python's versions."""
    flags = stream.disposition
    return bool(flags & getattr(type(flags), disposition))


def _is_mirrored(frame: Any) -> bool:
    """Whether players show a frame mirrored: its matrix of 3 x 3 fixed-point numbers swaps left and right."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False
    a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
    return bool(a * d - b * c < 0)


def _is_transparent(stream: Any, frame: Any) -> bool:
    """Whether frames have transparency, which VP8 and VP9 keep beside frames that are decoded without it."""
    alpha_mode = next((text for key, text in stream.metadata.items() if key.lower() == "alpha_mode"), "0")
    return alpha_mode == "1" or any(component.is_alpha for component in frame.format.components)
