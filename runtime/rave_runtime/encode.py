"""Writing a photograph as it came: format, quality, profile and metadata."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rave_runtime.deep import write_deep_png, write_deep_tiff
from rave_runtime.errors import PhotoError
from rave_runtime.metadata import carry_jpeg, carry_png
from rave_runtime.photo import Photo, Pixels, register_heif

DEFAULT_QUALITY: Final = 92
"""Of lossy formats whose input had no comparable quality."""

WRITABLE: Final = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "TIFF": ".tif",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "PPM": ".ppm",
    "AVIF": ".avif",
    "HEIF": ".heic",
}
"""Formats that are written, with their usual ending. Others that can be read become PNG."""

_TIFF_XMP: Final = 700
_DEEP_FORMATS: Final = ("PNG", "TIFF")


@dataclass(frozen=True)
class Encoded:
    """A written picture: its bytes, and what a user should know of it."""

    content: bytes
    warnings: tuple[str, ...] = ()


def output_format(input_format: str, wanted: str | None = None) -> str:
    """The format to write: the wanted one, the input's, or PNG where that cannot be written."""
    name = wanted or input_format
    return name if name in WRITABLE else "PNG"


def encode_photo(photo: Photo, pixels: Pixels, format: str, quality: int | None = None) -> Encoded:
    """Encodes new pixels with an old photograph's metadata.

    Args:
        photo: where profile, metadata and encoding options come from.
        pixels: like `photo.pixels`.
        format: a name in `WRITABLE`.
        quality: of lossy formats, 1 to 100; None keeps a JPEG's own tables.

    Raises:
        PhotoError: the format cannot hold these pixels, or its library is missing.
    """
    notes: list[str] = []
    alpha = photo.alpha
    if alpha is not None and format in ("JPEG", "BMP", "PPM"):
        pixels, alpha = _over_white(pixels, alpha), None
        notes.append(f"{format} has no transparency: the picture was laid on white")
    if pixels.dtype == np.uint16 and format not in _DEEP_FORMATS and format != "PPM":
        pixels = _to_8_bits(pixels)
        alpha = None if alpha is None else _to_8_bits(alpha)
        notes.append(f"{format} has 8 bits per channel here: 16 were reduced")
    elif pixels.dtype == np.uint16 and format == "PPM" and pixels.shape[2] == 3:
        pixels = _to_8_bits(pixels)
        notes.append("PPM has 8 bits per channel here: 16 were reduced")
    whole = pixels if alpha is None else np.concatenate([pixels, alpha[..., None]], 2)
    height, width = whole.shape[:2]
    same = photo.format == format and photo.source is not None
    if whole.dtype == np.uint16 and whole.shape[2] > 1:
        content = _encode_deep(photo, whole, format)
    else:
        image = Image.fromarray(whole.squeeze(-1) if whole.shape[2] == 1 else whole)
        content = _encode_by_pillow(photo, image, format, quality, carried=same)
    if same and photo.source is not None:
        carry = {"JPEG": carry_jpeg, "PNG": carry_png}[format]
        content = carry(photo.source, content, width, height, keep_icc=photo.icc_profile is not None)
    return Encoded(content, tuple(notes))


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
    if not carried and format not in ("BMP", "PPM"):
        options |= _metadata_options(photo, format)
    if format == "JPEG":
        options |= _jpeg_options(photo, quality, image.mode)
    elif format == "WEBP":
        lossless = photo.save_options.get("lossless", False) if photo.format == "WEBP" else False
        options |= {"lossless": lossless and quality is None, "quality": quality or DEFAULT_QUALITY}
    elif format in ("AVIF", "HEIF"):
        options["quality"] = quality or DEFAULT_QUALITY
    elif format == "TIFF" and "compression" in photo.save_options:
        options["compression"] = photo.save_options["compression"]
    if format == "HEIF" and not register_heif():
        raise PhotoError("cannot be written as HEIC: pip install 'rave-backlit[heif]'")
    buffer = io.BytesIO()
    try:
        image.save(buffer, format, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise PhotoError(f"cannot be written as {format}: {reason}") from error
    return buffer.getvalue()


def _jpeg_options(photo: Photo, quality: int | None, mode: str) -> dict[str, Any]:
    kept = dict(photo.save_options) if photo.format == "JPEG" else {}
    if quality is not None or "qtables" not in kept:
        kept.pop("qtables", None)
        kept["quality"] = quality or DEFAULT_QUALITY
        kept.setdefault("subsampling", 0 if (quality or DEFAULT_QUALITY) >= 90 else 2)
    if mode == "L":
        kept.pop("subsampling", None)
    return kept


def _metadata_options(photo: Photo, format: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if photo.icc_profile is not None:
        options["icc_profile"] = photo.icc_profile
    if photo.exif is not None:
        options["exif"] = photo.exif
    if photo.dpi is not None and format != "WEBP":
        options["dpi"] = photo.dpi
    if photo.xmp is not None:
        if format == "PNG":
            text = PngInfo()
            text.add_itxt("XML:com.adobe.xmp", photo.xmp.decode("utf-8", "replace"))
            options["pnginfo"] = text
        elif format == "TIFF":
            tags = Image.Exif()
            tags.load(photo.exif or b"")
            tags[_TIFF_XMP] = photo.xmp
            options["exif"] = tags.tobytes()
        else:
            options["xmp"] = photo.xmp
    return options


def _encode_deep(photo: Photo, pixels: Pixels, format: str) -> bytes:
    deep = pixels.astype(np.uint16, copy=False)
    if format == "TIFF":
        return write_deep_tiff(
            deep,
            photo.save_options.get("compression"),
            photo.icc_profile,
            photo.xmp,
            photo.dpi,
            photo.save_options.get("text", {}),
        )
    return write_deep_png(deep)


def _over_white(pixels: Pixels, alpha: Pixels) -> Pixels:
    top = float(np.iinfo(pixels.dtype).max)
    share = alpha.astype(np.float32)[..., None] / top
    laid: Pixels = (pixels * share + top * (1 - share) + 0.5).astype(pixels.dtype)
    return laid


def _to_8_bits(pixels: Pixels) -> Pixels:
    reduced: Pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return reduced
