"""How a file is coded, so that its result is coded in the same way and becomes about as large."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from PIL import Image, JpegImagePlugin

from rave_runtime.photos.headers.av1 import base_quantiser
from rave_runtime.photos.headers.boxes import photograph_data, photograph_properties
from rave_runtime.photos.headers.hevc import heic_quantiser, is_lossless_heic
from rave_runtime.photos.headers.vp8 import webp_frame, webp_quantiser
from rave_runtime.photos.jpeg import sampling_of
from rave_runtime.photos.tiff.strips import tiff_options

_QUALITIES: Final = (100, 98, 95, 92, 90, 85, 80, 75, 70, 60, 50, 40, 30, 20, 10, 5, 1)
_WEBP: Final = (0, 2, 6, 10, 12, 19, 27, 35, 38, 45, 51, 59, 68, 78, 92, 101, 115)
_AVIF: Final = (0, 8, 16, 24, 32, 48, 60, 76, 92, 120, 148, 172, 196, 216, 236, 249, 255)
_HEIC: Final = (-1, 0, 0.5, 1, 2, 4, 7, 9, 12, 17, 22, 27, 32, 37, 42, 44, 46)
"""Quantisers that Pillow's and pillow-heif's encoders write for these qualities, measured on photographs."""

_HEIC_CHROMA: Final = {2: "422", 3: "444"}
_IDENTITY: Final = 0
_LOSSLESS_MATRICES: Final = (_IDENTITY, 16, 17)
"""Matrices, by H.273's numbers, that take red, green and blue to what is coded and back without rounding."""


def coding_options(image: Image.Image, content: bytes) -> dict[str, Any]:
    """Reads the settings with which an opened picture was coded, for `rave_runtime.photos.encode`.

    Returns:
        For JPEG `qtables`, `subsampling`, `progressive` and `keep_rgb` as Pillow takes them, and `sampling`
        by its name where Pillow writes no such; for WebP, AVIF and HEIC `lossless`, and `quality`, 1 to 100,
        where the file's quantiser can be read; for AVIF and HEIC how colour is sampled; for HEIC `bits`, and
        without loss `matrix` as H.273 numbers it, where that is identity; for TIFF see `tiff_options`.
    """
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        return _jpeg(image)
    if image.format == "TIFF":
        return tiff_options(image, content)
    if image.format == "WEBP":
        return {"lossless": is_lossless_webp(content), **_quality(webp_quantiser(content), _WEBP)}
    if image.format == "AVIF":
        quantiser = base_quantiser(photograph_data(content))
        is_lossless = quantiser == 0 and _matrix(content) in _LOSSLESS_MATRICES
        return {"lossless": is_lossless, **_quality(quantiser, _AVIF), **_avif_sampling(content)}
    if image.format == "HEIF":
        bits = {"bits": image.info.get("bit_depth", 8)}
        return (
            bits | _quality(heic_quantiser(content), _HEIC) | _heic_sampling(content) | _heic_losses(content)
        )
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
            if data[2] >> 4 & 1:
                return {"subsampling": "4:0:0"}
            across, down = data[2] >> 3 & 1, data[2] >> 2 & 1
            return {"subsampling": "4:2:0" if down else "4:2:2" if across else "4:4:4"}
    return {}


def _heic_sampling(content: bytes) -> dict[str, str]:
    for kind, data in photograph_properties(content):
        if kind == b"hvcC" and len(data) > 16 and data[16] & 3 in _HEIC_CHROMA:
            return {"chroma": _HEIC_CHROMA[data[16] & 3]}
    return {}


def _heic_losses(content: bytes) -> dict[str, Any]:
    """Tells whether a HEIC is coded without loss; if so, `matrix` where red, green and blue are coded."""
    if not is_lossless_heic(content):
        return {"lossless": False}
    is_whole = _heic_sampling(content).get("chroma") == _HEIC_CHROMA[3]
    is_rgb = is_whole and _matrix(content) in (None, _IDENTITY)  # unstated: as encoders do without loss
    return {"lossless": True} | ({"matrix": _IDENTITY} if is_rgb else {})


def _matrix(content: bytes) -> int | None:
    """Returns the matrix of an AVIF's or HEIC's colours as H.273 numbers it; None where no box states it."""
    for kind, data in photograph_properties(content):
        if kind == b"colr" and data[:4] == b"nclx" and len(data) >= 10:
            return int.from_bytes(data[8:10])
    return None


def _jpeg(image: JpegImagePlugin.JpegImageFile) -> dict[str, Any]:
    options: dict[str, Any] = {"qtables": _quantization(image)}
    if image.mode != "L":
        options["subsampling"] = 0
    if image.mode == "RGB":
        name, options["subsampling"] = sampling_of(image.layer)
        options |= {} if name in ("4:4:4", "4:2:2", "4:2:0") else {"sampling": name}
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
