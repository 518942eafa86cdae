"""Where grey is stored as red, green and blue, because a format or its usual readers know no other way."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, features

from rave_runtime.arrays import Pixels
from rave_runtime.photos.photo import Photo


def is_spread(photo: Photo, pixels: Pixels) -> bool:
    """Tells whether a TIFF gets grey as colour: few programs read grey of 16 bits beside transparency.

    A photograph that was such a TIFF stays one.

    Args:
        photo: the photograph.
        pixels: what is written, [h, w, 1 to 4], with alpha last.
    """
    return photo.format != "TIFF" and pixels.shape[2] == 2 and pixels.dtype == np.uint16


def becomes_rgb(photo: Photo, format: str, pixels: Pixels) -> bool:
    """Tells whether a format stores grey pixels, alone or with alpha, as red, green and blue."""
    channels = pixels.shape[2]
    return channels < 3 and (
        format == "WEBP"
        or (format == "JXL" and channels == 2)
        or (format in ("AVIF", "HEIF") and channels == 2)
        or (format == "AVIF" and not _avif_holds_grey())
        or (format == "TIFF" and is_spread(photo, pixels))
    )


@functools.cache
def _avif_holds_grey() -> bool:
    """Tells whether this Pillow writes grey AVIF; older ones write grey as red, green and blue."""
    if not features.check("avif"):
        return False
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "AVIF")
    with Image.open(file, formats=["AVIF"]) as image:
        return image.mode == "L"
