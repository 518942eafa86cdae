"""Colour pictures of 16 bits per channel, which Pillow would reduce to 8.

Read and written by imagecodecs (PNG) and tifffile (TIFF), which come with the extra `deep`.
"""

from __future__ import annotations

import io
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.errors import PhotoError

_TIFF_XMP: Final = 700
_TIFF_TEXT: Final = (270, 271, 272, 305, 306, 315, 33432)
"""ImageDescription, Make, Model, Software, DateTime, Artist, Copyright."""


def is_deep(image: Image.Image) -> bool:
    """Whether an opened (not loaded) picture is colour with 16 bits per channel."""
    if image.mode.startswith("I;16"):
        return False
    if image.format == "PNG":
        return any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, ())
        return len(bits) > 1 and max(bits) == 16 and image.mode in ("RGB", "RGBA", "RGBX", "CMYK")
    return False


def read_deep(content: bytes, image: Image.Image) -> NDArray[np.uint16]:
    """Pixels of such a picture, [h, w, 1 to 4] uint16, as stored (not upright).

    Raises:
        PhotoError: the libraries are missing, or the file is of a layout they do not give.
    """
    if image.format == "PNG":
        try:
            import imagecodecs
        except ImportError:
            _missing("PNG")
        pixels = imagecodecs.png_decode(content)
    else:
        try:
            import tifffile
        except ImportError:
            _missing("TIFF")
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page: Any = file.pages.first
            if getattr(page.photometric, "name", None) != "RGB":
                raise PhotoError(
                    "is a 16-bit TIFF that is not RGB: convert it to RGB first, keeping the 16 bits"
                )
            pixels = page.asarray()
            if page.planarconfig.name == "SEPARATE":
                pixels = np.moveaxis(pixels, 0, -1)
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint16 or pixels.ndim not in (2, 3):
        raise PhotoError(f"has an unexpected layout: {list(pixels.shape)} {pixels.dtype}")
    return pixels if pixels.ndim == 3 else pixels[..., None]


def write_deep_png(pixels: NDArray[np.uint16]) -> bytes:
    """[h, w, 1 to 4] uint16 -> PNG without metadata."""
    try:
        import imagecodecs
    except ImportError:
        _missing("PNG")
    return bytes(imagecodecs.png_encode(pixels.squeeze(-1) if pixels.shape[2] == 1 else pixels, level=6))


def write_deep_tiff(
    pixels: NDArray[np.uint16],
    compression: str | None,
    icc_profile: bytes | None,
    xmp: bytes | None,
    dpi: tuple[float, float] | None,
    text: dict[int, str],
) -> bytes:
    """[h, w, 3 or 4] uint16 -> TIFF.

    Args:
        pixels: colour, with alpha last.
        compression: as Pillow names it; None writes uncompressed.
        icc_profile: of the pixels.
        xmp: its block.
        dpi: horizontal and vertical.
        text: baseline tags such as Make, Model and Copyright, by number.
    """
    try:
        import tifffile
    except ImportError:
        _missing("TIFF")
    buffer = io.BytesIO()
    extra: list[tuple[int, str, int, Any, bool]] = [
        (tag, "s", 0, value, True) for tag, value in text.items() if tag not in (270, 305)
    ]
    if xmp is not None:
        extra.append((_TIFF_XMP, "B", len(xmp), xmp, True))
    known = {"tiff_lzw": "lzw", "tiff_adobe_deflate": "zlib", "tiff_deflate": "zlib", "zstd": "zstd"}
    tifffile.imwrite(
        buffer,
        pixels,
        photometric="rgb",
        compression=known.get(compression or ""),
        predictor=compression in known,
        extrasamples=["unassalpha"] if pixels.shape[2] == 4 else None,
        iccprofile=icc_profile,
        resolution=dpi,
        resolutionunit="inch" if dpi else None,
        description=text.get(270),
        software=text.get(305, False),
        metadata=None,
        extratags=extra,
    )
    return buffer.getvalue()


def tiff_text(image: Image.Image) -> dict[int, str]:
    """Baseline text tags of an opened TIFF, by number."""
    tags = getattr(image, "tag_v2", {})
    return {tag: str(tags[tag]) for tag in _TIFF_TEXT if isinstance(tags.get(tag), str)}


def _missing(kind: str) -> NoReturn:
    raise PhotoError(
        f"is a {kind} of 16 bits per channel: pip install 'rave-backlit[deep]' to read and write it whole"
    )
