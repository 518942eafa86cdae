"""Pictures that Pillow would reduce from 16 bits per channel to 8, or read wrongly or very slowly.

Colour PNG is read and written by imagecodecs and colour TIFF is read by tifffile, which come with the extra
`deep`; PPM is simple enough to need neither. Pillow reads and writes grey PNG and TIFF of 16 bits, and
`rave_runtime.photos.tiff.structure` writes every TIFF. JPEG 2000 of other depths than 8 bits is read by
imagecodecs: where Pillow reduces bits, white becomes black, and below 8 bits it becomes grey. Colour HEIC
of 10 and 12 bits, as cameras write it, is read by pillow-heif without Pillow, and written with 10. TIFF
whose channels lie apart is also read by tifffile where it has transparency, whatever its bits: Pillow takes
one channel for another. So is grey with white as 0 beside transparency, which Pillow does not know.
"""

from __future__ import annotations

import io
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.arrays import Pixels, is_wide, wide_pixels, with_fourth_byte
from rave_runtime.errors import PhotoError
from rave_runtime.photos.codecs.interlaced_png import is_interlaced, read_interlaced
from rave_runtime.photos.png import LEVEL, chunks, without_chunks

Deep = NDArray[np.uint16]

_APART: Final = 2
"""TIFF's number for a file that has all values of one channel before those of the next."""

_RAW: Final = 1
"""TIFF's number for no compression."""

_WHITE_IS_ZERO: Final = 0
_COLOURS: Final = {_WHITE_IS_ZERO: 1, 1: 1, 2: 3}
"""Channels of the colour itself, by TIFF's number for the two kinds of grey and for RGB."""

_CODESTREAM: Final = b"\xff\x4f\xff\x51"
"""How the codestream of a JPEG 2000 begins; the depth of its first channel is 42 bytes on."""

_ASSOCIATED: Final = 1
_UNASSOCIATED: Final = 2
"""TIFF's numbers for alpha with which the colours have been multiplied, and for other alpha."""


def is_deep(image: Image.Image, content: bytes) -> bool:
    """Tells whether Pillow would reduce a picture to 8 bits, mix up its channels or give wrong values.

    Args:
        image: the picture, opened and not loaded.
        content: its file.
    """
    if image.format == "PNG":
        return image.mode != "I;16" and any("16B" in str(tile[3]) for tile in getattr(image, "tile", ()))
    if image.format == "PPM":
        return _ppm_maximum(image) > 0
    if image.format == "HEIF":
        return image.mode in ("RGB", "RGBA") and image.info.get("bit_depth", 8) > 8
    if image.format == "JPEG2000":
        return image.mode in ("L", "LA", "RGB", "RGBA", "CMYK") and jpeg_2000_bits(content) != 8
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(258, ())
        is_apart = tags.get(284) == _APART and tags.get(262) in _COLOURS
        is_misread = len(bits) in (2, 5) or (len(bits) == 4 and tags.get(259) == _RAW)
        is_inverted = tags.get(262) == _WHITE_IS_ZERO
        return len(bits) > 1 and (max(bits) == 16 or is_inverted or (is_apart and is_misread))
    return False


def jpeg_2000_bits(content: bytes) -> int:
    """Returns the bits of a JPEG 2000's first channel by its header; 8 where they cannot be found."""
    depth = content[(start := content.find(_CODESTREAM)) + 42 : start + 43]
    return (depth[0] & 0x7F) + 1 if start >= 0 and depth else 8


def read_deep(content: bytes, image: Image.Image) -> Pixels:
    """Reads the pixels of a picture for which `is_deep` holds, as they are stored (not upright).

    Returns:
        [h, w, 1 to 4] uint8 or uint16.

    Raises:
        PhotoError: the libraries are missing, or the pixels have an unexpected layout.
    """
    pixels: Pixels
    if image.format == "PNG":
        pixels = _read_png(content, image.info.get("transparency"))
    elif image.format == "PPM":
        pixels = _read_ppm(content, image)
    elif image.format == "JPEG2000":
        pixels = _read_jpeg_2000(content, image.mode)
    elif image.format == "HEIF":
        pixels = _read_heif(content, image.info["bit_depth"])
    else:
        pixels = _read_tiff(content)
    width, height = image.size
    if (
        pixels.dtype not in (np.uint8, np.uint16)
        or sorted(pixels.shape[:2]) != sorted((height, width))
        or pixels.ndim != 3
    ):
        raise PhotoError(f"has an unexpected layout: {list(pixels.shape)} {pixels.dtype}")
    return pixels


def write_deep_png(pixels: Deep) -> bytes:
    """Writes [h, w, 1 to 4] uint16 as a PNG without metadata."""
    try:
        import imagecodecs
    except ImportError:
        _missing("PNG")
    plain = pixels.squeeze(-1) if pixels.shape[2] == 1 else pixels
    return bytes(imagecodecs.png_encode(plain, level=LEVEL))


def write_deep_ppm(pixels: Deep) -> bytes:
    """Writes [h, w, 1 or 3] uint16 as PGM or PPM."""
    height, width, channels = pixels.shape
    head = f"P{6 if channels == 3 else 5}\n{width} {height}\n65535\n".encode()
    return head + pixels.astype(">u2").tobytes()


def deep_heif(pixels: Deep) -> Any:
    """Returns [h, w, 3 or 4] uint16 as a picture of pillow-heif, which saves it with 10 bits per channel."""
    import pillow_heif

    height, width, channels = pixels.shape
    stored = np.empty_like(pixels)
    for row, out in zip(pixels, stored, strict=True):
        out[:] = ((row.astype(np.uint32) * 1023 + 32767) // 65535) << 6
    mode = "RGB;16" if channels == 3 else "RGBA;16"
    return pillow_heif.from_bytes(mode=mode, size=(width, height), data=stored.data.cast("B"))


def to_8_bits(pixels: Pixels) -> Pixels:
    """Returns uint16 pixels as uint8, rounded."""
    reduced: Pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return reduced


def _read_heif(content: bytes, bits: int) -> Deep:
    """Reads a HEIC of 10 or 12 bits, upright. pillow-heif gives its values as the highest of 16 bits."""
    import pillow_heif

    pixels = np.array(pillow_heif.open_heif(content, convert_hdr_to_8bit=False), np.uint16)
    for row in pixels:
        code = row.astype(np.uint32) >> (16 - bits)
        row[:] = (code * 65535 + 2 ** (bits - 1) - 1) // (2**bits - 1)
    return pixels


def _read_png(content: bytes, transparent: object) -> Deep:
    try:
        import imagecodecs
    except ImportError:
        _missing("PNG")
    # imagecodecs swaps the bytes of pictures with a transparent colour, and libpng prints what it dislikes in
    # other chunks: they see the pixels only
    content = without_chunks(content, {kind for kind, _ in chunks(content)} - {b"IHDR", b"IDAT", b"IEND"})
    decode = imagecodecs.png_decode
    pixels = np.asarray(read_interlaced(content, decode) if is_interlaced(content) else decode(content))
    if isinstance(transparent, tuple) and pixels.shape[2:] == (3,):
        is_opaque = np.any(pixels != np.array(transparent), 2)
        return np.dstack([pixels, np.where(is_opaque, 65535, 0).astype(np.uint16)])
    return pixels


def _read_tiff(content: bytes) -> Pixels:
    """Reads the first page of a grey or RGB TIFF that `is_deep` names, with tifffile."""
    what = "of 16 bits per channel, with its channels apart, or with white as 0 beside transparency"
    try:
        import tifffile
    except ImportError:
        _missing("TIFF", what)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page: Any = file.pages.first
        colours = _COLOURS.get(int(page.photometric), 0)
        if not colours:
            raise PhotoError("is a 16-bit TIFF that is not RGB: convert it to RGB first, keeping the 16 bits")
        try:
            pixels = page.asarray()
        except ValueError as error:
            if "imagecodecs" in str(error):
                _missing("TIFF", what)
            raise
        if int(page.planarconfig) == 2:
            pixels = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
        meanings = tuple(map(int, page.extrasamples))
        if meanings:  # a channel of no stated meaning, such as a scanner's infrared, is not transparency
            alphas = [
                colours + at for at, meaning in enumerate(meanings) if meaning in (_ASSOCIATED, _UNASSOCIATED)
            ]
            if pixels.shape[-1] != colours + len(alphas[:1]):
                pixels = pixels[..., [*range(colours), *alphas[:1]]]
            if alphas and meanings[alphas[0] - colours] == _ASSOCIATED and pixels.dtype.kind == "u":
                pixels = _unmultiplied(pixels)
        if int(page.photometric) == _WHITE_IS_ZERO:
            pixels[..., :colours] = np.iinfo(pixels.dtype).max - pixels[..., :colours]
        is_large = pixels.dtype.kind == "u" and pixels.dtype.itemsize > 1
        return np.asarray(pixels.astype(np.uint16, copy=False) if is_large else pixels)


def _unmultiplied(pixels: Pixels) -> Pixels:
    """Divides colours that were stored multiplied by their alpha by that alpha."""
    top = np.iinfo(pixels.dtype).max
    alpha = np.maximum(pixels[..., -1:], 1).astype(np.uint64)
    colour = np.minimum((pixels[..., :-1] * np.uint64(top) + alpha // 2) // alpha, top)
    return np.concatenate([colour.astype(pixels.dtype), pixels[..., -1:]], 2)


def _ppm_maximum(image: Image.Image) -> int:
    """Returns the largest value of a binary PPM or PGM that Pillow would scale itself; else 0."""
    codec, _, _, arguments = (getattr(image, "tile", None) or [("", (), 0, ())])[0]
    return int(arguments[1]) if codec == "ppm" else 0


def _read_ppm(content: bytes, image: Image.Image) -> Pixels:
    """Reads a binary PPM or PGM whose largest value is not 255; Pillow reads such a file pixel by pixel."""
    (width, height), top = image.size, _ppm_maximum(image)
    channels = 3 if image.mode == "RGB" else 1
    start: int = image.tile[0][2]  # type: ignore[attr-defined]
    count = width * height * channels
    size, most = (2, 65535) if top > 255 else (1, 255)
    lacking = size * count - (len(content) - start)
    if lacking > 0:
        raise PhotoError(f"is damaged or truncated: {lacking} bytes are missing")
    values = np.frombuffer(content, f">u{size}", count, start).reshape(height, width, channels)
    kind = np.uint16 if size == 2 else np.uint8
    if top == 65535:
        return values.astype(kind)
    scaled: Pixels = ((np.minimum(values, top).astype(np.uint32) * most + top // 2) // top).astype(kind)
    return scaled


def _read_jpeg_2000(content: bytes, mode: str) -> Pixels:
    """Reads a JPEG 2000 of any depth but 8 bits, on the scale of 8 bits if it has less, else of 16."""
    bits = jpeg_2000_bits(content)
    if mode == "CMYK":
        raise PhotoError(f"is a JPEG 2000 of {bits} bits per channel in CMYK: export it as a TIFF of 8 bits")
    try:
        import imagecodecs
    except ImportError:
        _missing("JPEG 2000", f"of {bits} bits per channel")
    values: Pixels = np.atleast_3d(imagecodecs.jpeg2k_decode(content))
    if values.dtype.kind not in "bu" or values.shape[2] != Image.getmodebands(mode) or bits > 16:
        raise PhotoError(f"is a JPEG 2000 of {bits} bits per channel of a rare kind: export it as a TIFF")
    if bits == 16:
        return values
    top, most = (1 << bits) - 1, 255 if bits < 8 else 65535
    scale = (np.arange(top + 1) * most + top // 2) // top
    pixels = np.empty(values.shape, np.uint8 if bits < 8 else np.uint16)
    for row, stored in zip(pixels, values, strict=True):  # all at once would take eight bytes a value
        row[...] = scale[stored]
    return pixels


def _missing(kind: str, what: str = "of 16 bits per channel") -> NoReturn:
    raise PhotoError(f"is a {kind} {what}: pip install 'rave-backlit[deep]' to read and write it whole")


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Turns pixels upright, [h, w, c]; `orientation` is EXIF's, 1 to 8. Their layout in memory stays."""
    if is_wide(pixels) and 2 <= orientation <= 8:  # whole pixels of four bytes are faster to move
        words = _turned(with_fourth_byte(pixels).view(np.uint32), orientation)
        result = wide_pixels(*words.shape[:2])
        with_fourth_byte(result).view(np.uint32)[...] = words
        return result
    upright: Pixels = _turned(pixels, orientation)
    return upright if upright is pixels else np.ascontiguousarray(upright)


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Returns a view of the pixels; their own order where the orientation is none that turns."""
    views = {
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels.swapaxes(0, 1)[:, ::-1],
        7: pixels.swapaxes(0, 1)[::-1, ::-1],
        8: pixels.swapaxes(0, 1)[::-1],
    }
    return views.get(orientation, pixels)


def over_white(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Returns pixels [h, w, c] over a white background, by their transparency [h, w] of the same dtype."""
    top = float(np.iinfo(pixels.dtype).max)
    share = alpha.astype(np.float32)[..., None] / top
    laid: Pixels = (pixels * share + top * (1 - share) + 0.5).astype(pixels.dtype)
    return laid
