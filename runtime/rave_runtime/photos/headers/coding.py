"""How a file is coded, so that its result is coded in the same way and becomes about as large."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from PIL import Image, JpegImagePlugin

from rave_runtime.photos.headers.av1 import base_quantiser
from rave_runtime.photos.headers.boxes import photograph_data, photograph_properties
from rave_runtime.photos.headers.hevc import heic_quantiser
from rave_runtime.photos.headers.vp8 import webp_frame, webp_quantiser
from rave_runtime.photos.tiff.strips import tiff_options

_QUALITIES: Final = (100, 98, 95, 92, 90, 85, 80, 75, 70, 60, 50, 40, 30, 20, 10, 5, 1)
_WEBP: Final = (0, 2, 6, 10, 12, 19, 27, 35, 38, 45, 51, 59, 68, 78, 92, 101, 115)
_AVIF: Final = (0, 8, 16, 24, 32, 48, 60, 76, 92, 120, 148, 172, 196, 216, 236, 249, 255)
_HEIC: Final = (-1, 0, 0.5, 1, 2, 4, 7, 9, 12, 17, 22, 27, 32, 37, 42, 44, 46)
"""Quantisers that Pillow's and pillow-heif's encoders write for these qualities, measured on photographs."""

_HEIC_CHROMA: Final = {2: "422", 3: "444"}


def coding_options(image: Image.Image, content: bytes) -> dict[str, Any]:
    """Reads the settings with which an opened picture was coded, for `rave_runtime.photos.encode`.

    Returns:
        For JPEG `qtables`, `subsampling`, `progressive` and `keep_rgb` as Pillow takes them; for WebP
        `lossless`; for lossy WebP, AVIF and HEIC `quality`, 1 to 100, where the file's quantiser can be read,
        and how colour is sampled; for TIFF see `tiff_options`.
    """
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        return _jpeg(image)
    if image.format == "TIFF":
        return tiff_options(image, content)
    if image.format == "WEBP":
        return {"lossless": is_lossless_webp(content), **_quality(webp_quantiser(content), _WEBP)}
    if image.format == "AVIF":
        return _quality(base_quantiser(photograph_data(content)), _AVIF) | _avif_sampling(content)
    if image.format == "HEIF":
        return _quality(heic_quantiser(content), _HEIC) | _heic_sampling(content)
    return {}


def is_lossless_webp(content: bytes) -> bool:
    """Tells whether a WebP's first picture is coded without loss."""
    frame = webp_frame(content)
    return frame is not None and frame[0] == b"VP8L"


def _quality(quantiser: int | None, table: tuple[float, ...]) -> dict[str, int]:
    if quantiser is None:
        return {}
    return {"quality": max(1, round(float(np.interp(quantiser, table, _QUALITIES))))}


def _avif_sampling(content: bytes) -> dict[str, str]:
    for kind, data in photograph_properties(content):
        if kind == b"av1C" and len(data) > 2:
            across, down = data[2] >> 3 & 1, data[2] >> 2 & 1
            return {"subsampling": "4:2:0" if down else "4:2:2" if across else "4:4:4"}
    return {}


def _heic_sampling(content: bytes) -> dict[str, str]:
    for kind, data in photograph_properties(content):
        if kind == b"hvcC" and len(data) > 16 and data[16] & 3 in _HEIC_CHROMA:
            return {"chroma": _HEIC_CHROMA[data[16] & 3]}
    return {}


def _jpeg(image: JpegImagePlugin.JpegImageFile) -> dict[str, Any]:
    options: dict[str, Any] = {"qtables": _quantization(image)}
    sampling = JpegImagePlugin.get_sampling(image)
    if image.mode != "L":
        options["subsampling"] = sampling if sampling in (0, 1, 2) and image.mode == "RGB" else 0
    if image.mode == "RGB" and image.info.get("adobe_transform") == 0:
        options["keep_rgb"] = True
    if image.info.get("progressive"):
        options["progressive"] = True
    return options


def _quantization(image: JpegImagePlugin.JpegImageFile) -> list[list[int]]:
    """Returns tables in the order in which Pillow gives them to the components: brightness, then colour."""
    tables = [list(image.quantization[layer[3]]) for layer in image.layer if layer[3] in image.quantization]
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()
    return tables[:3]
