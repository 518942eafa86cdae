"""High-dynamic-range panoramas: how they are found and read, and views into them.

A photograph cannot hold the whole range of light of a backlit scene. These panoramas hold it: in them a
window is a hundred times brighter than the room.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from rave_runtime.arrays import Array
from rave_train.data.photographs import HDR_ENDINGS

ENDINGS: Final = (*HDR_ENDINGS, ".exr.js")
"""Endings of Radiance and OpenEXR files, and of OpenEXR inside a module, as npm's `@pmndrs/assets` has it."""

UNUSED: Final = ("sky", "bridge", "studio")
"""Names of panoramas that are left out: no camera took them, or they show little but a studio's lamps."""

HELD_OUT: Final = ("world/courtyard", "world/city", "panoramas/vestibule_1k")
"""Panoramas that no network is trained on: views into them are for measuring."""

_REMEDY: Final = "copy or download it again"

_SUPERSAMPLING: Final = 2
_BRIGHTEST: Final = 0.9995
"""Quantile at which a view's light is cut; else the sun's disc would dominate all pixels averaged with it."""


def find_panoramas(folders: Iterable[Path]) -> dict[str, Path]:
    """The panorama files in folders, by names such as "world/city": the folder's, then the file's."""
    panoramas: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.iterdir()):
            if name := panorama_name(file):
                panoramas[f"{folder.name}/{name}"] = file
    return panoramas


def panorama_name(file: Path) -> str:
    """A panorama's name without its ending; empty for other files."""
    ending = next((ending for ending in ENDINGS if file.name.lower().endswith(ending)), file.name)
    return file.name.removesuffix(file.name[-len(ending) :])


def load_panorama(file: Path) -> Array:
    """An equirectangular panorama, [h, 2h, 3] float32, linear light, at least 0.

    Args:
        file: one of `ENDINGS`; .exr.js is a module whose default export is the file as a data URL.

    Raises:
        ValueError: the file cannot be read, has no RGB channels or is not twice as wide as high.
    """
    if file.name.lower().endswith(".exr.js"):
        pixels = _read_module(file)
    else:
        pixels = _read_radiance(file) if file.suffix.lower() == ".hdr" else _read_openexr(file, file)
    if pixels.shape[1] != 2 * pixels.shape[0]:
        raise ValueError(
            f"{file} is {pixels.shape[1]}x{pixels.shape[0]}: an equirectangular panorama is twice as wide as "
            "it is high"
        )
    return np.maximum(pixels, 0)


@dataclass(frozen=True)
class Direction:
    """Where a camera in a panorama looks.

    Attributes:
        yaw_deg: angle along the horizon, 0 at the panorama's centre, positive to the right.
        pitch_deg: angle above the horizon.
        field_of_view_deg: angle that the view's longer side covers, below 180.
        roll_deg: turn of the camera about its axis.
    """

    yaw_deg: float
    pitch_deg: float
    field_of_view_deg: float
    roll_deg: float = 0.0


def view_into(panorama: Array, direction: Direction, height: int, width: int) -> Array:
    """A rectilinear view into an equirectangular panorama.

    Args:
        panorama: [h, 2h, 3] float32, linear light.
        direction: where the camera looks.
        height: height of the view in pixels.
        width: width of the view in pixels.

    Returns:
        [height, width, 3] float32, means of bilinear samples.
    """
    rows, cols = panorama.shape[:2]
    high, wide = height * _SUPERSAMPLING, width * _SUPERSAMPLING
    scale = 2 * np.tan(np.deg2rad(direction.field_of_view_deg) / 2) / max(high, wide)
    right, up = np.meshgrid(
        (np.arange(wide) - (wide - 1) / 2) * scale, ((high - 1) / 2 - np.arange(high)) * scale
    )
    roll, pitch = np.deg2rad(direction.roll_deg), np.deg2rad(direction.pitch_deg)
    right, up = right * np.cos(roll) - up * np.sin(roll), right * np.sin(roll) + up * np.cos(roll)
    above = up * np.cos(pitch) + np.sin(pitch)
    ahead = np.cos(pitch) - up * np.sin(pitch)
    longitude = np.arctan2(right, ahead) + np.deg2rad(direction.yaw_deg)
    latitude = np.arctan2(above, np.hypot(right, ahead))
    column = ((longitude / (2 * np.pi) + 0.5) % 1) * cols - 0.5
    row = (0.5 - latitude / np.pi) * rows - 0.5
    samples = cv2.remap(
        panorama,
        column.astype(np.float32),
        row.clip(0, rows - 1).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    samples = np.minimum(samples, np.quantile(samples, _BRIGHTEST))
    return np.asarray(cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _read_module(file: Path) -> Array:
    """Reads the OpenEXR picture inside a module.

    Raises:
        ValueError: there is none.
    """
    try:
        encoded = file.read_text(encoding="ascii").partition(";base64,")[2].rpartition("'")[0]
        content = base64.b64decode(encoded)
    except ValueError as error:
        raise ValueError(f"{file} holds no OpenEXR picture as a data URL: {_REMEDY}") from error
    with tempfile.TemporaryDirectory() as folder:  # Windows lets nobody else read a file that is still open
        plain = Path(folder) / "panorama.exr"
        plain.write_bytes(content)
        return _read_openexr(plain, file)


def _read_radiance(file: Path) -> Array:
    """Reads a Radiance picture; what OpenCV would print of a damaged one is in the error instead.

    Raises:
        ValueError: it cannot be read.
    """
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if pixels is None or pixels.ndim != 3:
        raise ValueError(f"{file} cannot be read as a Radiance picture in colour: {_REMEDY}")
    return np.ascontiguousarray(pixels[..., ::-1], np.float32)


def _read_openexr(file: Path, named: Path) -> Array:
    """Reads an OpenEXR picture.

    Args:
        file: the picture.
        named: the file that errors name.

    Raises:
        ValueError: it cannot be read, or has no colours.
    """
    import OpenEXR

    try:
        with OpenEXR.File(str(file)) as part:
            channels = {name: channel.pixels for name, channel in part.channels().items()}
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{named} cannot be read as an OpenEXR picture: {_REMEDY}") from error
    if "RGB" not in channels:
        raise ValueError(f"{named} has no RGB channels, only {', '.join(channels)}")
    return np.asarray(channels["RGB"], np.float32)
