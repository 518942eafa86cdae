"""Camera raw files, developed by LibRaw, which comes with the extra `raw`.

A photograph is developed with the white balance that the camera chose, in sRGB, at 16 bits, without LibRaw's
automatic brightening, which would lift one picture of a series more than the next. Cameras expose for their
own tone curves, so that the bare values look too dark: the picture gets one gain, in linear light, with which
its midtones are as bright as those of the preview that the camera stored, and a shoulder that rolls off what
the gain would clip. Contrast stays as the sensor saw it. Without a preview, the gain is a DNG's
BaselineExposure, or else 1.

Source: LibRaw's documentation; the DNG specification 1.7; IEC 61966-2-1 (sRGB).
"""

from __future__ import annotations

import functools
import io
import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import JpegImagePlugin

from rave_runtime.errors import PhotoError, reason_of
from rave_runtime.photos.codecs.raw_dng import apply_operations, without_jpeg_xl
from rave_runtime.photos.codecs.raw_kind import (
    COMPRESSION,
    HEIGHT,
    JPEG_XL,
    TIFF_LIKE,
    WIDTH,
    holds_floating_point,
    is_raw_tiff,
    sensor_picture,
    states_orientation_zero,
    why_incomplete,
)
from rave_runtime.photos.codecs.raw_metadata import number_in_raw, raw_captions, raw_metadata
from rave_runtime.photos.exif import upright_metadata
from rave_runtime.photos.formats import format_of_content
from rave_runtime.photos.headers.bounded import bounded
from rave_runtime.photos.headers.colour_codes import (
    LUMINANCE,
    SRGB,
    SRGB_CURVE,
    make_profile,
    srgb_encoded,
    srgb_light,
)
from rave_runtime.photos.photo import Photo, check_size
from rave_runtime.photos.xmp import without_development

_MISSING: Final = "is a camera's raw file: pip install 'rave-backlit[raw]' to develop it"
_FLOATING: Final = (
    "holds floating-point values of a kind that LibRaw does not develop: convert it to a DNG of whole "
    "numbers, or develop it to TIFF, first"
)
_ORIENTATIONS: Final = 1, 2, 4, 3, 5, 8, 6, 7
"""How EXIF numbers the turns and mirrorings that LibRaw makes, by LibRaw's number."""

_UNTURNED: Final = 0
_AS_STATED: Final = -1

_BASELINE_EXPOSURE: Final = 50730
_GAINS: Final = (0.5, 8.0)
"""Smallest and greatest gain: a preview that asks for more was made from another picture."""

_QUANTILES: Final = np.linspace(0.2, 0.8, 13)
_MIDTONES: Final = (0.01, 0.6)
"""Range of a preview's linear light in which its brightness is compared."""

_KNEE: Final = 0.75
"""Encoded value from which a lifted picture's highlights roll off."""

_WORDS: Final = {
    "Input/output error": "the file ends before the picture does",
    "Data error or unsupported file format": (
        "its pixels make no sense, or are of a kind that LibRaw does not know"
    ),
    "Image too big for processing": "its header states an impossible size",
    "Unspecified error": "LibRaw cannot decode its pixels",
}
"""What LibRaw says of damaged files, in words that a photographer knows."""

_MOST_PREVIEW: Final = 4
"""How many times the raw picture's pixels a preview may have: Foveon's has three times as many. A progressive
one takes 6 bytes of memory for each, whatever size is asked for."""

_SAMPLE_PX: Final = 512
_LUMA: Final = np.array(LUMINANCE, np.float32)
_STRIP_ROWS: Final = 64


def is_raw(content: bytes) -> bool:
    """Tells whether a file is a camera's raw file, by its content."""
    name = format_of_content(content)
    return name == "RAW" or (name == "TIFF" and is_raw_tiff(io.BytesIO(content)))


def raw_size(source: Path | bytes) -> tuple[int, int]:
    """Returns width and height of a raw file's sensor, in pixels, from its header.

    Raises:
        PhotoError: the library is missing, or it cannot read the file.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        picture = sensor_picture(file)
    if picture is not None and picture.first(COMPRESSION) == JPEG_XL:
        return picture.first(WIDTH), picture.first(HEIGHT)
    with _opened(source) as raw:
        return _size_of(raw)


def read_raw(content: bytes, max_megapixels: float, *, half_size: bool = False) -> Photo:
    """Develops a raw file.

    Args:
        content: the file.
        max_megapixels: larger pictures are refused before they are decoded.
        half_size: whether a picture of half the width and height is enough, which takes a fraction of the
            time: its pixels are made of four of the sensor's, and no colour is guessed.

    Returns:
        The photograph, upright, uint16, with an sRGB profile.

    Raises:
        PhotoError: the library is missing, it cannot read the file, or the picture is too large.
    """
    readable = without_jpeg_xl(content, max_megapixels)  # must live on: LibRaw reads the preview from it last
    with _opened(readable) as raw:
        width, height = _size_of(raw)
        check_size(width, height, max_megapixels)
        if (reason := why_incomplete(content)) is not None:
            raise PhotoError(reason)
        flip = _UNTURNED if states_orientation_zero(content) else _AS_STATED  # LibRaw takes 0 for 8
        orientation = 1 if flip == _UNTURNED else _ORIENTATIONS[raw.sizes.flip & 7]
        preview = functools.cache(lambda: _preview(raw))
        exif, xmp, notes = raw_metadata(content, lambda: _jpeg_of(preview()))
        pixels = _develop(raw, content, half_size, flip)
        if holds_floating_point(content) and _was_rounded_away(raw):
            raise PhotoError(_FLOATING)
        if _is_blank(raw):
            raise PhotoError("is damaged: all values of its raw picture are the same")
        gain = _gain_of(pixels, preview(), content, _MOST_PREVIEW * width * height)
    _lift(pixels, gain)
    height, width = pixels.shape[:2]
    xmp = without_development(xmp) if xmp else None
    exif, xmp, lost = upright_metadata(exif, xmp, width, height, orientation)
    return Photo(
        pixels=pixels,
        format="RAW",
        icc_profile=make_profile("sRGB", SRGB, SRGB_CURVE),
        exif=exif,
        xmp=xmp,
        iptc=raw_captions(content),
        orientation=orientation,
        warnings=notes + lost,
    )


def _size_of(raw: Any) -> tuple[int, int]:
    """Returns width and height of a raw file's picture, not yet turned, where its pixels become square."""
    sizes = raw.sizes
    width, height = max(sizes.raw_width, sizes.width), max(sizes.raw_height, sizes.height)
    aspect = sizes.pixel_aspect if sizes.pixel_aspect > 0 else 1.0
    return math.ceil(width * max(aspect, 1)), math.ceil(height * max(1 / aspect, 1))


def _opened(source: Path | bytes) -> AbstractContextManager[Any]:
    try:
        import rawpy
    except ImportError as error:
        raise PhotoError(_MISSING) from error
    try:
        opened: AbstractContextManager[Any] = rawpy.imread(
            io.BytesIO(source) if isinstance(source, bytes) else str(source)
        )
    except rawpy.LibRawError as error:
        is_floating = isinstance(source, bytes) and holds_floating_point(source)
        raise PhotoError(_FLOATING if is_floating else _refusal(rawpy, error)) from error
    return opened


def _refusal(rawpy: Any, error: Exception) -> str:
    if isinstance(error, rawpy.LibRawFileUnsupportedError):
        version = ".".join(map(str, rawpy.libraw_version))
        return (
            f"is a camera's raw file that LibRaw {version} cannot read, or is damaged: convert it to DNG, or "
            "develop it to TIFF, first"
        )
    return f"is damaged or truncated: {_reason(error)}"


def _reason(error: Exception) -> str:
    """Returns LibRaw's message, which comes as bytes."""
    words = error.args[0] if error.args else b""
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else reason_of(error)
    return _WORDS.get(text, text)


def _develop(raw: Any, content: bytes, half_size: bool, flip: int) -> NDArray[np.uint16]:
    """Returns linear light in sRGB's primaries: [h, w, 3] uint16, upright."""
    import rawpy

    try:
        developed = raw.postprocess(
            use_camera_wb=True,
            output_bps=16,
            no_auto_bright=True,
            gamma=(1, 1),
            output_color=rawpy.ColorSpace.sRGB,
            half_size=half_size,
            user_flip=flip,
            **apply_operations(raw, content),
        )
    except rawpy.LibRawError as error:
        raise PhotoError(_refusal(rawpy, error)) from error
    pixels: NDArray[np.uint16] = np.asarray(developed)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, 2)
    return np.ascontiguousarray(pixels[..., :3])


def _is_blank(raw: Any) -> bool:
    """Tells whether a developed file's raw values are all the same, as where LibRaw found no pixels."""
    values = raw.raw_image
    if values is None or not values.size:
        return False
    values = np.asarray(values)
    values = values[..., :3] if values.ndim == 3 else values
    return bool((values == values.flat[0]).all())


def _was_rounded_away(raw: Any) -> bool:
    """Tells whether LibRaw made whole numbers of floating-point values from 0 to 1 without scaling them."""
    values = raw.raw_image
    return values is not None and bool(np.max(values, initial=0) <= 1)


def _preview(raw: Any) -> Any:
    """Returns the largest picture inside the file as LibRaw gives it, or None."""
    import rawpy

    try:
        return raw.extract_thumb()
    except (rawpy.LibRawError, NotImplementedError):  # the latter for HEVC, as in CR3 for HDR PQ, and JPEG XL
        return None


def _jpeg_of(preview: Any) -> bytes | None:
    is_jpeg = preview is not None and str(preview.format).endswith("JPEG")
    return bytes(preview.data) if is_jpeg else None


def _gain_of(pixels: NDArray[np.uint16], preview: Any, content: bytes, most_preview_px: int) -> float:
    """Returns the gain that makes the midtones of linear pixels as bright as the preview's."""
    preview_light = _preview_light(preview, most_preview_px)
    step = max(1, max(pixels.shape[:2]) // _SAMPLE_PX)
    if preview_light is not None:
        levels = np.quantile((pixels[::step, ::step] / np.float32(65535)) @ _LUMA, _QUANTILES)
        goals = np.quantile(preview_light, _QUANTILES)
        is_comparable = (goals > _MIDTONES[0]) & (goals < _MIDTONES[1]) & (levels > 1e-4) & (levels < 0.95)
        if is_comparable.any():
            return float(np.clip(np.median(goals[is_comparable] / levels[is_comparable]), *_GAINS))
    stops = number_in_raw(content, _BASELINE_EXPOSURE) if content.startswith(TIFF_LIKE) else None
    return 1.0 if stops is None else float(np.clip(2.0 ** np.clip(stops, -5, 5), *_GAINS))


def _preview_light(preview: Any, most_px: int) -> NDArray[np.float32] | None:
    """Returns the linear luminance of a preview, [n]; None where there is none that can be read."""
    jpeg = _jpeg_of(preview)
    if jpeg is None:
        values = None if preview is None else np.asarray(preview.data)
        if values is None or values.ndim != 3 or values.shape[2] != 3 or values.dtype != np.uint8:
            return None
    else:
        try:
            with JpegImagePlugin.JpegImageFile(bounded(jpeg)) as image:
                if image.width * image.height > most_px:
                    return None
                image.draft("RGB", (_SAMPLE_PX, _SAMPLE_PX))
                values = np.asarray(image.convert("RGB"))
        except Exception:  # a preview that cannot be read counts as none
            return None
    step = max(1, max(values.shape[:2]) // _SAMPLE_PX)
    light: NDArray[np.float32] = _light_of_srgb()[values[::step, ::step]] @ _LUMA
    return light.ravel()


def _lift(pixels: NDArray[np.uint16], gain: float) -> None:
    """Gives linear pixels a gain, a shoulder where it would clip, and sRGB's curve, in place."""
    table = _tone_table(gain)
    for top in range(0, pixels.shape[0], _STRIP_ROWS):
        strip = pixels[top : top + _STRIP_ROWS]
        strip[...] = table[strip]


def _tone_table(gain: float) -> NDArray[np.uint16]:
    """Returns the encoded value of each of the 65536 linear values.

    Up to the knee k the table is sRGB's curve t of the light times the gain; above, it is
    k + (t - k) / (1 + c (t - k)), a hyperbola of the same slope at the knee that takes white to white.
    """
    values = srgb_encoded(np.linspace(0, 1, 65536) * gain)
    if gain > 1:
        over = values[-1] - _KNEE
        bend = (over / (1 - _KNEE) - 1) / over
        above = np.maximum(values - _KNEE, 0)
        values = np.where(values > _KNEE, _KNEE + above / (1 + bend * above), values)
    table: NDArray[np.uint16] = (np.clip(values, 0, 1) * 65535 + 0.5).astype(np.uint16)
    return table


@functools.cache
def _light_of_srgb() -> NDArray[np.float32]:
    """Returns the linear light of each 8-bit value of sRGB: [256] float32."""
    return srgb_light(np.arange(256) / 255).astype(np.float32)
