"""The blocks that an opened picture's file has beside its pixels: colour profile, EXIF, XMP and captions."""

from __future__ import annotations

from typing import Final

from PIL import Image

from rave_runtime.photos.colour import is_profile_of_others
from rave_runtime.photos.exif import EXIF_HEADER, avif_exif
from rave_runtime.photos.headers.boxes import photograph_properties
from rave_runtime.photos.jpeg import jpeg_segments
from rave_runtime.photos.metadata.containers import gif_xmp, jp2_blocks, webp_blocks
from rave_runtime.photos.metadata.grey_profile import is_grey_profile, rgb_of_grey_profile
from rave_runtime.photos.photo import Blocks
from rave_runtime.photos.png import png_blocks
from rave_runtime.photos.tiff.structure import tiff_blocks

_PROFILE_SEGMENT: Final = b"ICC_PROFILE\0"


def read_blocks(image: Image.Image, content: bytes) -> Blocks:
    """Reads the blocks of a file that Pillow has opened."""
    notes: tuple[str, ...] = ()
    iptc = None
    if image.format in ("PNG", "TIFF"):
        icc, exif, xmp, _, notes = png_blocks(content) if image.format == "PNG" else tiff_blocks(content)
    else:
        icc, exif, xmp = (image.info.get(name) for name in ("icc_profile", "exif", "xmp"))
        if image.format == "AVIF":
            exif = avif_exif(image) or exif
        elif image.format == "JPEG2000":
            exif, xmp, iptc = jp2_blocks(content)
        elif image.format == "WEBP" and not (exif and xmp):
            exif, xmp = (own or other for own, other in zip((exif, xmp), webp_blocks(content), strict=True))
        elif image.format == "GIF":
            xmp = gif_xmp(content)
        elif image.format == "JPEG" and not icc and (parts := _parts_of_profile(content)):
            icc = _joined(parts)  # Pillow takes only what stands before the frame's header
            notes = () if icc else ("its colour profile is incomplete and was left out",)
    # Pillow opens grey PNG with alpha of 16 bits as RGBA.
    mode = "LA" if image.format == "PNG" and content[25] == 4 else image.mode
    if isinstance(icc, bytes) and is_profile_of_others(icc, mode):
        icc = rgb_of_grey_profile(icc) if is_grey_profile(icc) and _is_stored_grey(image, content) else None
        if icc is None:
            notes = (*notes, "its colour profile is not one for such pixels and was left out")
    if isinstance(exif, bytes) and not exif.startswith(EXIF_HEADER):
        exif = EXIF_HEADER + exif
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8", "surrogateescape")
    return Blocks(
        icc if isinstance(icc, bytes) and icc else None,
        exif if isinstance(exif, bytes) and len(exif) > len(EXIF_HEADER) else None,
        xmp if isinstance(xmp, bytes) and xmp else None,
        iptc,
        notes,
    )


def _is_stored_grey(image: Image.Image, content: bytes) -> bool:
    """Tells whether an AVIF or HEIC has grey pixels, which decoders may give as colour."""
    return image.format in ("AVIF", "HEIF") and any(
        kind == b"pixi" and data[4:5] == b"\1" for kind, data in photograph_properties(content)
    )


def _parts_of_profile(jpeg: bytes) -> list[bytes]:
    """Returns what the segments of a JPEG's colour profile hold; some of them may be missing."""
    return [
        payload[len(_PROFILE_SEGMENT) :]
        for marker, payload in jpeg_segments(jpeg)
        if marker == 0xE2 and payload.startswith(_PROFILE_SEGMENT)
    ]


def _joined(parts: list[bytes]) -> bytes | None:
    """Joins the parts of a profile, each behind its number and their count; None where they do not fit."""
    parts, count = sorted(parts), len(parts)
    if count > 255 or [part[:2] for part in parts] != [bytes([at + 1, count]) for at in range(count)]:
        return None
    return b"".join(part[2:] for part in parts)
