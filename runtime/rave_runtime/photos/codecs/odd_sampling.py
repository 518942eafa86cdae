"""JPEG whose colour is sampled as Pillow does not write it, by simplejpeg, where that can keep the tables.

Some cameras and films write 4:1:1. A picture of 4:2:2 that was turned without decoding has 4:4:0.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from rave_runtime.arrays import Pixels

_NAMES: Final = {"4:4:0": "440", "4:1:1": "411"}
"""How simplejpeg names the samplings that it writes and Pillow does not."""

_UNSCALED: Final = 50
"""The quality at which libjpeg takes its tables as they are."""


def keeps_odd_sampling(options: Mapping[str, Any]) -> bool:
    """Tells whether a JPEG's own sampling of colour can be written with its own tables.

    Args:
        options: what `coding_options` of `rave_runtime.photos.headers.coding` returns for a JPEG.
    """
    return (
        options.get("sampling") in _NAMES
        and not (options.get("progressive") or options.get("keep_rgb"))
        and find_spec("simplejpeg") is not None
        and _quality_of(options["qtables"]) is not None
    )


def encode_odd_sampling(pixels: Pixels, options: Mapping[str, Any]) -> bytes:
    """Encodes [h, w, 3] uint8 as a JPEG with the tables and the sampling of options that can be kept."""
    import simplejpeg

    quality, name = _quality_of(options["qtables"]), _NAMES[options["sampling"]]
    plain = np.ascontiguousarray(pixels)
    return bytes(simplejpeg.encode_jpeg(plain, quality, "RGB", name, fastdct=False))


def _quality_of(tables: list[list[int]]) -> int | None:
    """Returns the quality at which libjpeg, and so simplejpeg, writes these tables; None where it never does.

    One table is that of brightness and colour.

    Source: jpeg_quality_scaling and jpeg_add_quant_table of libjpeg's jcparam.c.
    """
    if len(tables) not in (1, 2):
        return None
    for quality in range(1, 101):
        percent = 5000 // quality if quality < 50 else 200 - 2 * quality
        if (np.clip((_usual_tables() * percent + 50) // 100, 1, 255) == np.array(tables)).all():
            return quality
    return None


@functools.cache
def _usual_tables() -> NDArray[np.int64]:
    """Returns libjpeg's tables for brightness and colour: [2, 64]."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=_UNSCALED)
    file.seek(0)
    with JpegImagePlugin.JpegImageFile(file) as image:
        return np.array([image.quantization[0], image.quantization[1]], np.int64)
