"""Writing a photograph as it came: format, quality, profile and metadata."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rave_runtime.errors import PhotoError, reason_of
from rave_runtime.photos.decoders import decoding, register_heif
from rave_runtime.photos.exif import tags_of, without_orientation
from rave_runtime.photos.formats import format_named
from rave_runtime.photos.jpeg import carry_jpeg, has_iptc
from rave_runtime.photos.photo import Photo, Pixels
from rave_runtime.photos.png import LEVEL, carry_png
from rave_runtime.photos.sixteen_bit import write_deep_png, write_deep_ppm, write_deep_tiff

DEFAULT_QUALITY: Final = 92
"""Of lossy formats whose input had no comparable quality."""


_TIFF_XMP: Final = 700
_TIFF_LOSSLESS: Final = ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "zstd", "lzma")
_JPEG_LIMITS: Final = {"exif": 65533, "xmp": 65533 - 29}
"""Bytes that fit into a JPEG's one segment of each kind."""


@dataclass(frozen=True)
class Encoded:
    """A written picture: its bytes, and what a user should know of it."""

    content: bytes
    warnings: tuple[str, ...] = ()


def encode_photo(photo: Photo, pixels: Pixels, format: str, quality: int | None = None) -> Encoded:
    """Encodes new pixels with an old photograph's metadata.

    Args:
        photo: where profile, metadata and encoding options come from.
        pixels: like `photo.pixels`.
        format: the name of a format that is written.
        quality: of lossy formats, 1 to 100; None keeps a JPEG's own tables.

    Raises:
        PhotoError: the format cannot hold these pixels, or its library is missing.
    """
    notes: list[str] = []
    height, width = pixels.shape[:2]
    row = format_named(format)
    longest = row.longest_side_px or width + height
    if max(width, height) > longest:
        raise PhotoError(
            f"cannot be written as {format}, whose sides have at most {longest} pixels: "
            f"it is {width} x {height}, which --format png can hold"
        )
    alpha = photo.alpha
    if alpha is not None and not row.has_alpha:
        pixels, alpha = _over_white(pixels, alpha), None
        notes.append(f"{format} has no transparency: the picture was laid on white")
    if pixels.dtype == np.uint16 and not row.has_16_bits:
        pixels = _to_8_bits(pixels)
        alpha = None if alpha is None else _to_8_bits(alpha)
        notes.append(f"{format} has 8 bits per channel here: 16 were reduced")
    whole = pixels if alpha is None else np.concatenate([pixels, alpha[..., None]], 2)
    carried = photo.format == format and photo.source is not None
    if not carried:
        photo, left_out = _fitting(photo, format)
        notes += left_out
    try:
        with decoding:
            content = _encode(photo, whole, format, quality, carried=carried)
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError(f"cannot be written as {format}: it does not fit into memory") from error
    except Exception as error:  # encoders raise whatever they stumble over
        raise PhotoError(f"cannot be written as {format}: {reason_of(error)}") from error
    return Encoded(content, tuple(notes))


def _encode(photo: Photo, pixels: Pixels, format: str, quality: int | None, *, carried: bool) -> bytes:
    height, width, channels = pixels.shape
    if pixels.dtype == np.uint16 and (channels > 1 or format == "PPM"):
        content = _encode_deep(photo, pixels.astype(np.uint16, copy=False), format)
        if format == "PNG" and not carried:
            carrier = _encode_by_pillow(photo, Image.new("L", (1, 1)), format, quality, carried=False)
            content = carry_png(carrier, content, width, height, keep_icc=True)
    else:
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        content = _encode_by_pillow(photo, image, format, quality, carried=carried)
    if not carried or photo.source is None:
        return content
    carry = carry_png if format == "PNG" else carry_jpeg
    return carry(photo.source, content, width, height, keep_icc=photo.icc_profile is not None)


def _encode_by_pillow(
    photo: Photo,
    image: Image.Image,
    format: str,
    quality: int | None,
    *,
    carried: bool,
) -> bytes:
    """Pillow's encoding; `carried` leaves out metadata that is carried over verbatim afterwards."""
    options: dict[str, Any] = {}
    if not carried and format_named(format).has_metadata:
        options |= _metadata_options(photo, format)
    elif format == "BMP" and photo.dpi is not None:
        options["dpi"] = photo.dpi
    if format == "JPEG":
        options |= _jpeg_options(photo, quality, image.mode)
    elif format == "WEBP":
        lossless = quality is None and photo.format == "WEBP" and photo.save_options.get("lossless", False)
        options |= {"lossless": lossless, "exact": lossless, "quality": quality or DEFAULT_QUALITY}
    elif format in ("AVIF", "HEIF"):
        options["quality"] = quality or DEFAULT_QUALITY
    elif format == "PNG":
        options["compress_level"] = LEVEL
    elif format == "TIFF":
        options["compression"] = _tiff_compression(photo)
    if format == "HEIF" and not register_heif():
        raise PhotoError("cannot be written as HEIC: pip install 'rave-backlit[heif]'")
    with _memory_file() if format == "JPEG" else io.BytesIO() as file:
        image.save(file, format, **options)
        file.seek(0)
        return file.read()


def _memory_file() -> BinaryIO:
    """A file in memory; where the system has such, one that Pillow encodes to without Python's lock.

    Into Python's own buffers Pillow encodes with the lock held: one photograph at a time, while the
    others wait.
    """
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):
            return open(os.memfd_create("rave-run"), "w+b", buffering=0)
    return io.BytesIO()


def _jpeg_options(photo: Photo, quality: int | None, mode: str) -> dict[str, Any]:
    kept = dict(photo.save_options) if photo.format == "JPEG" else {}
    if quality is not None or not kept.get("qtables"):
        kept.pop("qtables", None)
        kept["quality"] = quality or DEFAULT_QUALITY
        kept.setdefault("subsampling", 0 if (quality or DEFAULT_QUALITY) >= 90 else 2)
    if mode == "L":
        kept.pop("subsampling", None)
    return kept


def _tiff_compression(photo: Photo) -> str | None:
    """The input's, or a lossless one where the input's is for other pixels or loses more each time."""
    compression = photo.save_options.get("compression") if photo.format == "TIFF" else None
    if compression in (None, "raw", *_TIFF_LOSSLESS):
        return None if compression == "raw" else compression
    return "tiff_adobe_deflate"


def _fitting(photo: Photo, format: str) -> tuple[Photo, list[str]]:
    """The photograph without metadata that the format has no room for, and a word on each."""
    notes = []
    if not format_named(format).has_metadata and (photo.exif or photo.xmp or photo.icc_profile):
        notes.append(f"{format} has no room for EXIF, XMP and colour profile: they were left out")
    if photo.format == "JPEG" and photo.source is not None and has_iptc(photo.source):
        notes.append("its IPTC captions were left out: only JPEG to JPEG keeps them")
    for name, most in _JPEG_LIMITS.items() if format == "JPEG" else ():
        if len(getattr(photo, name) or b"") > most:
            photo = replace(photo, exif=None) if name == "exif" else replace(photo, xmp=None)
            notes.append(f"its {name.upper()} is over the {most} bytes that a JPEG holds: it was left out")
    return photo, notes


def _metadata_options(photo: Photo, format: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if photo.icc_profile is not None:
        options["icc_profile"] = photo.icc_profile
    if format == "TIFF":
        options["exif"] = tags_of(photo.exif)
    elif photo.exif is not None:
        # Pillow would write an AVIF's EXIF anew to take the orientation out.
        options["exif"] = without_orientation(photo.exif) if format == "AVIF" else photo.exif
    if photo.dpi is not None and format in ("JPEG", "PNG", "TIFF"):
        options["dpi"] = photo.dpi
    if photo.xmp is not None:
        if format == "PNG":
            text = PngInfo()
            text.add_itxt("XML:com.adobe.xmp", photo.xmp.decode("utf-8", "replace"))
            options["pnginfo"] = text
        elif format == "TIFF":
            options["exif"][_TIFF_XMP] = photo.xmp
        else:
            options["xmp"] = photo.xmp
    return options


def _encode_deep(photo: Photo, pixels: Pixels, format: str) -> bytes:
    deep = pixels.astype(np.uint16, copy=False)
    if format == "PPM":
        return write_deep_ppm(deep)
    if format == "PNG":
        return write_deep_png(deep)
    compression = _tiff_compression(photo)
    return write_deep_tiff(deep, compression, photo.icc_profile, photo.exif, photo.xmp, photo.dpi)


def _over_white(pixels: Pixels, alpha: Pixels) -> Pixels:
    top = float(np.iinfo(pixels.dtype).max)
    share = alpha.astype(np.float32)[..., None] / top
    laid: Pixels = (pixels * share + top * (1 - share) + 0.5).astype(pixels.dtype)
    return laid


def _to_8_bits(pixels: Pixels) -> Pixels:
    reduced: Pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return reduced
