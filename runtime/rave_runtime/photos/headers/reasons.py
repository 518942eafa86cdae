"""Why a whole file cannot be read: what is special about it, and what to do."""

from __future__ import annotations

from typing import Final

from rave_runtime.errors import reason_of
from rave_runtime.photos.headers.boxes import photograph_data, photograph_properties
from rave_runtime.photos.jpeg import FRAME_MARKERS, jpeg_segments
from rave_runtime.photos.metadata.directories import Directory, DirectoryReader, first_number

UNKNOWN_ENDINGS: Final = (
    *(".afphoto", ".avci", ".bpg", ".cin", ".dcx", ".dds", ".dpx", ".eip", ".exr", ".fits", ".flif", ".fpx"),
    *(".hdp", ".hdr", ".jls", ".jng", ".jph", ".jpm", ".jxr", ".jxs", ".kra", ".lri", ".mng", ".ora", ".pam"),
    *(".pcd", ".pct", ".pcx", ".pfm", ".pict", ".psb", ".psd", ".qoi", ".qtk", ".ras", ".rgb", ".rwz"),
    *(".sgi", ".sun", ".targa", ".tga", ".vda", ".vst", ".wdp", ".xcf"),
)
"""Endings of pictures that rave-run cannot read; a warning names them."""

_KIND: Final = 254
_BITS: Final = 258
_COMPRESSION: Final = 259
_PHOTOMETRIC: Final = 262
_MAKE: Final = 271
_SAMPLES: Final = 277
_SUB_DIRECTORIES: Final = 330
_EXTRA_SAMPLES: Final = 338
_SAMPLE_FORMAT: Final = 339
_SUBSAMPLING: Final = 530
_DNG_VERSION: Final = 50706
_REDUCED: Final = 1
_YCBCR: Final = 6
_SIGNED: Final = 2
_FLOATING: Final = 3
_HOLDS_SIGNED: Final = (
    "holds values below zero, which have no agreed range: save it with 8 or 16 bits per channel"
)

_COLOURS: Final = {
    0: "grey with white as 0",
    1: "grey",
    2: "RGB",
    3: "a palette",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
    9: "ICC Lab",
    32803: "a raw sensor's colours",
}
"""What TIFF's numbers call colours."""

_READ: Final = (0, 1, 2)
"""Colours of which most kinds are read."""

_EXTRAS: Final = {
    0: "a channel of no stated meaning",
    1: "premultiplied alpha",
    2: "transparency",
}
"""What TIFF's numbers call a channel beside the colours."""

_COMPRESSIONS: Final = {
    **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    34887: "LERC",
    **dict.fromkeys((34933, 50013), "PNG"),
    34934: "JPEG XR",
    50001: "WebP",
    **dict.fromkeys((50002, 52546), "JPEG XL"),
}
"""Compressions that not every program reads, by TIFF's numbers."""

_FRAMES: Final = {
    0xC3: "a lossless JPEG (SOF3)",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "a hierarchical JPEG"),
    0xCB: "a lossless JPEG (SOF11)",
    0xF7: "JPEG-LS, a lossless kind of JPEG that shares its beginning",
}
"""Kinds of JPEG that no usual program reads, by the marker of their frame. Source: ITU-T T.81, table B.1."""

_OTHER_BMP: Final = "Unsupported BMP "
"""How Pillow's reason begins where a BMP is of a kind that it does not read."""

_NO_THREAD: Final = "unexpected C++ exception"
"""What libheif says where it cannot start a thread."""

_LARGEST_HEVC_BYTES: Final = 1 << 24
"""How long one piece of coded pixels may be for libde265, by which libheif reads HEIC."""


def why_unreadable(format: str, content: bytes) -> str | None:
    """Returns a sentence on what is special about a file of a known format; None where nothing is seen."""
    if format == "JPEG":
        return _jpeg(content)
    if format == "PNG" and content[12:16] == b"CgBI":
        return (
            "is a PNG as Xcode packs it into apps (CgBI), which only Apple's programs read: "
            "export it again, or use the PNG it was made from"
        )
    return _tiff(content) if format == "TIFF" else None


def why_not_taken(content: bytes) -> str | None:
    """Says why the first picture of a TIFF that Pillow opens is not the photograph; None where it is."""
    reader = DirectoryReader(content)
    tags = reader.read(reader.first)
    raw = "is a camera's raw file, of which only a preview could be read: develop it first"
    if content.startswith(b"CR", 8) or _DNG_VERSION in tags:
        return raw
    if first_number(tags.get(_SAMPLE_FORMAT), reader.order) == _SIGNED:
        return _HOLDS_SIGNED
    if not first_number(tags.get(_KIND), reader.order) & _REDUCED:
        return None
    if any(tag for tag, *_ in reader.entries(reader.first) if tag == _SUB_DIRECTORIES) and _MAKE in tags:
        return raw
    return "begins with a small preview of its picture: save it again as a TIFF with the picture alone"


def why_damaged(content: bytes, error: Exception) -> str:
    """Says what is wrong with a file that a decoder could not read."""
    if content.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        reader = DirectoryReader(content)
        tags = reader.read(reader.first)
        if (reason := _compression(tags, reader.order) or _sampling(tags, reader.order)) is not None:
            return reason
    if content.startswith(b"BM") and (kind := str(error)).startswith(_OTHER_BMP):
        return (
            f"is damaged, or a kind of BMP that cannot be read here ({kind.removeprefix(_OTHER_BMP)}): "
            "save it with 24 bits per pixel, or as PNG"
        )
    if _NO_THREAD in str(error):
        return (
            "cannot be read as HEIC: it is damaged, or the library needs one more thread than the system "
            "allows (ulimit -u, or the container's limit)"
        )
    is_hevc = any(kind == b"hvcC" for kind, _ in photograph_properties(content))
    if is_hevc and len(photograph_data(content)) > _LARGEST_HEVC_BYTES:
        return (
            "is a HEIC whose picture is one piece of over 16 MiB, which the library here cannot read, or is "
            "damaged: export it as a JPEG or TIFF"
        )
    return f"is damaged or truncated: {reason_of(error)}"


def _jpeg(content: bytes) -> str | None:
    for marker, payload in jpeg_segments(content):
        if marker in _FRAMES:
            return f"is {_FRAMES[marker]}, which cannot be read here: save it as a usual JPEG or a TIFF"
        if marker in FRAME_MARKERS:
            bits = payload[0] if payload else 8
            if bits != 8:
                return (
                    f"is a JPEG of {bits} bits per channel, and only 8 can be read here: "
                    "save it as a 16-bit TIFF"
                )
            return None
    return None


def _tiff(content: bytes) -> str | None:
    """Says what is special about a TIFF that cannot be opened; None where it does not state its bits."""
    reader = DirectoryReader(content)
    tags = reader.read(reader.first)
    if _BITS not in tags:
        return None
    bits, samples = (first_number(tags.get(tag), reader.order) for tag in (_BITS, _SAMPLES))
    if first_number(tags.get(_SAMPLE_FORMAT), reader.order) == _FLOATING:
        return (
            "holds floating point values, which have no agreed range: save it with 8 or 16 bits per channel"
        )
    if first_number(tags.get(_SAMPLE_FORMAT), reader.order) == _SIGNED:
        return _HOLDS_SIGNED
    if (reason := _compression(tags, reader.order)) is not None:
        return reason
    if content.startswith(b"MM\0+"):
        return "is a big-endian BigTIFF, which cannot be read here: save it as a classic TIFF"
    colours = first_number(tags.get(_PHOTOMETRIC), reader.order)
    kind = _COLOURS.get(colours, f"colours of kind {colours}")
    if _EXTRA_SAMPLES in tags:
        meaning = first_number(tags.get(_EXTRA_SAMPLES), reader.order)
        kind += " beside " + _EXTRAS.get(meaning, f"a channel of kind {meaning}")
    remedy = "save it as grey or RGB with 8 or 16 bits and at most transparency beside"
    if colours in _READ and bits in (8, 16):
        remedy = "save it again with a usual program, or as PNG"
    held = f"{samples} channels of {bits} bits" if samples > 1 else f"1 channel of {bits} bits"
    return f"is damaged, or a kind of TIFF that cannot be read here ({held}, {kind}): {remedy}"


def _compression(tags: Directory, order: str) -> str | None:
    name = _COMPRESSIONS.get(first_number(tags.get(_COMPRESSION), order))
    if name is None:
        return None
    return f"is a TIFF compressed as {name}, which cannot be read here: save it with LZW, ZIP or none"


def _sampling(tags: Directory, order: str) -> str | None:
    """Says whether the pixels are stored without compression and with colours for several pixels each."""
    is_raw = first_number(tags.get(_COMPRESSION), order) == 1
    if not is_raw or first_number(tags.get(_PHOTOMETRIC), order) != _YCBCR:
        return None
    if _SUBSAMPLING in tags and first_number(tags[_SUBSAMPLING], order) == 1:
        return None
    return "is a TIFF of YCbCr with fewer colours than pixels and no compression: save it as RGB"
