"""Colour spaces: what the network sees, and how light divides pixels that are not sRGB.

The network knows sRGB. A photograph in another RGB space (Adobe RGB, Display P3, ProPhoto) is shown
to it in sRGB, while its own pixels keep their space and profile. The light map divides values in
sRGB's encoding, so pixels with another tone curve are taken to that encoding and back, channel by
channel: with the same primaries throughout, nothing leaves the gamut.
"""

from __future__ import annotations

import functools
import io
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Array = NDArray[np.float32]

_RAMP_SIZE = 256


def is_srgb(icc_profile: bytes | None) -> bool:
    """Whether RGB pixels with that profile are sRGB for all that 8 bits can tell.

    A profile that cannot be read, or that is not for RGB, counts as sRGB.
    """
    if icc_profile is None:
        return True
    return _probe(icc_profile) is None


def to_srgb(pixels: NDArray[np.uint8], icc_profile: bytes) -> NDArray[np.uint8]:
    """[h, w, 3] uint8 in the profile's space -> sRGB, by Little CMS, relative colorimetric."""
    transform = _transform(icc_profile, "RGB")
    if transform is None:
        return pixels
    return np.asarray(ImageCms.applyTransform(Image.fromarray(pixels), transform))


def cmyk_to_rgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """A CMYK picture in sRGB: by its profile, or by plain arithmetic where it has none."""
    if icc_profile is not None:
        transform = _transform(icc_profile, "CMYK")
        if transform is not None:
            return cast(Image.Image, ImageCms.applyTransform(image, transform))
    return image.convert("RGB")


def tone_curve(icc_profile: bytes | None) -> Array | None:
    """sRGB-encoded value of equally spaced neutral values of a profile's space.

    Returns:
        [256] float32 from 0 to 1, rising; None where it is sRGB's own curve within 8 bits.
    """
    if icc_profile is None:
        return None
    ramp = _probe(icc_profile)
    if ramp is None:
        return None
    curve = np.maximum.accumulate(ramp[:, 1].astype(np.float32) / 255)
    straight = np.linspace(0, 1, _RAMP_SIZE, dtype=np.float32)
    return None if np.abs(curve - straight).max() <= 1.5 / 255 else curve


@functools.lru_cache(maxsize=32)
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


@functools.lru_cache(maxsize=32)
def _probe(icc_profile: bytes) -> NDArray[np.uint8] | None:
    """sRGB of a grey ramp in the profile's space [256, 3]; None where the space is sRGB."""
    transform = _transform(icc_profile, "RGB")
    if transform is None:
        return None
    levels = np.arange(256, dtype=np.uint8)
    grey = np.repeat(levels[:, None], 3, 1)
    primaries = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]], np.uint8)
    shown = np.asarray(
        ImageCms.applyTransform(Image.fromarray(np.concatenate([grey, primaries])[None]), transform)
    )[0]
    if np.abs(shown.astype(int) - np.concatenate([grey, primaries])).max() <= 3:
        return None
    ramp: NDArray[np.uint8] = shown[:256]
    return ramp
