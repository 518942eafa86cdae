"""Reading a photograph from a file into memory."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from rave_runtime.errors import PhotoError
from rave_runtime.files.location import Location, RemoteFile
from rave_runtime.photos.codecs.hdr import sdr_view
from rave_runtime.photos.codecs.opening import read_by_codec
from rave_runtime.photos.colour import cmyk_to_rgb, convert_to_srgb, is_srgb, is_without_grey, to_srgb
from rave_runtime.photos.decoders import (
    END_OF_JPEG,
    UNKNOWN_FORMAT,
    bits_per_channel,
    decoding,
    lacks_only_its_end,
    open_picture,
    to_pixels,
)
from rave_runtime.photos.exif import orientation_of, upright_metadata
from rave_runtime.photos.fast_jpeg import DamagedJpegError, decode_jpeg
from rave_runtime.photos.formats import format_of_content
from rave_runtime.photos.headers.coding import coding_options
from rave_runtime.photos.headers.colour_codes import SRGB_TRANSFER
from rave_runtime.photos.headers.reasons import why_damaged
from rave_runtime.photos.headers.stated_colour import hdr_numbers, profile_of_numbers, stated_profile
from rave_runtime.photos.metadata.blocks import read_blocks
from rave_runtime.photos.metadata.containers import orientation_in_heif
from rave_runtime.photos.metadata.left_behind import note_left_behind
from rave_runtime.photos.photo import DEFAULT_MAX_MEGAPIXELS, HdrOriginal, Photo, check_size
from rave_runtime.photos.png import missing_bytes, without_chunks
from rave_runtime.photos.sixteen_bit import is_deep, read_deep, to_8_bits, turned

_BYTES_PER_PIXEL: Final = 8
"""The most that a pixel takes in a file: colour and transparency of 16 bits, not compressed."""

_HEAD_BYTES: Final = 64
"""How many bytes of a file are read before it is known to be a picture."""

_METADATA_BYTES: Final = 1 << 28
"""How many bytes a file may hold beside its pixels."""

_EXTRA_SAMPLES: Final = 338
"""TIFF's tag for what channels beyond the colours mean: 0 unspecified, 1 and 2 transparency."""

_GREY_MODES: Final = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")

TURNS: Final[Mapping[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of each orientation upright; 1 is upright."""


def read_photo(
    source: Location | bytes, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS, *, wide: bool = False
) -> Photo:
    """Reads a photograph and turns it upright.

    Grey stays grey; palettes become colour; CMYK becomes sRGB by its profile, L*a*b* too, with a note;
    transparency is kept.

    Args:
        source: a file, or its bytes.
        max_megapixels: larger pictures are refused before they are decoded.
        wide: whether the pixels of a JPEG may lie four bytes apart, see `rave_runtime.arrays.wide_pixels`.

    Raises:
        PhotoError: it cannot be read, is not a picture, is truncated or too large, or would lose values
            (floating point, or 16 bits without the library for it).
    """
    content = source if isinstance(source, bytes) else read_file(source, max_megapixels)
    if not content:
        raise PhotoError("is empty (0 bytes)")
    try:
        with decoding:
            return read_by_codec(content, max_megapixels) or _decode(content, max_megapixels, wide)
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError("does not fit into memory") from error
    except Exception as error:  # decoders raise whatever a broken file makes them stumble over
        raise PhotoError(why_damaged(content, error)) from error


def load_rgb(source: Location | bytes) -> NDArray[np.uint8]:
    """Reads the pixels of a picture as a network sees them, for training, calibration and measuring.

    Only decoders of the formats in `rave_runtime.photos.formats` run, whatever the file's name is.

    Args:
        source: a file, or its bytes.

    Returns:
        [h, w, 3] uint8, sRGB, upright; grey in all three channels, 16 bits reduced, transparency left out.

    Raises:
        PhotoError: as `read_photo`.
    """
    photo = read_photo(source)
    pixels = to_8_bits(photo.pixels) if photo.pixels.dtype == np.uint16 else photo.pixels
    if photo.icc_profile is not None and not is_srgb(photo.icc_profile):
        pixels = convert_to_srgb(pixels, photo.icc_profile)
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), np.uint8)


def read_file(path: Location, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS, follow: bool = True) -> bytes:
    """Reads a file's bytes, unless it is not a file, or is larger than a photograph of that size can be.

    A symbolic link is read as the file that it leads to, or is refused where `follow` is False.

    Raises:
        PhotoError: it cannot be read or is refused.
    """
    limit = file_limit_bytes(max_megapixels)
    if isinstance(path, RemoteFile):
        content = path.read(limit + 1)
        check_file_size(len(content), limit, max_megapixels)
        return content
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    flags |= 0 if follow else getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags)  # O_NONBLOCK: a pipe without a writer does not block
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise PhotoError("is a folder, not a photograph")
            if not stat.S_ISREG(status.st_mode):
                raise PhotoError("is a pipe or a device, not a file")
            check_file_size(status.st_size, limit, max_megapixels)
            with open(descriptor, "rb", closefd=False) as stream:
                head = stream.read(_HEAD_BYTES)
                if head and format_of_content(head) is None:
                    raise PhotoError(UNKNOWN_FORMAT)
                stream.seek(0)
                return stream.read()
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise PhotoError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def file_limit_bytes(max_megapixels: float) -> int:
    """Returns the size, in bytes, that no file of a photograph of that many megapixels exceeds."""
    return int(min(max_megapixels, 1e9) * 1e6) * _BYTES_PER_PIXEL + _METADATA_BYTES


def check_file_size(size: int, limit: int, max_megapixels: float) -> None:
    """Refuses a file that is larger than a photograph can be.

    Raises:
        PhotoError: its size, in bytes, is over the limit.
    """
    if size > limit:
        raise PhotoError(
            f"has {size / 1e9:.1f} GB, more than {max_megapixels:g} megapixels can need: "
            "raise it with --max-megapixels if the file can be trusted"
        )


def _decode(content: bytes, max_megapixels: float, wide: bool) -> Photo:
    """Decodes a photograph whose format Pillow reads: pixels upright, and everything else beside them."""
    with open_picture(without_chunks(content)) as image:
        _check_size(image, max_megapixels)
        name = str(image.format)
        options = coding_options(image, content)
        blocks = read_blocks(image, content)
        exif, xmp = blocks.exif, blocks.xmp
        notes = (*_notes(image, content), *blocks.notes)
        hdr = None
        if name == "HEIF" and is_deep(image, content):
            hdr = hdr_numbers(content, blocks.icc_profile)
        if hdr is not None:
            icc = profile_of_numbers(hdr[0], SRGB_TRANSFER, grey=False)  # that of what SDR shows
        else:
            icc = stated_profile(name, content, blocks.icc_profile, exif, grey=image.mode in _GREY_MODES)
        orientation = orientation_of(exif, xmp)
        if name == "AVIF":  # Pillow writes what the container says into the EXIF
            orientation = orientation_of(image.info.get("exif"), None)
        elif name == "HEIF":
            orientation = orientation_in_heif(content, image.info.get("original_orientation"))
        notes = (*notes, *note_left_behind(name, content, xmp, orientation))
        jpeg_pixels = None
        if name == "JPEG":
            try:
                jpeg_pixels = decode_jpeg(content, image.mode, *image.size, wide)
            except DamagedJpegError:
                notes = (*notes, "it is damaged: a part of the picture is grey or has wrong colours")
        if jpeg_pixels is not None:
            pixels = turned(jpeg_pixels, orientation)
        elif is_deep(image, content):
            stored = read_deep(content, image)
            pixels = stored if name == "HEIF" else turned(stored, orientation)  # its decoder does
        else:
            try:
                image.load()
            except OSError:
                if name != "JPEG" or not lacks_only_its_end(content):
                    raise
                photo = _decode(content + END_OF_JPEG, max_megapixels, wide)
                return replace(
                    photo, warnings=(*photo.warnings, "its last two bytes are missing; the picture is whole")
                )
            if name == "PNG" and _ends_blank(image) and missing_bytes(content):
                raise PhotoError(
                    f"is damaged or truncated: {missing_bytes(content)} bytes of pixels are missing"
                )
            turn = TURNS.get(orientation) if name not in ("HEIF", "TIFF") else None  # decoders do
            upright = image
            if turn is not None:
                upright = image.transpose(turn)
                image.close()  # two copies are enough
            if upright.mode in ("CMYK", "LAB"):
                notes = (*notes, f"its {upright.mode} colours were converted to sRGB")
                upright = cmyk_to_rgb(upright, icc) if upright.mode == "CMYK" else upright
                icc = None
            pixels = to_pixels(upright)
        if name == "JPEG" and image.mode == "RGB" and icc is not None and is_without_grey(icc):
            notes = (*notes, "its colours, which are of another kind than RGB (XYB), were converted to sRGB")
            pixels, icc, options = to_srgb(pixels.astype(np.uint8, copy=False), icc), None, {}
        dpi = image.info.get("dpi") if _tells_resolution(image) else None
    original = None
    if hdr is not None:
        original = HdrOriginal(pixels[..., :3].astype(np.uint16), *hdr)
        pixels[..., :3] = sdr_view(original.values, original.transfer)
    height, width, channels = pixels.shape
    upright_exif, upright_xmp, lost = upright_metadata(exif, xmp, width, height, orientation)
    return Photo(
        pixels=pixels if channels in (1, 3) else np.ascontiguousarray(pixels[..., :-1]),
        alpha=np.ascontiguousarray(pixels[..., -1]) if channels in (2, 4) else None,
        format=name,
        icc_profile=icc,
        exif=upright_exif,
        xmp=upright_xmp,
        iptc=blocks.captions,
        dpi=_sensible_dpi(dpi[::-1] if isinstance(dpi, tuple) and orientation >= 5 else dpi),
        save_options=options,
        source=content if name in ("JPEG", "PNG") else None,
        orientation=orientation,
        warnings=notes + lost,
        hdr=original,
    )


def _check_size(image: Image.Image, max_megapixels: float) -> None:
    width, height = image.size
    if not width or not height:
        raise PhotoError(f"has no pixels: its size is {width} x {height}")
    tags = getattr(image, "tag_v2", {})
    tile = tags.get(322, 1), tags.get(323, 1)
    for wide, high in ((width, height), tile):
        check_size(wide, high, max_megapixels)


def _ends_blank(image: Image.Image) -> bool:
    """Tells whether one of the last two rows is all zeros, as it was before decoding."""
    width, height = image.size
    rows = np.asarray(image.crop((0, max(0, height - 2), width, height)))
    return not all(row.any() for row in rows)


def _notes(image: Image.Image, content: bytes) -> tuple[str, ...]:
    notes = []
    if getattr(image, "is_animated", False):
        notes.append("only the first of its frames or pages was taken")
    meanings = getattr(image, "tag_v2", {}).get(_EXTRA_SAMPLES, ())
    unknown_count = len(meanings) - len([meaning for meaning in meanings if meaning in (1, 2)][:1])
    if unknown_count:
        what = "its further channel" if unknown_count == 1 else f"its {unknown_count} further channels"
        notes.append(f"{what} of no stated meaning, such as a scanner's infrared, was left out")
    bits = bits_per_channel(image, content)
    if bits > 8:
        notes.append(f"its {bits} bits per channel were read as 8")
    return tuple(notes)


def _tells_resolution(image: Image.Image) -> bool:
    """Tells whether the file has a resolution; for a TIFF without, Pillow says 1 dpi.

    For a JPEG whose EXIF only has the shape of its pixels, in no unit, Pillow takes the numbers for dpi, too.
    """
    if image.format in ("JPEG", "MPO") and not image.info.get("jfif_unit"):
        return image.getexif().get(ExifTags.Base.ResolutionUnit) != 1
    return not hasattr(image, "tag_v2") or ExifTags.Base.XResolution in image.tag_v2


def _sensible_dpi(dpi: object) -> tuple[float, float] | None:
    if not isinstance(dpi, tuple) or len(dpi) != 2:
        return None
    x, y = (float(value) for value in dpi)
    return (x, y) if math.isfinite(x) and math.isfinite(y) and 1 <= min(x, y) <= max(x, y) < 65536 else None
