"""The one table of picture formats: how each is recognised, what a file of it can hold, and its memory.

Reading, writing, planning, the command line and the other packages all ask this module. To add a format,
add a row to `FORMATS`; CONTRIBUTING.md names what else it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Final, NamedTuple

from rave_runtime.errors import UsageError
from rave_runtime.files.location import Location
from rave_runtime.photos.codecs.raw_kind import RAW_ENDINGS, RAW_SIGNATURES
from rave_runtime.photos.headers.reasons import UNKNOWN_ENDINGS


class Format(NamedTuple):
    """One picture format.

    Attributes:
        name: the name that Pillow uses.
        endings: lower-case endings; a written file gets the first, unless its photograph has another of them.
        read_only_endings: endings of files that hold more than a result does, such as further pictures;
            results get the first of `endings` instead.
        signatures: pairs of an offset and the byte strings that can stand there.
        written_as: the format that photographs get where their own is not written.
        extra: the extra without which files of the format are left out of folders with a warning, or None.
        library: the module that comes with that extra.
        longest_side_px: greatest width and height that a file can hold, or that the libraries here write and
            read; None where no practical limit exists.
        read_bytes_per_px: peak memory, per pixel, of a photograph of 8 bits that is read from this format.
        written_bytes_per_px: the same by the format that is written; None where it is only read.
        has_alpha: whether rave-run reads and writes transparency in it.
        has_metadata: whether a written file can hold EXIF and XMP.
        has_profile: whether a written file can hold a colour profile.
        has_16_bits: whether a written file can hold 16 bits per channel.
        has_quality: whether a written file can be lossy, so that a quality from 1 to 100 applies.
        option_names: further names that `--format` accepts for it, in lower case.

    The memory is the decoder's copy (3 or 4 bytes per pixel), one turned upright, the pixels (3 or 4),
    the light (1), the result and the encoder's copy. It was measured with 15 megapixels of each format,
    transparency included, and rounded up.
    """

    name: str
    endings: tuple[str, ...]
    signatures: tuple[tuple[int, tuple[bytes, ...]], ...]
    read_bytes_per_px: int
    written_bytes_per_px: int | None = None
    written_as: str = "PNG"
    extra: str | None = None
    library: str | None = None
    longest_side_px: int | None = None
    has_alpha: bool = True
    has_metadata: bool = True
    has_profile: bool = True
    has_16_bits: bool = False
    has_quality: bool = False
    read_only_endings: tuple[str, ...] = ()
    option_names: tuple[str, ...] = ()

    @property
    def is_written(self) -> bool:
        """Whether rave-run writes it. Photographs in other formats become PNG."""
        return self.written_bytes_per_px is not None


_HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

FORMATS: Final = (
    Format(
        name="JPEG",
        endings=(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".jps", ".pjpeg", ".pjpg", ".pjp"),
        read_only_endings=(".mpo", ".insp"),
        signatures=((0, (b"\xff\xd8\xff",)),),
        read_bytes_per_px=15,
        written_bytes_per_px=15,
        longest_side_px=65500,
        has_alpha=False,
        has_quality=True,
        option_names=("jpg",),
    ),
    Format(
        name="PNG",
        endings=(".png",),
        read_only_endings=(".apng",),
        signatures=((0, (b"\x89PNG\r\n\x1a\n",)),),
        read_bytes_per_px=20,
        written_bytes_per_px=20,
        has_16_bits=True,
    ),
    Format(
        name="TIFF",
        endings=(".tif", ".tiff"),
        read_only_endings=(".btf", ".tf8", ".ptif", ".ptiff"),
        signatures=((0, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),),
        read_bytes_per_px=22,
        written_bytes_per_px=24,
        has_16_bits=True,
        option_names=("tif",),
    ),
    Format(
        name="WEBP",
        endings=(".webp",),
        signatures=((8, (b"WEBP",)),),
        read_bytes_per_px=24,
        written_bytes_per_px=52,  # with transparency, without loss
        longest_side_px=16383,
        has_quality=True,
    ),
    Format(
        name="GIF",
        endings=(".gif",),
        signatures=((0, (b"GIF87a", b"GIF89a")),),
        read_bytes_per_px=16,
    ),
    Format(
        name="BMP",
        endings=(".bmp", ".dib"),
        signatures=((0, (b"BM",)),),
        read_bytes_per_px=18,
        written_bytes_per_px=18,
        has_alpha=False,
        has_metadata=False,
    ),
    Format(
        name="PPM",
        endings=(".ppm", ".pgm", ".pnm"),
        read_only_endings=(".pbm",),
        signatures=((0, (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")),),
        read_bytes_per_px=18,
        written_bytes_per_px=18,
        has_alpha=False,
        has_metadata=False,
        has_profile=False,
        has_16_bits=True,
    ),
    Format(
        name="JPEG2000",
        endings=(".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf"),
        signatures=((0, (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")),),
        read_bytes_per_px=26,
    ),
    Format(
        name="AVIF",
        endings=(".avif",),
        read_only_endings=(".avifs",),
        signatures=((4, (b"ftypavis",)),),
        read_bytes_per_px=34,
        written_bytes_per_px=40,
        longest_side_px=32768,
        has_quality=True,
    ),
    Format(
        name="HEIF",
        endings=(".heic", ".heif", ".hif"),
        read_only_endings=(".heics", ".heifs"),
        signatures=((4, tuple(b"ftyp" + brand for brand in _HEIF_BRANDS)),),
        read_bytes_per_px=44,
        written_bytes_per_px=44,
        longest_side_px=65528,
        has_quality=True,
        option_names=("heic",),
    ),
    Format(
        name="JXL",
        endings=(".jxl",),
        signatures=((0, (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),),
        read_bytes_per_px=26,
        written_bytes_per_px=40,
        extra="jxl",
        library="pylibjxl",
        has_16_bits=True,
        has_quality=True,
    ),
    Format(
        name="RAW",
        endings=RAW_ENDINGS,
        signatures=RAW_SIGNATURES,
        read_bytes_per_px=40,
        written_as="TIFF",
        extra="raw",
        library="rawpy",
        has_16_bits=True,
    ),
)

_BY_NAME: Final[Mapping[str, Format]] = {row.name: row for row in FORMATS}
_BY_ENDING: Final[Mapping[str, Format]] = {
    ending: row for row in FORMATS for ending in (*row.endings, *row.read_only_endings)
}

KNOWN_ENDINGS: Final = tuple(_BY_ENDING)
"""Endings, in lower case, of all formats of the table."""

WRITTEN_FORMATS: Final = tuple(row.name for row in FORMATS if row.is_written)
"""Names of the formats that rave-run writes."""

_MISSING: Final = tuple(
    ending for ending, row in _BY_ENDING.items() if row.library and find_spec(row.library) is None
)

READ_ENDINGS: Final = tuple(ending for ending in _BY_ENDING if ending not in _MISSING)
"""Endings, in lower case, of files that count as photographs here, with the extras that are installed."""

_FIRST: Final = [row.endings[0] for row in FORMATS if row.is_written]
USUAL_ENDINGS: Final = tuple(ending for ending in _FIRST if ending not in _MISSING)
"""The usual endings of photographs that can be read here, for messages."""

UNREADABLE_ENDINGS: Final = (*UNKNOWN_ENDINGS, *_MISSING)
"""Endings of pictures that cannot be read here and are named in a warning."""


def remedy_for(endings: Iterable[str]) -> str:
    """Returns what to do about pictures with these endings that cannot be read here."""
    rows = [_BY_ENDING.get(ending) for ending in endings]
    extras = sorted({row.extra for row in rows if row is not None and row.extra is not None})
    install = f"pip install 'rave-backlit[{','.join(extras)}]'"
    if not extras:
        return "export as JPEG or TIFF first"
    return install if None not in rows else f"{install}, or export as JPEG or TIFF first"


def format_named(name: str) -> Format:
    """Returns the row of a format that is known to exist.

    Raises:
        KeyError: no row has that name.
    """
    return _BY_NAME[name]


def is_one_format(first: str, second: str) -> bool:
    """Whether two endings in lower case, such as `.jpg` and `.jpeg`, are those of results of one format."""
    return first == second or any({first, second} <= set(row.endings) for row in FORMATS)


def format_of_ending(name: str) -> str | None:
    """Returns the format that a file's ending stands for, whether it is written or only read.

    Args:
        name: a file name or an ending with its dot, such as `.jpg`.
    """
    dot, ending = name.rpartition(".")[1:]
    row = _BY_ENDING.get(f".{ending.lower()}") if dot else None
    return row.name if row else None


def format_of_content(content: bytes) -> str | None:
    """Returns the format that a file's first bytes show, or None where no signature fits."""
    if content.startswith(b"ftyp", 4) and b"avif" in content[8:64]:  # its brand or a compatible one
        return "AVIF"
    for row in FORMATS:
        for start, signatures in row.signatures:
            if content.startswith(signatures, start):
                return row.name
    return None


def parse_format(text: str) -> str:
    """Returns the format that `--format` names.

    Raises:
        UsageError: no written format has that name.
    """
    name = str(text).lower().lstrip(".")
    for row in FORMATS:
        if row.is_written and name in (row.name.lower(), *row.option_names):
            return row.name
    raise UsageError(f"--format {text} cannot be written: give one of {', '.join(WRITTEN_FORMATS).lower()}")


def output_format(input_format: str, format: str | None = None) -> str:
    """Returns the format to write: the one asked for, the input's, or the one that replaces the input's."""
    name = format or input_format
    return name if name in WRITTEN_FORMATS else _BY_NAME[name].written_as if name in _BY_NAME else "PNG"


def ending_of_result(name: str, format: str) -> str:
    """Returns the ending of a result: the photograph's own where results in that format may have it.

    Args:
        name: the photograph's name.
        format: the format that is written.
    """
    dot, ending = name.rpartition(".")[1:]
    row = _BY_NAME[format]
    if not dot or f".{ending.lower()}" not in row.endings:
        return row.endings[0]
    return f".{ending}"


def usual_ending(format: str) -> str:
    """Returns the ending that a written file of a format gets, such as `.jpg`."""
    return _BY_NAME[format].endings[0]


def written_format_of(target: Location) -> str | None:
    """Returns the format that an output's name asks for; None where it asks for none that is written."""
    name = format_of_ending(target.suffix)
    return name if name in WRITTEN_FORMATS else None


def require_format(target: Location, format: str | None) -> str | None:
    """Returns the format that an output's name and `--format` ask for; the latter is a known name or None.

    Raises:
        UsageError: the name asks for a format that is not written, or for another one.
    """
    name_format = written_format_of(target)
    if target.suffix and name_format is None:
        endings = ", ".join(usual_ending(name) for name in WRITTEN_FORMATS)
        raise UsageError(f"{target.name} asks for a format that is not written: give one of {endings}")
    if format is not None and name_format not in (None, format):
        raise UsageError(f"{target.name} is the name of another format than --format {format.lower()}")
    return format or name_format
