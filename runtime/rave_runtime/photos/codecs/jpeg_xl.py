"""JPEG XL, read and written by pylibjxl and imagecodecs, which come with the extra `jxl`.

Both wrap libjxl. pylibjxl writes colour profiles and reads metadata, but knows 8 bits only and gives the last
frame of several; imagecodecs knows 16 bits, but writes no profile, and states that 16 bits are linear light.
So 16 bits are written where the colours are sRGB's, and the number of their curve is put right afterwards; in
other colour spaces `rave_runtime.photos.encode` reduces them to 8, since a wrong colour is seen sooner than a
missing bit.

Source: ISO/IEC 18181-2 (container); libjxl's documentation of quality and distance.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Pixels
from rave_runtime.errors import PhotoError, reason_of
from rave_runtime.photos.exif import EXIF_HEADER, upright_metadata
from rave_runtime.photos.headers.boxes import boxes
from rave_runtime.photos.headers.colour_codes import SRGB_TRANSFER, srgb_light
from rave_runtime.photos.headers.jpeg_xl import (
    CODESTREAM,
    CONTAINER,
    JxlHeader,
    jxl_boxes,
    missing_bytes,
    read_jxl_header,
)
from rave_runtime.photos.headers.jpeg_xl_colours import LINEAR
from rave_runtime.photos.headers.stated_colour import stated_profile
from rave_runtime.photos.metadata.credentials import CREDENTIALS_NOTE
from rave_runtime.photos.metadata.left_behind import FILM_NOTE, has_film
from rave_runtime.photos.photo import Photo, check_size

_EFFORT: Final = 4
"""How hard the encoder works, 1 to 9: its usual 7 takes eight times as long."""

_MISSING: Final = "JPEG XL: pip install 'rave-backlit[jxl]'"
_BRAND: Final = b"jxl \0\0\0\0jxl "
_PACKED: Final = b"brob"
"""The type of a box that Brotli has packed; its payload begins with the type of the box inside."""

_MAX_UNPACKED: Final = 1 << 24
"""The most bytes that all packed boxes together may unpack to."""

_NOT_PIXELS: Final = (b"JXL ", b"ftyp", b"jxll")


def read_jxl(content: bytes, max_megapixels: float) -> Photo:
    """Reads a JPEG XL and turns it upright.

    Raises:
        PhotoError: the libraries are missing, or the file is damaged, too large, or of an unknown kind.
    """
    codecs = _libraries(f"is {_MISSING} to read it")
    try:
        header = read_jxl_header(content)
    except EOFError as error:
        raise PhotoError("is damaged or truncated: its JPEG XL header makes no sense") from error
    _check(header, content, max_megapixels)
    try:
        checked = _without_bombs(content, codecs)
        pixels, metadata = codecs.pylibjxl.decode(checked, metadata=True)
        if header.bits > 8 or header.is_animated:
            pixels = _scaled(codecs.imagecodecs.jpegxl_decode(content, index=0, numthreads=1), header.bits)
    except Exception as error:  # either library raises whatever it stumbles over
        raise PhotoError(f"is damaged or truncated: {reason_of(error)}") from error
    pixels = np.asarray(pixels)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[2] > 4 or pixels.dtype not in (np.uint8, np.uint16):
        raise PhotoError(f"has an unexpected layout: {list(pixels.shape)} {pixels.dtype}")
    height, width, channels = pixels.shape
    has_alpha = channels in (2, 4)
    exif = metadata.get("exif")
    exif = EXIF_HEADER + exif if exif else None
    icc = metadata.get("icc") or header.colours.profile(grey=channels < 3)
    if header.colours.has_profile:
        icc = stated_profile("JXL", content, icc, exif, grey=channels < 3)
    exif, xmp, lost = upright_metadata(exif, metadata.get("xmp"), width, height, header.orientation)
    return Photo(
        pixels=np.ascontiguousarray(pixels[..., :-1]) if has_alpha else pixels,
        alpha=np.ascontiguousarray(pixels[..., -1]) if has_alpha else None,
        format="JXL",
        icc_profile=icc,
        exif=exif,
        xmp=xmp,
        save_options={"lossless": header.is_lossless},
        orientation=header.orientation,
        warnings=_notes(header, content) + lost,
    )


def decode_values(content: bytes, max_megapixels: float) -> NDArray[Any]:
    """Decodes the values of a part of a raw file.

    Returns:
        [h, w, channels]: uint8, or uint16 with the greatest value of its bits as 65535, or floating point.

    Raises:
        PhotoError: the library is missing, or the part is damaged or too large.
    """
    codecs = _libraries(f"is a DNG that is compressed as {_MISSING} to develop it")
    try:
        header = read_jxl_header(content)
    except EOFError as error:
        raise PhotoError("is damaged: a JPEG XL header in it makes no sense") from error
    check_size(header.width, header.height, max_megapixels)
    try:
        values = codecs.imagecodecs.jpegxl_decode(content, index=0, numthreads=1)
    except Exception as error:
        raise PhotoError(f"is damaged or truncated: {reason_of(error)}") from error
    values = _scaled(np.asarray(values), header.bits)
    return values[..., None] if values.ndim == 2 else values


def encode_jxl(
    pixels: Pixels, quality: int | None, icc_profile: bytes | None, exif: bytes | None, xmp: bytes | None
) -> bytes:
    """Writes a JPEG XL in its container, metadata first.

    Args:
        pixels: [h, w, 1 to 4] uint8, or uint16 in sRGB: grey or colour, with alpha last.
        quality: 1 to 100, of which 100 loses nothing; None loses nothing either.
        icc_profile: the colour space of uint8 pixels; None is sRGB. Grey with alpha is written as colour and
            needs a profile for colour.
        exif: an EXIF block of the upright picture, or None.
        xmp: a packet, or None.

    Raises:
        PhotoError: the libraries are missing.
    """
    codecs = _libraries(f"cannot be written as {_MISSING}")
    distance = distance_of(100 if quality is None else quality)
    plain = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if pixels.dtype == np.uint8 and icc_profile is not None:
        plain = plain[..., [0, 0, 0, 1]] if pixels.shape[2] == 2 else plain
        coded = codecs.pylibjxl.encode(
            np.ascontiguousarray(plain),
            effort=_EFFORT,
            distance=distance,
            lossless=distance == 0,
            icc=icc_profile,
        )
    else:
        settings: dict[str, Any] = {"lossless": True} if distance == 0 else {"distance": distance}
        if pixels.dtype == np.uint16 and distance > 0:
            plain = _to_linear(plain, has_alpha=pixels.shape[2] in (2, 4))
        coded = codecs.imagecodecs.jpegxl_encode(plain, effort=_EFFORT, numthreads=1, **settings)
        coded = _state_srgb_curve(bytes(coded))
    return _contained(bytes(coded), exif, xmp)


def distance_of(quality: int) -> float:
    """Returns libjxl's distance, 0 (no loss) to 25, for a quality of 1 to 100 on JPEG's scale."""
    if quality >= 100:
        return 0.0
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def _to_linear(pixels: Pixels, *, has_alpha: bool) -> Pixels:
    """Converts uint16 values in sRGB's curve to linear light; transparency, the last channel, has none."""
    curve = srgb_light(np.arange(65536) / 65535)
    linear: Pixels = (curve * 65535 + 0.5).astype(np.uint16)[pixels]
    if has_alpha:
        linear[..., -1] = pixels[..., -1]
    return linear


def _state_srgb_curve(coded: bytes) -> bytes:
    """Replaces the number of linear light by that of sRGB's curve, which has as many bits.

    Without loss, values keep their meaning by that. With loss, they are stored in the codec's own colours,
    and the number says in which curve a decoder gives them.
    """
    colours = read_jxl_header(coded).colours
    if colours.transfer != LINEAR or colours.transfer_bit is None:
        return coded
    start = coded.index(CODESTREAM) + len(CODESTREAM)
    stop = start + colours.transfer_bit // 8 + 2
    # A number from 2 to 17 is a selector of two bits and, in four more, the number less 2.
    change = ((LINEAR - 2) ^ (SRGB_TRANSFER - 2)) << colours.transfer_bit + 2
    header = int.from_bytes(coded[start:stop], "little") ^ change
    return coded[:start] + header.to_bytes(stop - start, "little") + coded[stop:]


class _Codecs:
    def __init__(self) -> None:
        import imagecodecs
        import pylibjxl

        self.imagecodecs: Any = imagecodecs
        self.pylibjxl: Any = pylibjxl


def _libraries(message: str) -> _Codecs:
    try:
        return _Codecs()
    except ImportError as error:
        raise PhotoError(message) from error


def _without_bombs(content: bytes, codecs: _Codecs) -> bytes:
    """Leaves out packed boxes that are damaged or unpack beyond measure; pylibjxl would unpack them all.

    What lies behind the last box that can be looked at is left out, too.
    """
    if _PACKED not in content:
        return content
    pieces, start, room = [], 0, _MAX_UNPACKED
    for box in jxl_boxes(content):
        is_fine = True
        if box.kind == _PACKED:
            packed = content[box.start + 4 : box.stop]
            try:
                room -= len(codecs.imagecodecs.brotli_decode(packed, out=max(1, room)))
            except codecs.imagecodecs.BrotliError:
                is_fine = False
        if is_fine:
            pieces.append(content[start : box.stop])
        start = box.stop
    return b"".join(pieces) or content  # without boxes, it is a bare codestream


def _check(header: JxlHeader, content: bytes, max_megapixels: float) -> None:
    """Refuses a picture that is too large, cut off, or of a kind that cannot be read."""
    check_size(header.width, header.height, max_megapixels)
    if lacking := missing_bytes(content):
        raise PhotoError(f"is damaged or truncated: {lacking} bytes are missing")
    if header.is_float:
        raise PhotoError(
            "holds floating point values, which have no agreed range: save it with 8 or 16 bits per channel"
        )
    if header.bits > 16:
        raise PhotoError(f"holds {header.bits}-bit values: save it with 8 or 16 bits per channel")
    if header.is_multiplied:
        raise PhotoError("has premultiplied alpha: save it with straight alpha, or without transparency")
    if header.colours.has_profile and not header.is_in_own_colours:
        raise PhotoError(
            "is lossy and has an ICC profile: decoders give back too few steps of its shadows. "
            "Export it lossless, or in sRGB or Display P3"
        )
    if header.extra_channels not in ((), (0,)):
        raise PhotoError("holds further channels, such as black ink: save it as grey or RGB")


def _notes(header: JxlHeader, content: bytes) -> tuple[str, ...]:
    notes = []
    if header.is_animated:
        notes.append("only the first of its frames or pages was taken")
    if any(box.kind == b"jumb" for box in jxl_boxes(content)):
        notes.append(CREDENTIALS_NOTE)
    if any(box.kind == b"jhgm" for box in jxl_boxes(content)):
        notes.append("its HDR gain map was left behind")
    if has_film(content):
        notes.append(FILM_NOTE)
    return tuple(notes)


def _scaled(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Scales values of 9 to 15 bits to the range of 16 bits."""
    if bits in (8, 16) or pixels.dtype != np.uint16:
        return pixels
    top = 2**bits - 1
    scaled: NDArray[Any] = (np.minimum(pixels, top).astype(np.uint32) * 65535 + top // 2) // top
    return scaled.astype(np.uint16, copy=False)


def _contained(coded: bytes, exif: bytes | None, xmp: bytes | None) -> bytes:
    """Puts metadata into a container, before the pixels."""
    if coded.startswith(CODESTREAM):
        coded = CONTAINER + _box(b"ftyp", _BRAND) + _box(b"jxlc", coded)
    start = next(box.start for box in boxes(coded) if box.kind not in _NOT_PIXELS)
    start -= 16 if coded[start - 16 : start - 12] == b"\0\0\0\1" else 8
    metadata = b""
    if exif is not None:
        metadata += _box(b"Exif", bytes(4) + exif.removeprefix(EXIF_HEADER))
    if xmp is not None:
        metadata += _box(b"xml ", xmp)
    return coded[:start] + metadata + coded[start:]


def _box(kind: bytes, payload: bytes) -> bytes:
    if len(payload) > 0xFFFFFFFF - 8:
        return struct.pack(">I4sQ", 1, kind, 16 + len(payload)) + payload
    return struct.pack(">I4s", 8 + len(payload), kind) + payload
