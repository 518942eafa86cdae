"""A photograph in memory, and reading one from a file."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from rave_runtime.colour import cmyk_to_rgb
from rave_runtime.deep import is_deep, read_deep, tiff_text
from rave_runtime.errors import PhotoError
from rave_runtime.metadata import is_lossless_webp, tiff_exif, upright_exif, upright_xmp

Pixels = NDArray[np.unsignedinteger[Any]]
"""uint8 or uint16."""

DEFAULT_MAX_MEGAPIXELS: Final = 300.0
"""Larger pictures are refused unless the limit is raised: a small file can claim any size."""

SUFFIXES: Final[Mapping[str, str]] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".jp2": "JPEG2000",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
"""Endings of files that count as photographs, and the format each is written in by name."""

_ORIENTATION: Final = 0x0112
_open_lock = threading.Lock()


@dataclass(frozen=True)
class Photo:
    """A photograph, upright, and what its file says beside the pixels.

    Attributes:
        pixels: [h, w, 3] or, for grey, [h, w, 1]; uint8 or uint16, in the space of the profile.
        alpha: [h, w] of the same dtype, or None.
        format: of the file it came from, as Pillow names it.
        icc_profile: colour space of the pixels; None is sRGB.
        exif, xmp: their blocks, made upright; None where the file has none.
        dpi: horizontal and vertical.
        save_options: what keeps the encoding like the input's, for `rave_runtime.encode`.
        source: the file's bytes, for formats whose metadata is carried over verbatim.
        warnings: what a user should know, such as further frames that were left behind.
    """

    pixels: Pixels
    format: str
    alpha: Pixels | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    save_options: Mapping[str, Any] = field(default_factory=dict)
    source: bytes | None = None
    warnings: tuple[str, ...] = ()


def read_photo(source: Path | bytes, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> Photo:
    """Reads a photograph and turns it upright.

    Grey stays grey; palettes become colour; CMYK becomes sRGB by its profile; transparency is kept.

    Args:
        source: a file, or its bytes.
        max_megapixels: larger pictures are refused before they are decoded.

    Raises:
        PhotoError: it cannot be read, is no picture, truncated, too large, or of a kind (floating
            point, 16 bits without the library for it) that would lose values.
    """
    if isinstance(source, Path):
        try:
            content = source.read_bytes()
        except OSError as error:
            raise PhotoError(f"cannot be read: {error.strerror or error}") from error
    else:
        content = source
    if not content:
        raise PhotoError("is empty (0 bytes)")
    try:
        return _decode(content, max_megapixels)
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError("does not fit into memory") from error
    except Exception as error:  # decoders raise whatever a broken file makes them stumble over
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise PhotoError(f"is damaged or truncated: {reason}") from error


def _decode(content: bytes, max_megapixels: float) -> Photo:
    with _open(content) as image:
        width, height = image.size
        if not width or not height:
            raise PhotoError(f"has no pixels: its size is {width} x {height}")
        if width * height > max_megapixels * 1e6:
            raise PhotoError(
                f"is {width} x {height}, over the limit of {max_megapixels:g} megapixels: "
                "raise it with --max-megapixels if the file can be trusted"
            )
        notes = []
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":
            notes.append(f"only the first of {frames} frames was taken")
        options = _save_options(image, content)
        pixels: Pixels
        if is_deep(image):
            pixels = read_deep(content, image)
            orientation = image.getexif().get(_ORIENTATION, 1)
            icc = image.info.get("icc_profile")
            exif, xmp = _blocks(image)
        else:
            image.load()
            exif, xmp = _blocks(image)
            icc = image.info.get("icc_profile")
            orientation = image.getexif().get(_ORIENTATION, 1)
            if image.mode == "CMYK":
                converted = cmyk_to_rgb(image, icc)
                icc, options = None, {}
            else:
                converted = _to_known_mode(image)
            pixels = _to_array(converted)
        if orientation in range(2, 9):
            pixels = np.ascontiguousarray(_turn(pixels, orientation))
        height, width = pixels.shape[:2]
        channels = pixels.shape[2]
        dpi = image.info.get("dpi")
        name = "JPEG" if image.format == "MPO" else image.format or "PNG"
        return Photo(
            pixels=pixels if channels in (1, 3) else np.ascontiguousarray(pixels[..., :-1]),
            alpha=np.ascontiguousarray(pixels[..., -1]) if channels in (2, 4) else None,
            format=name,
            icc_profile=icc if isinstance(icc, bytes) else None,
            exif=upright_exif(exif, width, height) if exif else None,
            xmp=upright_xmp(xmp) if xmp else None,
            dpi=(float(dpi[0]), float(dpi[1])) if isinstance(dpi, tuple) and len(dpi) == 2 else None,
            save_options=options,
            source=content if name in ("JPEG", "PNG") else None,
            warnings=tuple(notes),
        )


def _open(content: bytes) -> Image.Image:
    """Opens without Pillow's own size limit, which is lower and not for the user to raise."""
    register_heif()
    with _open_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(io.BytesIO(content))
        except UnidentifiedImageError:
            if content[4:8] == b"ftyp" and content[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"heim"):
                raise PhotoError("is HEIC: pip install 'rave-backlit[heif]' to read it") from None
            raise PhotoError("is not a picture, or of a format that is not known here") from None
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def register_heif() -> bool:
    """Makes Pillow read and write HEIC where the library for it is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _to_known_mode(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode in ("RGB", "RGBA", "L", "LA", "I;16", "I;16L", "I;16B", "I;16N"):
        return image
    if mode in ("F", "I"):
        raise PhotoError(
            f"holds {'floating point' if mode == 'F' else '32-bit'} values, which have no agreed range: "
            "save it with 8 or 16 bits per channel"
        )
    if mode == "1":
        return image.convert("L")
    if mode in ("P", "PA", "RGBa"):
        return image.convert("RGBA" if mode != "P" or "transparency" in image.info else "RGB")
    if mode == "La":
        return image.convert("LA")
    return image.convert("RGB")


def _to_array(image: Image.Image) -> Pixels:
    if image.mode == "L" and isinstance(image.info.get("transparency"), int):
        image = image.convert("LA")
    elif image.mode == "RGB" and isinstance(image.info.get("transparency"), tuple):
        image = image.convert("RGBA")
    array = np.asarray(image)
    if image.mode.startswith("I;16"):
        array = array.astype(np.uint16)
    pixels: Pixels = array if array.ndim == 3 else array[..., None]
    return pixels


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    turned: dict[int, Pixels] = {
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels.swapaxes(0, 1)[:, ::-1],
        7: pixels.swapaxes(0, 1)[::-1, ::-1],
        8: pixels.swapaxes(0, 1)[::-1],
    }
    return turned[orientation]


def _blocks(image: Image.Image) -> tuple[bytes | None, bytes | None]:
    exif, xmp = image.info.get("exif"), image.info.get("xmp")
    if image.format == "TIFF":
        exif = tiff_exif(image)
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return exif if isinstance(exif, bytes) else None, xmp if isinstance(xmp, bytes) else None


def _save_options(image: Image.Image, content: bytes) -> dict[str, Any]:
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        options: dict[str, Any] = {"qtables": {k: list(v) for k, v in image.quantization.items()}}
        sampling = JpegImagePlugin.get_sampling(image)
        if image.mode == "RGB":
            options["subsampling"] = sampling if sampling in (0, 1, 2) else 0
        if image.info.get("progressive"):
            options["progressive"] = True
        return options
    if image.format == "WEBP":
        return {"lossless": is_lossless_webp(content)}
    if image.format == "TIFF":
        compression = image.info.get("compression")
        kept = {} if compression in (None, "raw", "jpeg") else {"compression": compression}
        return kept | {"text": tiff_text(image)}
    return {}
