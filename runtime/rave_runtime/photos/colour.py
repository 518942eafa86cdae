"""Colour spaces: what the network sees, and how light divides pixels that are not sRGB.

The network knows sRGB. A photograph in another RGB space (Adobe RGB, Display P3, ProPhoto) is shown
to it in sRGB, while its own pixels keep their space and profile. The light map divides values in
sRGB's encoding, so pixels with another tone curve are taken to that encoding and back, channel by
channel: with the same primaries throughout, nothing leaves the gamut.
"""

from __future__ import annotations

import functools
import io
import struct
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from rave_runtime.arrays import Array, Pixels
from rave_runtime.errors import PhotoError
from rave_runtime.photos.headers.colour_codes import srgb_encoded, srgb_light
from rave_runtime.photos.headers.icc import tags_of, values_of_curve
from rave_runtime.photos.metadata.grey_profile import light_of_lightness, states_lightness

_FAR_FROM_GREY: Final = 64
"""By how much sRGB's channels differ where equal ones of a space are no grey: 13 at most under 66 profiles of
cameras, scanners and screens, 168 under XYB's."""

_SRGB_COLUMNS: Final = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
"""XYZ of sRGB's primaries under D50, as columns. Source: IEC 61966-2-1, adapted by Bradford's matrix."""


def as_seen(
    pixels: NDArray[Any], icc_profile: bytes | None, *, is_in_srgb_curve: bool = False
) -> NDArray[Any]:
    """Returns pixels as the network sees them.

    Args:
        pixels: [h, w, 1 or 3] uint8 or uint16, or float32 in [0, 1] in sRGB's tone curve.
        icc_profile: their colour space; None is sRGB.
        is_in_srgb_curve: whether the pixels went through the table of `to_srgb_curve`, so that only their
            primaries are left to convert.

    Returns:
        [h, w, 3] of the same dtype, sRGB; where there is nothing to convert, the pixels themselves.
    """
    if pixels.shape[2] == 1:
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if icc_profile is None or pixels.dtype == np.float32 or is_srgb(icc_profile):
        return pixels
    if pixels.dtype == np.uint16:
        table = None if is_in_srgb_curve else to_srgb_curve(pixels.dtype, icc_profile)
        return pixels if table is None else np.take(table, pixels)
    return to_srgb(_in_own_curve(pixels, icc_profile) if is_in_srgb_curve else pixels, icc_profile)


def is_srgb(icc_profile: bytes | None) -> bool:
    """Tells whether RGB pixels with that profile are sRGB as far as 8 bits can tell.

    A profile that cannot be read, or that is not for RGB, counts as sRGB.
    """
    if icc_profile is None:
        return True
    return _probe(icc_profile) is None


def is_without_grey(icc_profile: bytes) -> bool:
    """Tells whether three equal channels are far from grey, as in XYB: there, light cannot divide them."""
    ramp = _probe(icc_profile)
    return ramp is not None and int(np.ptp(ramp.astype(int), axis=1).max()) > _FAR_FROM_GREY


def is_profile_of_others(icc_profile: bytes, mode: str) -> bool:
    """Tells whether a profile is for other pixels than an opened picture has, so that programs ignore it.

    Args:
        icc_profile: the profile.
        mode: the picture's mode as Pillow names it. Grey pixels may have a profile for colour.
    """
    space = icc_profile[16:20]
    is_colour = mode in ("RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "YCbCr")
    is_grey = mode in ("L", "LA", "La", "1") or mode.startswith("I")
    return (is_colour and space in (b"GRAY", b"CMYK")) or (is_grey and space == b"CMYK")


def to_srgb(pixels: NDArray[np.uint8], icc_profile: bytes) -> NDArray[np.uint8]:
    """Converts [h, w, 3] uint8 from the profile's space to sRGB by Little CMS, relative colorimetric."""
    transform = _transform(icc_profile, "RGB")
    if transform is None:
        return pixels
    return np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), transform))


def to_srgb_curve(dtype: np.dtype[Any], icc_profile: bytes | None) -> NDArray[Any] | None:
    """Returns a table of values as sRGB encodes their light, channel by channel; their primaries stay.

    Little CMS would take longer, and would reduce 16 bits to 8, whose steps would show in the light of smooth
    skies.

    Args:
        dtype: uint8 or uint16.
        icc_profile: the colour space; None is sRGB.

    Returns:
        [256] uint8 or [65536] uint16; None where the curve is sRGB's.
    """
    curve = tone_curve(icc_profile)
    if curve is None:
        return None
    top = int(np.iinfo(dtype).max)
    table = np.interp(np.linspace(0, 1, top + 1), np.linspace(0, 1, len(curve)), curve) * top
    return (table + 0.5).astype(dtype)


def _in_own_curve(pixels: NDArray[np.uint8], icc_profile: bytes) -> NDArray[np.uint8]:
    """Undoes the table of `to_srgb_curve`, within a step."""
    curve = tone_curve(icc_profile)
    if curve is None:
        return pixels
    table = np.interp(np.linspace(0, 1, 256), curve, np.linspace(0, 1, len(curve))) * 255
    return np.take((table + 0.5).astype(np.uint8), pixels)


def convert_to_srgb(pixels: Pixels, icc_profile: bytes) -> Pixels:
    """Converts pixels to sRGB, for formats that cannot state a colour space.

    Args:
        pixels: [h, w, 1 or 3] uint8 or uint16 in the profile's space. Little CMS converts 8 bits; 16 bits
            are converted here by the curve and the primaries that the profile states.
        icc_profile: the space of the pixels.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        PhotoError: the pixels have 16 bits, and the profile is a table without primaries.
    """
    if pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        return to_srgb(pixels.astype(np.uint8, copy=False), icc_profile)
    curve = tone_curve(icc_profile)
    identity = np.linspace(0, 1, 2 if curve is None else len(curve))
    top = np.iinfo(pixels.dtype).max
    encoded = np.interp(np.linspace(0, 1, top + 1), identity, identity if curve is None else curve)
    if pixels.shape[2] == 1:
        return (encoded * top + 0.5).astype(pixels.dtype)[pixels]
    columns = _primaries(icc_profile)
    if columns is None:
        raise PhotoError(
            "has 16 bits and a colour profile that is a table, which cannot be converted to sRGB here: "
            "choose a format that holds the profile, such as --format tiff or png"
        )
    linear = srgb_light(encoded)
    matrix = np.linalg.solve(_SRGB_COLUMNS, columns).astype(np.float32)
    table, result = linear.astype(np.float32), np.empty_like(pixels)
    for row, values in enumerate(pixels):
        light = np.clip(table[values] @ matrix.T, 0, 1)
        result[row] = srgb_encoded(light) * top + 0.5
    return result


def _primaries(icc_profile: bytes) -> NDArray[np.float64] | None:
    """Returns XYZ of red, green and blue as columns [3, 3]; None where the profile states none."""
    tags = tags_of(icc_profile)
    if b"A2B0" in tags:  # a table of colours overrules the primaries
        return None
    try:
        columns = [struct.unpack_from(">3i", tags[tag], 8) for tag in (b"rXYZ", b"gXYZ", b"bXYZ")]
    except (struct.error, KeyError):
        return None
    return np.array(columns, np.float64).T / 65536


def cmyk_to_rgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """Converts a CMYK picture to sRGB: by its profile, or by plain arithmetic where it has none."""
    if icc_profile is not None:
        transform = _transform(icc_profile, "CMYK")
        if transform is not None:
            return cast(Image.Image, ImageCms.applyTransform(image, transform))
    return image.convert("RGB")


@functools.lru_cache(maxsize=8)
def tone_curve(icc_profile: bytes | None) -> Array | None:
    """Returns the sRGB-encoded value of equally spaced values of a profile's space.

    Returns:
        [n] float32 from 0 to 1, rising; None where it is sRGB's own curve within 8 bits.
    """
    if icc_profile is None:
        return None
    curve = _stated_curve(icc_profile)
    if curve is None:
        ramp = _probe(icc_profile)
        if ramp is None:
            return None
        curve = (ramp[:, 1] / 255).astype(np.float32)
    curve = np.maximum.accumulate(curve)
    identity = np.linspace(0, 1, len(curve), dtype=np.float32)
    return None if np.abs(curve - identity).max() <= 1.5 / 255 else curve


def _stated_curve(icc_profile: bytes) -> Array | None:
    """Returns the curve that the profile states, which 8-bit probes only guess; None where it states none."""
    name = b"kTRC" if icc_profile[16:20] == b"GRAY" else b"gTRC"
    tags = tags_of(icc_profile)
    try:
        linear = None if b"A2B0" in tags else values_of_curve(tags.get(name, b""))
    except struct.error:
        return None
    if linear is None or not np.isfinite(linear).all():
        return None
    linear = np.clip(linear, 0, 1)
    if states_lightness(icc_profile):
        linear = light_of_lightness(linear)
    encoded = srgb_encoded(linear)
    return encoded.astype(np.float32) if encoded[-1] > 0.5 > encoded[0] else None


@functools.lru_cache(maxsize=8)
def _transform(icc_profile: bytes, mode: str) -> Any:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        return ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@functools.lru_cache(maxsize=8)
def _probe(icc_profile: bytes) -> NDArray[np.uint8] | None:
    """Returns sRGB of a grey ramp in the profile's space [256, 3]; None where the space is sRGB."""
    transform = _transform(icc_profile, "RGB")
    if transform is None:
        return None
    levels = np.arange(256, dtype=np.uint8)
    grey = np.repeat(levels[:, None], 3, 1)
    primaries = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]], np.uint8)
    srgb = np.asarray(
        ImageCms.applyTransform(Image.fromarray(np.concatenate([grey, primaries])[None]), transform)
    )[0]
    if np.abs(srgb.astype(int) - np.concatenate([grey, primaries])).max() <= 3:
        return None
    ramp: NDArray[np.uint8] = srgb[:256]
    return ramp
