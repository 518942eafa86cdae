"""PNG as a row of chunks: reading and writing its metadata, and checking that its pixels are all there."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Container, Iterator
from typing import Final

from rave_runtime.errors import PhotoError
from rave_runtime.photos.exif import EXIF_HEADER, upright_exif
from rave_runtime.photos.jpeg import PHOTOSHOP_SEGMENT, XMP_SEGMENT
from rave_runtime.photos.metadata.photoshop import resource_of_iptc, with_turned_resolution
from rave_runtime.photos.metadata.png_texts import PngUnpacker
from rave_runtime.photos.photo import Blocks
from rave_runtime.photos.xmp import upright_xmp

LEVEL: Final = 3
"""Level of compression: photographs are hardly larger than at the usual 6, in less than half the time."""

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_COLOUR: Final = (b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
_SCALES: Final = (b"pHYs", b"sCAL", b"oFFs")
"""How large a pixel is on paper and in the scene, and where the picture lies on a page."""

_UNSEEN: Final = (*_COLOUR, b"eXIf", b"iTXt", b"tEXt", b"zTXt", b"tIME")
_KEPT: Final = (*_UNSEEN, *_SCALES)
_XMP_KEYWORD: Final = b"XML:com.adobe.xmp"
_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
_RAW_PROFILE: Final = b"Raw profile type "
"""The keyword of a text that holds EXIF, XMP or IPTC in hexadecimal digits begins like this.

Source: ImageMagick's coders/png.c; ExifTool's PNG tags.
"""

_MAX_CHUNKS: Final = 50_000
_BYTES_PER_CHUNK: Final = 500
"""Chunks that a PNG may have, and bytes in each further one; encoders write 8,192 into each."""

PASSES: Final = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
"""Passes of interlaced pictures: first row, first column, step of rows, step of columns."""

SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values per pixel of each colour type."""


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the chunks of a PNG, type and data, as far as the file goes."""
    for start, stop in _spans(content):
        yield content[start + 4 : start + 8], content[start + 8 : stop - 4]


def png_blocks(content: bytes) -> Blocks:
    """Reads the metadata of a PNG; its captions are Photoshop's image resources.

    A block that is damaged or unpacks beyond measure counts as absent. What has no chunk of its own is taken
    from a text as ImageMagick writes it, a colour profile only if the file does not say that it is sRGB.
    """
    icc = exif = xmp = None
    is_srgb = False
    raw: dict[str, bytes] = {}
    unpacker = PngUnpacker()
    for start, stop in _spans(content):
        kind = content[start + 4 : start + 8]
        if kind == b"iCCP" and icc is None:
            _, _, packed = content[start + 8 : stop - 4].partition(b"\0")
            icc = unpacker.unpack(packed[1:])
        elif kind == b"sRGB":
            is_srgb = True
        elif kind == b"eXIf" and exif is None:
            exif = content[start + 8 : stop - 4]
        elif kind in _TEXTS and content.startswith(_RAW_PROFILE, start + 8):
            profile = _read_raw_profile(kind, content[start + 8 : stop - 4], unpacker)
            if profile is not None:
                raw.setdefault(*profile)
        elif kind == b"iTXt" and xmp is None and content.startswith(_XMP_KEYWORD + b"\0", start + 8):
            xmp = unpacker.text_of(b"iTXt", content[start + 8 : stop - 4])
    resources = raw.get("8bim") or raw.get("iptc")
    if resources is not None and not resources.startswith(b"8BIM"):
        resources = resources.removeprefix(PHOTOSHOP_SEGMENT)
        resources = resources if resources.startswith(b"8BIM") else resource_of_iptc(resources)
    if icc is None and not is_srgb:
        text_profile = raw.get("icc") or raw.get("icm") or b""
        icc = text_profile if text_profile[36:40] == b"acsp" else None  # the signature of all profiles
    return Blocks(icc, exif or raw.get("exif"), xmp or raw.get("xmp"), resources)


def png_texts(content: bytes) -> dict[str, bytes]:
    """Returns the texts of a PNG by their names, as UTF-8, without those that hold XMP or raw profiles."""
    texts: dict[str, bytes] = {}
    unpacker = PngUnpacker()
    for kind, data in chunks(content):
        if kind not in _TEXTS or data.startswith((_RAW_PROFILE, _XMP_KEYWORD)):
            continue
        name, _, _ = data.partition(b"\0")
        text = unpacker.text_of(kind, data)
        if text is not None and kind != b"iTXt":
            text = text.decode("latin-1").encode()
        if text:
            texts.setdefault(name.decode("latin-1"), text)
    return texts


def end_of_png(content: bytes) -> int:
    """Returns the place behind a PNG's last chunk; the end of the file where that is missing."""
    ends = (stop for start, stop in _spans(content) if content[start + 4 : start + 8] == b"IEND")
    return next(ends, len(content))


def without_chunks(content: bytes, kinds: Container[bytes] = _UNSEEN) -> bytes:
    """Takes chunks of those kinds out of a PNG, for a decoder that needs the pixels only.

    By default those are the kinds that this module reads: some unpack to any size, and a decoder refuses
    the whole picture where one of them is damaged.
    """
    spans = list(_spans(content)) if content.startswith(SIGNATURE) else []
    if not any(content[start + 4 : start + 8] in kinds for start, _ in spans):
        return content
    view = memoryview(content)
    pieces = [view[start:stop] for start, stop in spans if content[start + 4 : start + 8] not in kinds]
    return b"".join([SIGNATURE, *pieces, view[spans[-1][1] :]])


def carry_png(
    source: bytes,
    target: bytes,
    width: int,
    height: int,
    *,
    keep_icc: bool,
    orientation: int = 1,
    xmp: bytes | None = None,
) -> bytes:
    """Gives a PNG another one's colour, text, time, density, scale and EXIF chunks.

    This is what `carry_jpeg` of `rave_runtime.photos.jpeg` does for JPEG, with the same arguments. No PNG
    changes its colour space here, so every chunk that states one goes over, except a profile that cannot be
    read. A profile in a text goes into its own chunk, where other programs find it.
    """
    new_chunks = []
    has_own_profile = any(kind in (b"iCCP", b"sRGB") for kind, _ in chunks(source))
    profile = None if has_own_profile else png_blocks(source).icc_profile
    if profile is not None and keep_icc:
        new_chunks.append(make_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    replaces_raw_xmp = xmp is not None and not any(
        kind == b"iTXt" and _holds_xmp(data) for kind, data in chunks(source)
    )
    unpacker = PngUnpacker()
    for kind, data in chunks(source):
        if kind not in _KEPT or (kind == b"iCCP" and not keep_icc):
            continue
        if kind == b"oFFs" and orientation != 1:
            continue  # a page is not turned with a picture on it
        if kind == b"pHYs" and orientation >= 5 and len(data) == 9:
            data = data[4:8] + data[:4] + data[8:]
        elif kind == b"sCAL" and orientation >= 5 and data.count(b"\0", 1) == 1:
            across, down = data[1:].split(b"\0")
            data = data[:1] + down + b"\0" + across
        elif kind == b"eXIf":
            data = upright_exif(data, width, height, orientation)
        elif kind in _TEXTS and data.startswith(_RAW_PROFILE):
            name, raw = _read_raw_profile(kind, data, unpacker) or ("", b"")
            if (replaces_raw_xmp and name == "xmp") or (profile is not None and name in ("icc", "icm")):
                continue
            upright_text = _upright_raw_profile(kind, data, name, raw, width, height, orientation)
            if upright_text is None:
                continue
            kind, data = upright_text
        elif kind == b"iTXt" and _holds_xmp(data):
            before = unpacker.text_of(b"iTXt", data)
            after = xmp or (None if before is None else upright_xmp(before, width, height, orientation))
            xmp = None
            if after is None:
                continue
            if after != before:
                data = _XMP_KEYWORD + bytes(5) + after
        new_chunks.append(make_chunk(kind, data))
    if xmp is not None:
        new_chunks.append(make_chunk(b"iTXt", _XMP_KEYWORD + bytes(5) + xmp))
    after_header = len(SIGNATURE) + 25
    return b"".join([target[:after_header], *new_chunks, memoryview(target)[after_header:]])


def _holds_xmp(data: bytes) -> bool:
    return data.startswith(_XMP_KEYWORD + b"\0")


def raw_profile(name: str, data: bytes) -> str:
    """Writes bytes as ImageMagick does in text chunks: a name, their number, and hexadecimal lines."""
    digits = data.hex()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    return "\n".join(["", name, f"{len(data):8d}", *lines, ""])


def _read_raw_profile(kind: bytes, data: bytes, unpacker: PngUnpacker) -> tuple[str, bytes] | None:
    """Returns name (`exif`, `xmp`, `iptc`, `8bim` or another) and bytes that a raw profile's text holds."""
    keyword = data.partition(b"\0")[0]
    lines = (unpacker.text_of(kind, data) or b"").strip().split(b"\n", 2)
    try:
        profile = bytes.fromhex(lines[2].decode("ascii")) if len(lines) == 3 else b""
    except ValueError:
        return None
    name = keyword.removeprefix(_RAW_PROFILE).decode("latin-1").lower()
    if name == "app1":
        name = "exif" if profile.startswith(EXIF_HEADER) else "xmp"
        profile = profile.removeprefix(XMP_SEGMENT)
    return (name, profile) if profile else None


def _upright_raw_profile(
    kind: bytes, data: bytes, name: str, old_bytes: bytes, width: int, height: int, orientation: int
) -> tuple[bytes, bytes] | None:
    """Corrects a raw profile's text for the upright picture; returns None where it cannot be turned."""
    if name not in ("exif", "xmp", "8bim", "iptc"):
        return kind, data
    if name in ("8bim", "iptc"):
        new_bytes: bytes | None = with_turned_resolution(old_bytes, orientation)
    elif name == "exif":
        new_bytes = upright_exif(old_bytes, width, height, orientation)
    else:
        new_bytes = upright_xmp(old_bytes, width, height, orientation)
    if new_bytes is None:
        return None
    if new_bytes == old_bytes:
        return kind, data
    keyword = data.partition(b"\0")[0]
    if keyword.lower().endswith(b"app1") and name == "xmp":
        new_bytes = XMP_SEGMENT + new_bytes
    text = raw_profile(keyword.removeprefix(_RAW_PROFILE).decode("latin-1"), new_bytes)
    return b"zTXt", keyword + b"\0\0" + zlib.compress(text.encode("latin-1"))


def missing_bytes(content: bytes) -> int:
    """Counts the bytes by which a PNG's data falls short of its header; decoders leave that part black."""
    width, height, bits, colour, _, _, is_interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    expected_bytes = 0
    for top, left, rows, columns in PASSES if is_interlaced else ((0, 0, 1, 1),):
        wide, high = -(-(width - left) // columns), -(-(height - top) // rows)
        if wide > 0 and high > 0:
            expected_bytes += high * (1 + -(-wide * bits * SAMPLES.get(colour, 1) // 8))
    unpacker = zlib.decompressobj()
    for kind, data in chunks(content):
        packed = data if kind == b"IDAT" else b""
        while packed and expected_bytes > 0 and not unpacker.eof:
            expected_bytes -= len(unpacker.decompress(packed, 1 << 20))
            packed = unpacker.unconsumed_tail
    if expected_bytes <= 0:  # what else there is may unpack to gigabytes, and `flush` would unpack all of it
        return 0
    return max(0, expected_bytes - len(unpacker.flush(1)))


def _spans(content: bytes) -> Iterator[tuple[int, int]]:
    """Yields where each chunk starts and stops, from its length to its checksum."""
    position, chunks_left = len(SIGNATURE), _MAX_CHUNKS + len(content) // _BYTES_PER_CHUNK
    while position + 12 <= len(content):
        chunks_left -= 1
        if chunks_left < 0:
            raise PhotoError("is damaged, or no photograph: its PNG lies in too many pieces")
        (length,) = struct.unpack_from(">I", content, position)
        yield position, min(position + 12 + length, len(content))
        if content.startswith(b"IEND", position + 4):
            return
        position += 12 + length


def make_chunk(kind: bytes, data: bytes) -> bytes:
    """Writes a chunk: its length, type, data and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
