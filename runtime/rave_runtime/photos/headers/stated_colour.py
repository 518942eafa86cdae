"""The colour space that a file states in any of the ways its format has, as an ICC profile.

An ICC profile inside the file is returned as it is. Numbers (nclx in AVIF and HEIC, cICP in PNG), gamma and
primaries (PNG, BMP, TIFF, EXIF) and a camera's marks for Adobe RGB (EXIF) become a profile made here.
"""

from __future__ import annotations

import struct
from typing import Final

from rave_runtime.errors import PhotoError
from rave_runtime.photos.exif import EXIF_HEADER
from rave_runtime.photos.headers.av1 import colour_numbers
from rave_runtime.photos.headers.boxes import boxes, find_box, photograph_data, photograph_properties
from rave_runtime.photos.headers.colour_codes import (
    ADOBE_RGB,
    BT2020,
    HDR,
    NAMES,
    PRIMARIES,
    ROMM_CURVE,
    ROMM_RGB,
    SRGB,
    SRGB_CURVE,
    SRGB_TRANSFER,
    TRANSFERS,
    UNSPECIFIED,
    Chromaticities,
    Curve,
    make_profile,
    refuse_hdr,
)
from rave_runtime.photos.headers.icc import tags_of
from rave_runtime.photos.metadata.directories import (
    EXIF_IFD,
    INTEROPERABILITY_IFD,
    RATIONAL,
    Directory,
    DirectoryReader,
    Value,
)
from rave_runtime.photos.png import chunks

_ADOBE_GAMMA: Final = Curve(563 / 256)
_ADOBE_NAME: Final = "Compatible with Adobe RGB (1998)"

_SAME_PRIMARIES: Final = 0.003
"""Chromaticities nearer than this are one space: files round them to three digits."""

_SRGB_GAMMA: Final = (0.42, 0.48)
"""Exponents that files state for sRGB's curve, although it is not a power: 1 / 2.2 and its neighbours."""

_JP2_AS_DECODED: Final = (0, 12, 15, 16, 17, 18)
"""Colour spaces of JPEG 2000, by number, that the decoder gives as grey, sRGB or inks."""

_JP2_ROMM: Final = 21

_MAX_PROFILE: Final = 1 << 24


def stated_profile(
    format: str, content: bytes, icc_profile: bytes | None, exif: bytes | None, *, grey: bool
) -> bytes | None:
    """Returns the ICC profile of the pixels that a decoder gives for a file; None is sRGB.

    Args:
        format: the name of the file's format.
        content: the file's bytes.
        icc_profile: the profile inside the file, where its format has one that Pillow or the reader found.
        exif: the EXIF block of the file, or None.
        grey: whether the pixels are grey, so that a profile made here must be for grey.

    Raises:
        PhotoError: the colours are stated in a way that would be read wrongly, such as PQ or HLG.
    """
    if format == "PNG":
        profile = _png(content, icc_profile, grey)
        if profile is not None:
            return profile or None
    elif icc_profile is None and format in ("AVIF", "HEIF"):
        numbers = _nclx(content)
        if numbers is not None:
            return profile_of_numbers(*numbers, grey=grey)
    elif icc_profile is None and format == "JPEG2000":
        profile = _jp2(content, grey)
        if profile is not None:
            return profile or None
    elif icc_profile is None and format == "BMP":
        return _bmp(content, grey)
    elif icc_profile is None and format == "GIF":
        icc_profile = _gif(content)
    if icc_profile is not None:
        _refuse_hdr_profile(icc_profile)
        return icc_profile
    return _exif(exif, grey) if exif else None


def hdr_numbers(content: bytes, icc_profile: bytes | None) -> tuple[int, int] | None:
    """Returns the numbers in H.273 of an HDR HEIC's primaries and transfer; None if it is no HDR picture.

    The ICC profile inside the file overrules the numbers.
    """
    numbers = None if icc_profile is not None else _nclx(content)
    if numbers is None or numbers[1] not in HDR or numbers[0] not in (*PRIMARIES, UNSPECIFIED):
        return None
    return BT2020 if numbers[0] == UNSPECIFIED else numbers[0], numbers[1]


def profile_of_numbers(primaries: int, transfer: int, *, grey: bool) -> bytes | None:
    """Returns the profile of a colour space by its numbers in H.273; None is sRGB.

    Raises:
        PhotoError: it is PQ, HLG, or another space that no photograph has.
    """
    refuse_hdr(transfer)
    primaries = 1 if primaries == UNSPECIFIED else primaries
    transfer = SRGB_TRANSFER if transfer == UNSPECIFIED else transfer
    if primaries not in PRIMARIES or transfer not in TRANSFERS:
        raise PhotoError(
            f"states its colours by numbers that are not known here (primaries {primaries}, "
            f"transfer {transfer}): export it in Display P3 or sRGB"
        )
    if transfer == SRGB_TRANSFER and (primaries == 1 or grey):
        return None
    name = NAMES.get(primaries, f"H.273 primaries {primaries}")
    if transfer != (SRGB_TRANSFER if primaries == 12 else -1):
        name += f", transfer {transfer}"
    return make_profile(name, PRIMARIES[primaries], TRANSFERS[transfer], grey=grey)


def _png(content: bytes, icc_profile: bytes | None, grey: bool) -> bytes | None:
    """Returns the profile by the chunk that overrules the others; b"" is sRGB, None without such chunks."""
    colour_chunks: dict[bytes, bytes] = {}
    for kind, data in chunks(content):
        if kind in (b"cICP", b"sRGB", b"gAMA", b"cHRM"):
            colour_chunks.setdefault(kind, data)
        elif kind == b"IDAT":
            break
    numbers = colour_chunks.get(b"cICP", b"")
    if len(numbers) == 4 and numbers[:2] != bytes([UNSPECIFIED, UNSPECIFIED]):
        if not numbers[3] and numbers[1] not in HDR:
            raise PhotoError(
                "has values of limited (video) range, which PNG readers disagree on: export it "
                "again in full range"
            )
        return profile_of_numbers(numbers[0], numbers[1], grey=grey) or b""
    if icc_profile is not None:
        return None
    if b"sRGB" in colour_chunks:
        return b""
    gamma = _number(colour_chunks.get(b"gAMA", b""))
    xy = _chromaticities(colour_chunks.get(b"cHRM", b""))
    if gamma is None and xy is None:
        return None
    return _calibrated(xy, gamma, grey) or b""


def _number(data: bytes) -> float | None:
    value = struct.unpack(">I", data)[0] / 100_000 if len(data) == 4 else 0.0
    return value if 0.1 < value < 4 else None


def _chromaticities(data: bytes) -> Chromaticities | None:
    if len(data) != 32:
        return None
    white_x, white_y, *colours = (value / 100_000 for value in struct.unpack(">8I", data))
    red_x, red_y, green_x, green_y, blue_x, blue_y = colours
    return red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y


def _calibrated(xy: Chromaticities | None, exponent: float | None, grey: bool) -> bytes | None:
    """Returns the profile of primaries and of the exponent that encodes light.

    None is sRGB, which is also the answer to numbers that make no sense.
    """
    near_srgb = exponent is None or _SRGB_GAMMA[0] < exponent < _SRGB_GAMMA[1]
    if xy is None or all(abs(a - b) < _SAME_PRIMARIES for a, b in zip(xy, SRGB, strict=True)):
        xy = SRGB
    if near_srgb and (xy == SRGB or grey):
        return None
    curve = SRGB_CURVE if exponent is None else Curve(1 / exponent)
    if xy[:6] == ADOBE_RGB[:6] and near_srgb:
        curve = _ADOBE_GAMMA
    try:
        return make_profile("Stated by gamma and primaries", xy, curve, grey=grey)
    except (ValueError, OverflowError, struct.error):
        return None


def _nclx(content: bytes) -> tuple[int, int] | None:
    """Returns primaries and transfer of an AVIF or HEIC: from its container, or else from its AV1 header."""
    properties = photograph_properties(content)
    for kind, data in properties:
        if kind == b"colr" and data[:4] == b"nclx" and len(data) >= 8:
            primaries, transfer = struct.unpack_from(">HH", data, 4)
            return primaries, transfer
    if not properties:  # a film's pictures have none; its tracks say the same
        place = content.find(b"colrnclx")
        if 0 <= place <= len(content) - 12:
            primaries, transfer = struct.unpack_from(">HH", content, place + 8)
            return primaries, transfer
    is_av1 = any(kind == b"av1C" for kind, _ in properties)
    return colour_numbers(photograph_data(content)) if is_av1 else None


def _jp2(content: bytes, grey: bool) -> bytes | None:
    """Returns the first profile stated that can be read; b"" is sRGB, None where none is stated."""
    header = find_box(content, b"jp2h")
    if header is None:
        return None
    unknown = None
    for box in boxes(content, header.start, header.stop):
        data = content[box.start : box.stop]
        if box.kind != b"colr" or len(data) < 7:
            continue
        if data[0] in (2, 3):
            return data[3:]
        if data[0] == 5:
            return profile_of_numbers(*struct.unpack_from(">HH", data, 3), grey=grey) or b""
        (space,) = struct.unpack_from(">I", data, 3)
        if data[0] == 1 and space == _JP2_ROMM:
            return make_profile("ROMM RGB", ROMM_RGB, ROMM_CURVE, grey=grey)
        if data[0] == 1 and space in _JP2_AS_DECODED:
            return b""
        unknown = space if unknown is None else unknown
    if unknown is not None:
        raise PhotoError(
            f"states its colours in a way that cannot be read (JPEG 2000's colour space {unknown}): "
            "export it in sRGB"
        )
    return None


def _bmp(content: bytes, grey: bool) -> bytes | None:
    """Returns the profile in a header of version 4 or 5. A linked profile is a file that is never opened."""
    (size,) = struct.unpack_from("<I", content, 14) if len(content) > 18 else (0,)
    if size < 108 or len(content) < 14 + size:
        return None
    kind = content[70:74]
    if kind == b"DEBM" and size >= 124:
        start, length = struct.unpack_from("<II", content, 14 + 112)
        profile = content[14 + start : 14 + start + min(length, _MAX_PROFILE)]
        if profile:
            _refuse_hdr_profile(profile)
        return profile or None
    if kind != bytes(4):
        return None
    endpoints = [value / (1 << 30) for value in struct.unpack_from("<9i", content, 74)]
    gammas = [value / 65536 for value in struct.unpack_from("<3I", content, 110)]
    columns = [endpoints[at : at + 3] for at in (0, 3, 6)]
    sums = [sum(column) for column in columns]
    if min(sums) <= 0:
        return None
    white = [sum(parts) for parts in zip(*columns, strict=True)]
    white_x, white_y = white[0] / sum(white), white[1] / sum(white)
    if all(abs(total - 1) < 0.01 for total in sums):  # chromaticities, as ImageMagick writes them
        white_x, white_y = SRGB[6:]
    (rx, ry), (gx, gy), (bx, by) = ((c[0] / s, c[1] / s) for c, s in zip(columns, sums, strict=True))
    exponent = 1 / gammas[1] if 0.25 < gammas[1] < 10 else None
    return _calibrated((rx, ry, gx, gy, bx, by, white_x, white_y), exponent, grey)


def _gif(content: bytes) -> bytes | None:
    """Returns the profile in the application block that holds one, in pieces of at most 255 bytes."""
    place = content.find(b"\x21\xff\x0bICCRGBG1012", 0, 1 << 20)
    if place < 0:
        return None
    pieces: list[bytes] = []
    at = place + 14
    while at < len(content) and content[at] and len(pieces) < _MAX_PROFILE // 255:
        pieces.append(content[at + 1 : at + 1 + content[at]])
        at += 1 + content[at]
    return b"".join(pieces) or None


def _refuse_hdr_profile(icc_profile: bytes) -> None:
    """Refuses profiles of HDR pictures, which state PQ or HLG by numbers.

    Source: ICC.1:2022, 9.2.17 cicpTag.
    """
    data = tags_of(icc_profile).get(b"cicp", b"")
    if data.startswith(b"cicp") and len(data) >= 12:
        refuse_hdr(data[9])


def _exif(exif: bytes, grey: bool) -> bytes | None:
    """Returns the profile by a camera's marks for Adobe RGB, or by white point and primaries.

    It is None where EXIF states sRGB or nothing.
    """
    reader = DirectoryReader(exif.removeprefix(EXIF_HEADER))
    tree = reader.read(reader.first)
    inner = tree.get(EXIF_IFD)
    details: Directory = inner if isinstance(inner, dict) else {}
    interoperability = details.get(INTEROPERABILITY_IFD, tree.get(INTEROPERABILITY_IFD))
    rule = interoperability.get(1) if isinstance(interoperability, dict) else None
    space = details.get(0xA001)
    number = 0
    if isinstance(space, Value) and len(space.data) >= 2:
        number = int.from_bytes(space.data[:2], "big" if reader.order == ">" else "little")
    if number == 1:
        return None
    if number == 2 or (isinstance(rule, Value) and rule.data.startswith(b"R03")):
        return None if grey else make_profile(_ADOBE_NAME, ADOBE_RGB, _ADOBE_GAMMA)
    white, primaries = (_rationals(tree.get(tag), reader.order) for tag in (318, 319))
    gamma = _rationals(details.get(0xA500), reader.order)
    exponent = 1 / gamma[0] if len(gamma) == 1 and 0.25 < gamma[0] < 10 else None
    if len(white) == 2 and len(primaries) == 6:
        xr, yr, xg, yg, xb, yb = primaries
        return _calibrated((xr, yr, xg, yg, xb, yb, white[0], white[1]), exponent or 1 / 2.2, grey)
    return _calibrated(None, exponent, grey) if exponent is not None else None


def _rationals(value: Value | Directory | None, order: str) -> list[float]:
    if not isinstance(value, Value) or value.kind != RATIONAL or value.count > 6:
        return []
    numbers = struct.unpack(f"{order}{2 * value.count}I", value.data)
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    return [] if any(not below for _, below in pairs) else [above / below for above, below in pairs]
