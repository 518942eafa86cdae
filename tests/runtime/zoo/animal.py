"""What a file of the zoo is, and pictures and bytes that several of them share."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.runtime.handmade import scene

MAX_MEGAPIXELS = 0.5
"""The limit under which the zoo is read, so that bombs need not be large."""

HAS_DEEP = all(importlib.util.find_spec(name) for name in ("imagecodecs", "tifffile"))
HAS_JXL = all(importlib.util.find_spec(name) is not None for name in ("pylibjxl", "imagecodecs"))
HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None

RGB, GREY = scene(), scene(channels=1)
DEEP = scene(dtype=np.uint16)
LOSSY = 12.0
"""Mean difference allowed to lossy coding of the scene, in 8-bit steps: another picture is 30 off or more."""


@dataclass(frozen=True)
class Animal:
    """A file of the zoo.

    Attributes:
        name: in the folder.
        make: its bytes, or what creates it at a path.
        picture: upright, that must come out; None where the error must.
        error: words of the error that must be reported.
        off: mean difference allowed, in 8-bit steps.
        note: words of the warning that must be there.
    """

    name: str
    make: bytes | Callable[[Path], None]
    picture: NDArray[Any] | None = None
    error: str = ""
    off: float = 0.0
    note: str = ""


def save(pixels: NDArray[Any] | Image.Image, format: str, **options: Any) -> bytes:
    if format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """What a viewer shows of pixels stored with that orientation, by the definition of EXIF's tag."""
    flipped = pixels[:, ::-1] if orientation in (2, 4, 5, 7) else pixels
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]
    return np.rot90(flipped, turns)


def deep_animal(name: str, content: bytes, picture: NDArray[Any]) -> Animal:
    if HAS_DEEP:
        return Animal(name, content, picture)
    return Animal(name, content, error=r"16 bits per channel.*: pip install 'rave-backlit\[deep\]'")
