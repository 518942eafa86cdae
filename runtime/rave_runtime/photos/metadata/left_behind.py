"""What a photograph's file holds behind or beside the photograph, by name: films, depth, gain maps, sound.

None of it is carried over: it belongs to the picture as it was, and most of it would not fit the new one.

Sources: CIPA DC-007 (multi-picture format); ISO 23008-12 and ISO 21496-1 (HEIF's auxiliary pictures, gain
maps); Google's Motion Photo and Dynamic Depth formats; ExifTool's Samsung trailer tags; GDAL's driver for
JPEG 2000, and OGC 08-085 (GML in JPEG 2000).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from rave_runtime.photos.headers.boxes import boxes, photograph_properties
from rave_runtime.photos.headers.vp8 import webp_chunks
from rave_runtime.photos.jpeg import GAIN_MAP_SEGMENT, end_of_jpeg, has_jpeg_credentials, jpeg_segments
from rave_runtime.photos.metadata.credentials import CREDENTIALS_NOTE
from rave_runtime.photos.metadata.directories import DirectoryReader, bytes_of
from rave_runtime.photos.png import chunks, end_of_png
from rave_runtime.photos.xmp import further_pictures, without_extension

_FILM: Final = "film (motion photo)"
FILM_NOTE: Final = f"its {_FILM} was left behind"
_GAIN_MAP: Final = "HDR gain map"
GAIN_MAP_NOTE: Final = f"its {_GAIN_MAP} was left behind"
_DEPTH: Final = "depth map"
_PREVIEW: Final = "preview"
_SECOND_VIEW: Final = "second view"
_SOUND: Final = "sound"
_FURTHER: Final = "further picture"
_PLACE_ON_MAP: Final = "place on a map (GeoTIFF or GML)"
_GEOGRAPHIC: Final = (
    bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03"),
    bytes.fromhex("96a9f1f1dc98402da7aed68e34451809"),
)
"""User types of the boxes of a JPEG 2000 that hold a GeoTIFF, or the numbers of a world file."""


_CREDENTIALS: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
"""The user type of the box that holds credentials in AVIF and HEIC."""

_SEMANTICS: Final = {
    "MotionPhoto": _FILM,
    "GainMap": _GAIN_MAP,
    "Depth": _DEPTH,
    "ConfidenceMap": "confidence map",
    "Original": "original picture",
}
"""What the entries of a list of pictures in XMP stand for."""

_PICTURES: Final = tuple(name for name in _SEMANTICS.values() if name != _FILM)

_AUXILIARY: Final = (
    (("gainmap",), _GAIN_MAP),
    (("depth", "disparity", "auxid:2"), _DEPTH),
    (("matte", "semantic"), "portrait or skin matte"),
    (("alpha", "auxid:1"), ""),
)
"""Parts of the names of HEIF's auxiliary pictures. Transparency is part of the photograph."""

_SAMSUNG: Final = (
    (("MotionPhoto",), _FILM),
    (("Sound",), _SOUND),
    (("Depth",), _DEPTH),
    (("DualShot",), _SECOND_VIEW),
)
"""Parts of the names of blocks in the trailer that Samsung's cameras write."""

MULTI_PICTURE: Final = b"MPF\0"
"""First bytes of the segment that holds an index of pictures."""

_MPF_TYPES: Final = {0x010001: _PREVIEW, 0x010002: _PREVIEW, 0x020001: "panorama frame"}
_MPF_VIEWS: Final = (0x020002, 0x020003)
_MPF_ENTRIES: Final = 0xB002
_AUXILIARY_TYPE: Final = re.compile(rb"auxC\0\0\0\0([\x20-\x7e]{1,200})\0")
_TONE_MAP_ITEM: Final = re.compile(rb"infe(?:[\x02].{7}|[\x03].{9})tmap", re.DOTALL)
_MAX_BLOCKS: Final = 100
_FILM_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_FILM_BRANDS: Final = (
    *(b"mp4", b"mmp4", b"iso", b"qt", b"avc", b"hvc"),
    *(b"M4V", b"MSNV", b"3gp", b"3g2", b"dash"),
)
"""First letters of the brands of films that cameras and phones write."""

_MAX_FIRST_BOX: Final = 1 << 16
_MAX_FILM_STARTS: Final = 10_000
_AFTER_START: Final = (*_FILM_BOXES[1:], b"moof", b"uuid", b"pnot", b"meta", b"sidx", b"styp")
"""Boxes that come behind the first one of a film."""


def note_left_behind(format: str, content: bytes, xmp: bytes | None, orientation: int = 1) -> tuple[str, ...]:
    """Returns sentences for a user on what a file holds that is not carried over.

    Args:
        format: the file's format as Pillow names it.
        content: the file.
        xmp: its packet, or None.
        orientation: how the picture is turned, 1 to 8.
    """
    names = name_left_behind(format, content, xmp)
    notes = [GAIN_MAP_NOTE] if _GAIN_MAP in names else []
    names = tuple(name for name in names if name != _GAIN_MAP)
    if len(names) == 1:
        notes.append(f"its {names[0]} was left behind")
    elif names:
        notes.append(f"its {', '.join(names[:-1])} and {names[-1]} were left behind")
    if _has_credentials(format, content):
        notes.append(CREDENTIALS_NOTE)
    if format == "AVIF" and any(kind == b"clap" for kind, _ in photograph_properties(content)):
        notes.append("its crop was left out: the whole picture was taken")
    if orientation != 1 and xmp is not None and without_extension(xmp) != xmp:
        notes.append("its extended XMP was left out: it cannot be turned with the picture")
    return tuple(notes)


def _has_credentials(format: str, content: bytes) -> bool:
    """Tells whether a file holds Content Credentials. Source: C2PA Technical Specification 2.1, A.3."""
    if format == "JPEG":
        return has_jpeg_credentials(content)
    if format == "PNG":
        return any(kind == b"caBX" for kind, _ in chunks(content))
    if format == "WEBP":
        return any(kind == b"C2PA" for kind, *_ in webp_chunks(content))
    return format in ("AVIF", "HEIF") and b"uuid" + _CREDENTIALS in content


def name_left_behind(format: str, content: bytes, xmp: bytes | None) -> tuple[str, ...]:
    """Names what stands behind or beside the photograph, each thing once."""
    names = [_SEMANTICS.get(each, f"{_FURTHER} ({each})") for each in further_pictures(xmp)]
    unnamed = 0
    if format == "JPEG":
        beside = list(_beside_jpeg(content))
        unnamed, names = beside.count(_FURTHER), names + beside
        names += _behind(content[end_of_jpeg(content) :])
    elif format == "PNG":
        names += _behind(content[end_of_png(content) :])
    elif format == "WEBP" and len(content) >= 8:
        (length,) = struct.unpack_from("<I", content, 4)
        names += _behind(content[8 + length + length % 2 :])
    elif format in ("HEIF", "AVIF"):
        names += _beside_heif(content)
    else:  # formats whose end is not marked, such as TIFF and BMP
        names += [_FILM] if has_film(content) else []
        names += [_PLACE_ON_MAP] if format == "JPEG2000" and _is_on_map(content) else []
    known = [name for name in dict.fromkeys(names) if name]
    specific = [name for name in known if name != _FURTHER]
    pictures = [name for name in specific if name in _PICTURES or name.startswith(_FURTHER)]
    if unnamed > len(pictures):  # an index of pictures gives one to each of those, and then some
        specific.append(_FURTHER)
    return tuple(specific or known)


def _is_on_map(jp2: bytes) -> bool:
    """Tells whether a JPEG 2000 says where on a map its picture lies."""
    return any(
        (box.kind == b"uuid" and jp2.startswith(_GEOGRAPHIC, box.start))
        or (box.kind == b"asoc" and jp2.startswith(b"gml.data", box.start + 8))
        for box in boxes(jp2)
    )


def _beside_jpeg(content: bytes) -> Iterator[str]:
    """Names what a JPEG's multi-picture index and its segments say to be there."""
    for marker, payload in jpeg_segments(content):
        if marker != 0xE2:
            continue
        if payload.startswith(GAIN_MAP_SEGMENT):
            yield _GAIN_MAP
        elif payload.startswith(MULTI_PICTURE):
            for kind, *_ in indexed_pictures(payload)[1:]:
                kind &= 0xFFFFFF
                yield _SECOND_VIEW if kind in _MPF_VIEWS else _MPF_TYPES.get(kind, _FURTHER)


def indexed_pictures(payload: bytes) -> list[tuple[int, int, int]]:
    """Returns kind, bytes and offset of the pictures in a multi-picture index, the first one included."""
    reader = DirectoryReader(payload.removeprefix(MULTI_PICTURE))
    entries = bytes_of(reader.read(reader.first).get(_MPF_ENTRIES)) or b""
    rows = struct.iter_unpack(f"{reader.order}IIIHH", entries[: len(entries) // 16 * 16])
    return [(kind, size, offset) for kind, size, offset, _, _ in rows]


def _behind(trailer: bytes) -> Iterator[str]:
    """Names what follows the end of a picture."""
    if trailer.endswith(b"SEFT"):
        yield from _samsung(trailer)
        return
    rest = trailer.lstrip(b"\0\xff\r\n ")
    if not rest:
        return
    lead = trailer[: trailer.find(rest[:64]) + 64]
    if any(kind in lead for kind in _FILM_BOXES):
        yield _FILM
    elif rest.startswith(b"\xff\xd8\xff") or trailer.lstrip(b"\0").startswith(b"\xff\xd8\xff"):
        yield _FURTHER
    elif rest.startswith(b"RIFF") and rest[8:12] == b"WAVE":
        yield _SOUND
    elif rest.startswith(b"PK\3\4"):
        yield "ZIP archive"
    else:
        yield f"trailing data of an unknown kind ({len(rest)} bytes)"


def has_film(content: bytes) -> bool:
    """Tells whether a film begins somewhere inside a file, by its first box and the kind of the second."""
    kind = 8
    for _ in range(_MAX_FILM_STARTS):
        kind = content.find(b"ftyp", kind + 4)
        if kind < 0:
            break
        length = int.from_bytes(content[kind - 4 : kind])
        if not 8 < length < _MAX_FIRST_BOX or not content.startswith(_FILM_BRANDS, kind + 4):
            continue
        second = kind - 4 + length
        if second == len(content) or content[second + 4 : second + 8] in _AFTER_START:
            return True
    return False


def _samsung(trailer: bytes) -> Iterator[str]:
    """Names the blocks of a Samsung trailer, whose directory is at its end and points backwards."""
    names = []
    if len(trailer) >= 8:
        (length,) = struct.unpack_from("<I", trailer, len(trailer) - 8)
        head = len(trailer) - 8 - length
        if head >= 0 and trailer.startswith(b"SEFH", head) and head + 12 <= len(trailer):
            (count,) = struct.unpack_from("<I", trailer, head + 8)
            for index in range(min(count, _MAX_BLOCKS)):
                at = head + 12 + 12 * index
                if at + 12 > len(trailer):
                    break
                back, _ = struct.unpack_from("<II", trailer, at + 4)
                names.append(_samsung_name(trailer, head - back))
    meanings = [_named(name, _SAMSUNG) for name in names]
    yield from (name for name in meanings if name)
    others = [name for name, meaning in zip(names, meanings, strict=True) if meaning is None and name]
    if others or not names:
        yield f"Samsung trailer ({', '.join(others[:6])})" if others else "Samsung trailer"


def _samsung_name(trailer: bytes, start: int) -> str:
    if not 0 <= start <= len(trailer) - 8:
        return ""
    (length,) = struct.unpack_from("<I", trailer, start + 4)
    name = trailer[start + 8 : start + 8 + min(length, 40)].decode("ascii", "replace")
    return "".join(letter for letter in name if letter.isalnum() or letter in "_- ")


def _beside_heif(content: bytes) -> Iterator[str]:
    """Names auxiliary pictures, tone maps, and films and further data behind the picture."""
    kinds: set[bytes] = set()
    for box in boxes(content):
        if box.kind == b"mpvd" or (box.kind == b"ftyp" and b"meta" in kinds):
            yield _FILM
            if box.kind == b"ftyp":
                return  # a file behind the file
        elif box.kind == b"sefd":
            yield from _samsung(content[box.start : box.stop])
        elif box.kind == b"meta":
            meta = content[box.start : box.stop]
            if _TONE_MAP_ITEM.search(meta):
                yield _GAIN_MAP
            for match in _AUXILIARY_TYPE.finditer(meta):
                name = match[1].decode("ascii")
                meaning = _named(name, _AUXILIARY)
                yield f"{_FURTHER} ({name})" if meaning is None else meaning
        kinds.add(box.kind)
    if content.endswith(b"SEFT") and b"sefd" not in kinds:
        yield from _samsung(content)


def _named(name: str, meanings: Iterable[tuple[tuple[str, ...], str]]) -> str | None:
    """Returns what the first fitting part of a name stands for, or None."""
    small = name.lower()
    return next(
        (meaning for parts, meaning in meanings if any(part.lower() in small for part in parts)), None
    )
