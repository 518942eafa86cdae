"""A picture saved with colours that are stated by a profile, chunks or numbers."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from rave_runtime.photos.decoders import register_heif
from rave_runtime.photos.headers.colour_codes import (
    ADOBE_RGB,
    PRIMARIES,
    SRGB_CURVE,
    Curve,
    make_profile,
)
from tests.runtime.handmade import png_chunk as chunk
from tests.runtime.zoo.animal import HAS_JXL

PIXELS = np.stack(np.broadcast_arrays(np.arange(0, 256, 8)[:, None], np.arange(0, 256, 8), 90), 2).astype(
    np.uint8
)
P3 = make_profile("Display P3", PRIMARIES[12], SRGB_CURVE)
ADOBE = make_profile("Compatible with Adobe RGB (1998)", ADOBE_RGB, Curve(563 / 256))


def saved(format: str, pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def png(*stated: tuple[bytes, bytes], pixels: np.ndarray = PIXELS) -> bytes:
    plain = saved("PNG", pixels)
    return plain[:33] + b"".join(chunk(*one) for one in stated) + plain[33:]


def with_numbers(content: bytes, primaries: int, transfer: int) -> bytes:
    """An AVIF or HEIC with other numbers in its nclx."""
    at = content.index(b"colrnclx") + 8
    return content[:at] + struct.pack(">HH", primaries, transfer) + content[at + 4 :]


def described(profile: bytes | None) -> str:
    assert profile is not None
    return str(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))).strip()


def heif_only(format: str) -> None:
    if format == "HEIF" and not register_heif():
        pytest.skip("needs pillow-heif")
    if format == "JXL" and not HAS_JXL:
        pytest.skip("needs pylibjxl and imagecodecs")
