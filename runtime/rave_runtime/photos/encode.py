"""Writing a photograph as it came: format, quality, profile and metadata."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rave_runtime.arrays import Pixels, is_wide, with_fourth_byte
from rave_runtime.errors import PhotoError, reason_of
from rave_runtime.photos.codecs.coding_notes import note_on_coding
from rave_runtime.photos.codecs.grey_as_colour import becomes_rgb, is_spread
from rave_runtime.photos.codecs.hdr import bring_back, colour_numbers_of
from rave_runtime.photos.codecs.limits import why_too_large
from rave_runtime.photos.codecs.odd_sampling import encode_odd_sampling, keeps_odd_sampling
from rave_runtime.photos.colour import convert_to_srgb, is_srgb
from rave_runtime.photos.decoders import decoding, register_heif
from rave_runtime.photos.exif import without_orientation
from rave_runtime.photos.fast_jpeg import bytes_written
from rave_runtime.photos.formats import format_named
from rave_runtime.photos.headers.bmp import add_bmp_profile
from rave_runtime.photos.jpeg import add_photoshop_resources, carry_jpeg
from rave_runtime.photos.metadata.fitting import MAX_JPEG_XMP, Metadata, fit_metadata
from rave_runtime.photos.metadata.grey_profile import is_grey_profile, rgb_of_grey_profile
from rave_runtime.photos.metadata.mark import Mark, mark_xmp
from rave_runtime.photos.metadata.photoshop import without_iptc
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.png import LEVEL, carry_png, raw_profile
from rave_runtime.photos.sixteen_bit import deep_heif, over_white, to_8_bits, write_deep_png, write_deep_ppm
from rave_runtime.photos.tiff.structure import write_tiff

DEFAULT_QUALITY: Final = 92
"""Quality of lossy output when the input's own cannot be kept."""

_TIFF_OPTIONS: Final = {"compression": "tiff_adobe_deflate"}
"""Compression of a TIFF whose photograph had another format; it loses nothing."""

_HEIC_LOSSLESS: Final = -1
"""The quality at which pillow-heif lets the encoder lose nothing."""

_HEIC_SPEED: Final = "superfast"
"""Speed of the HEIC encoder: its usual one takes 2.4 times as long, for files 5 % smaller."""

_HEIC_TILE_PX: Final = 2048
"""Side of the tiles of which a large HEIC consists, as those of phones do.

The encoder, x265, takes no picture of over 142 megapixels, and libde265, by which most programs read HEIC,
none whose coded pixels are one piece of over 16 MiB. A tile is far from both.
"""


class Encoded(NamedTuple):
    """A written picture: its bytes, and what a user should know of it."""

    content: bytes
    warnings: tuple[str, ...] = ()


def encode_photo(
    photo: Photo,
    pixels: Pixels,
    format: str,
    quality: int | None = None,
    mark: Mark | None = None,
    *,
    alone: bool = False,
) -> Encoded:
    """Encodes new pixels with an old photograph's metadata.

    Args:
        photo: the photograph that gives profile, metadata and encoding options.
        pixels: the new pixels, of the shape and dtype of `photo.pixels`.
        format: the name of a format that is written.
        quality: the quality of lossy formats, 1 to 100; None keeps a JPEG's own tables.
        mark: the mark that the photograph was enhanced, for files that can hold XMP; None adds none.
        alone: whether libraries start as few threads as they can.

    Raises:
        PhotoError: the format cannot hold these pixels, or its library is missing.
    """
    photo, pixels, notes = bring_back(photo, pixels, format)
    (height, width), row = pixels.shape[:2], format_named(format)
    if (reason := why_too_large(format, width, height)) is not None:
        raise PhotoError(reason)
    alpha = photo.alpha
    if alpha is not None and not row.has_alpha:
        pixels, alpha = over_white(pixels, alpha), None
        notes.append(f"{format} has no transparency: a white background was put behind the picture")
    keeps_colours = format != "JXL" or _is_srgb_colour(photo.icc_profile)
    is_deep_heif = format == photo.format == "HEIF" and pixels.shape[2] == 3
    if is_deep_heif and photo.save_options.get("bits") == 12:
        notes.append("HEIC has 10 bits per channel here: 12 were reduced, --format tiff keeps them")
    if pixels.dtype == np.uint16 and not is_deep_heif and not (row.has_16_bits and keeps_colours):
        pixels = to_8_bits(pixels)
        alpha = None if alpha is None else to_8_bits(alpha)
        note = f"{format} has 8 bits per channel here: 16 were reduced"
        if not keeps_colours:
            note = (
                "JXL has 8 bits per channel here outside of sRGB: 16 were reduced, --format tiff keeps them"
            )
        if photo.format != "RAW":  # nobody expects 16 bits in a JPEG of a raw file
            notes.append(note)
    if not row.has_profile and photo.icc_profile is not None and not is_srgb(photo.icc_profile):
        pixels = convert_to_srgb(pixels, photo.icc_profile)
        notes.append(f"{format} cannot state a colour space: the colours were converted to sRGB")
    all_channels = pixels if alpha is None else np.concatenate([pixels, alpha[..., None]], 2)
    is_carried = photo.format == format and photo.source is not None
    if is_grey_profile(photo.icc_profile) and becomes_rgb(photo, format, all_channels):
        photo = replace(photo, icc_profile=rgb_of_grey_profile(photo.icc_profile or b""))
        if photo.icc_profile is None:
            notes.append(f"its grey profile was left out: {format} stores this picture as colour")
    marked_xmp = None
    if mark is not None and row.has_metadata:
        marked_xmp = mark_xmp(photo.xmp, mark, MAX_JPEG_XMP if format == "JPEG" else None)
        photo = photo if marked_xmp is None else replace(photo, xmp=marked_xmp)
    metadata = Metadata() if is_carried else fit_metadata(photo, format)
    notes += metadata.notes
    if photo.format == format:
        notes += note_on_coding(photo, all_channels, quality)
    try:
        with decoding:
            content = _encode(
                photo, all_channels, format, quality, None if is_carried else metadata, marked_xmp, alone
            )
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError(f"cannot be written as {format}: it does not fit into memory") from error
    except Exception as error:  # encoders raise whatever they stumble over
        raise PhotoError(f"cannot be written as {format}: {reason_of(error)}") from error
    return Encoded(content, tuple(notes))


def _encode(
    photo: Photo,
    pixels: Pixels,
    format: str,
    quality: int | None,
    metadata: Metadata | None,
    marked_xmp: bytes | None,
    alone: bool,
) -> bytes:
    """Encodes the file.

    Without `metadata`, that of the photograph's own file is carried over verbatim, except that a packet
    `marked_xmp` replaces its XMP.
    """
    height, width, channels = pixels.shape
    if format == "TIFF":
        assert metadata is not None
        return _encode_tiff(photo, pixels, metadata)
    if format == "JXL":
        from rave_runtime.photos.codecs.jpeg_xl import encode_jxl  # other photographs do not wait for it

        assert metadata is not None
        is_lossless = photo.format == format and photo.save_options.get("lossless", False)
        profile = None if _is_srgb_colour(photo.icc_profile) else photo.icc_profile
        own_quality = None if is_lossless else DEFAULT_QUALITY
        return encode_jxl(pixels, quality or own_quality, profile, metadata.exif, metadata.xmp)
    if pixels.dtype == np.uint16 and format == "PPM":
        return write_deep_ppm(pixels.astype(np.uint16, copy=False))
    if pixels.dtype == np.uint16 and channels > 1 and format == "PNG":
        content = write_deep_png(pixels.astype(np.uint16, copy=False))
        if metadata is not None:
            carrier = _encode_by_pillow(photo, Image.new("L", (1, 1)), format, quality, metadata)
            content = carry_png(carrier, content, width, height, keep_icc=True)
    elif format == "JPEG" and metadata is None and quality is None and keeps_odd_sampling(photo.save_options):
        content = encode_odd_sampling(pixels, photo.save_options)
    else:
        is_deep_heif = pixels.dtype == np.uint16 and format == "HEIF"
        image = deep_heif(pixels.astype(np.uint16, copy=False)) if is_deep_heif else _image_of(pixels, format)
        content = _encode_by_pillow(photo, image, format, quality, metadata, alone)
    if metadata is not None or photo.source is None:
        return content
    carry = carry_png if format == "PNG" else carry_jpeg
    keep_icc, turn = photo.icc_profile is not None, photo.orientation
    return carry(photo.source, content, width, height, keep_icc=keep_icc, orientation=turn, xmp=marked_xmp)


def _image_of(pixels: Pixels, format: str) -> Image.Image:
    """Returns an image for Pillow to encode; pixels in the layout of its own are not copied for JPEG."""
    if format == "JPEG" and is_wide(pixels):
        memory = with_fourth_byte(pixels.view(np.uint8))
        return Image.frombuffer("RGBX", pixels.shape[1::-1], memory, "raw", "RGBX", 0, 1)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _encode_tiff(photo: Photo, pixels: Pixels, metadata: Metadata) -> bytes:
    """Encodes a TIFF, compressed like the input or else by Deflate, which loses nothing."""
    if is_spread(photo, pixels):
        pixels = pixels[..., [0, 0, 0, 1]]
    return write_tiff(
        pixels,
        photo.save_options if photo.format == "TIFF" else _TIFF_OPTIONS,
        icc_profile=photo.icc_profile,
        exif=metadata.exif,
        xmp=metadata.xmp,
        resources=without_iptc(metadata.resources or b""),
        iptc=metadata.iptc,
        dpi=photo.dpi,
    )


def _encode_by_pillow(
    photo: Photo,
    image: Any,
    format: str,
    quality: int | None,
    metadata: Metadata | None,
    alone: bool = False,
) -> bytes:
    """Encodes a picture of Pillow, or one of `deep_heif`, by its own method.

    Without `metadata`, that of the photograph's own file is carried over verbatim afterwards.
    """
    options: dict[str, Any] = {}
    if metadata is not None and format_named(format).has_metadata:
        options |= _metadata_options(photo, metadata, format)
    elif format == "BMP" and photo.dpi is not None:
        options["dpi"] = photo.dpi
    if format == "JPEG":
        options |= _jpeg_options(photo, quality, image.mode)
    elif format == "WEBP":
        is_lossless = quality is None and photo.format == "WEBP" and photo.save_options.get("lossless", False)
        options |= {
            "lossless": is_lossless,
            "exact": is_lossless,
            "quality": quality or _own_quality(photo, format),
        }
    elif format == "AVIF":
        options |= {"quality": quality or _own_quality(photo, format)} | ({"max_threads": 1} if alone else {})
        if photo.format == format and "subsampling" in photo.save_options:
            options["subsampling"] = photo.save_options["subsampling"]
    elif format == "HEIF":
        own_options = photo.save_options if photo.format == format else {}
        options["quality"] = quality or _own_quality(photo, format)
        options["enc_params"] = {"preset": _HEIC_SPEED} | ({"x265:pools": "none"} if alone else {})
        if math.prod(image.size) > _HEIC_TILE_PX**2 and "A" not in image.mode:
            options["tile_size"] = _HEIC_TILE_PX  # readers ignore the transparency of tiles
        options |= colour_numbers_of(photo)
        if "chroma" in own_options:
            options["enc_params"]["chroma"] = own_options["chroma"]
        if quality is None and own_options.get("lossless"):
            options["quality"] = _HEIC_LOSSLESS
            options |= {"matrix_coefficients": own_options["matrix"]} if "matrix" in own_options else {}
    elif format == "PNG":
        options["compress_level"] = LEVEL
    if format == "HEIF" and not register_heif():
        raise PhotoError("cannot be written as HEIC: pip install 'rave-backlit[heif]'")
    if format == "JPEG":
        content = bytes_written(lambda file: image.save(file, format, **options))
    else:
        file = io.BytesIO()
        image.save(file, format=format, **options)
        content = file.getvalue()
    if format == "JPEG" and metadata is not None and metadata.resources is not None:
        return add_photoshop_resources(content, metadata.resources)
    if format == "BMP" and photo.icc_profile is not None:
        return add_bmp_profile(content, photo.icc_profile)
    return content


def _own_quality(photo: Photo, format: str) -> int:
    """Returns the quality of a lossy result: about the input's, where that has the same format."""
    own = photo.save_options.get("quality") if photo.format == format else None
    return own if isinstance(own, int) else DEFAULT_QUALITY


def _jpeg_options(photo: Photo, quality: int | None, mode: str) -> dict[str, Any]:
    options = dict(photo.save_options) if photo.format == "JPEG" else {}
    options.pop("sampling", None)
    if quality is not None or not options.get("qtables"):
        options.pop("qtables", None)
        options["quality"] = quality or DEFAULT_QUALITY
        options.setdefault("subsampling", 0 if (quality or DEFAULT_QUALITY) >= 90 else 2)
    if mode == "L":
        options.pop("subsampling", None)
    return options


def _metadata_options(photo: Photo, metadata: Metadata, format: str) -> dict[str, Any]:
    """Returns what Pillow's encoder of a format must be given to write the metadata."""
    options: dict[str, Any] = {}
    if photo.icc_profile is not None:
        options["icc_profile"] = photo.icc_profile
    if metadata.exif is not None:
        # Pillow would write an AVIF's EXIF anew to take the orientation out.
        options["exif"] = without_orientation(metadata.exif) if format == "AVIF" else metadata.exif
    if metadata.comment is not None and format == "JPEG":
        options["comment"] = metadata.comment
    if photo.dpi is not None and format in ("JPEG", "PNG"):
        options["dpi"] = photo.dpi
    if format == "PNG":
        text = PngInfo()
        if metadata.xmp is not None:
            text.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"))
        if metadata.resources is not None:
            text.add_text("Raw profile type iptc", raw_profile("iptc", metadata.resources), zip=True)
        if metadata.comment is not None:
            text.add_itxt("Comment", metadata.comment.decode("utf-8", "replace"))
        options["pnginfo"] = text
    elif metadata.xmp is not None:
        options["xmp"] = metadata.xmp
    return options


def _is_srgb_colour(icc_profile: bytes | None) -> bool:
    return is_srgb(icc_profile) and not is_grey_profile(icc_profile)
