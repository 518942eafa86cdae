"""The pictures INT8 is calibrated on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from rave_export.errors import ExportError

Picture = NDArray[np.uint8]

PICTURES: Final = 16
"""How many pictures the default set has, and how many of a folder are read."""

MAX_SIDE_PX: Final = 768
"""Larger pictures of a folder are reduced to it: ranges barely change beyond, time does."""

_DARKER: Final = (0.15, 0.3, 0.5)
"""Shares of their values that pictures keep."""

_SUFFIXES: Final = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def read_pictures(
    folder: str | os.PathLike[str], limit: int = PICTURES, option: str = "--calibration"
) -> list[Picture]:
    """Pictures of a folder, evenly chosen where it has more than `limit`.

    Args:
        folder: with folders in it, or not.
        limit: how many at most.
        option: of the command, for its errors.

    Returns:
        [h, w, 3] uint8 sRGB each, upright, at most `MAX_SIDE_PX` long.

    Raises:
        ExportError: no folder, no pictures in it, or one that cannot be read.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ExportError(f"{path} is not a folder: give {option} a folder of photographs")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not files:
        kinds = ", ".join(sorted(suffix[1:] for suffix in _SUFFIXES))
        raise ExportError(f"{path} holds no pictures ({kinds}): give {option} a folder of photographs")
    chosen = [files[i * len(files) // limit] for i in range(limit)] if len(files) > limit else files
    return [_read_picture(file, option) for file in chosen]


def with_darker(pictures: Sequence[Picture]) -> tuple[Picture, ...]:
    """Pictures, and each once more darkened, in turns to 15, 30 and 50 % of its values.

    Most folders are of well-lit photographs, and what a network does to them says little of the ranges it
    needs where all is dark, which is what it is for.
    """
    darker = (
        np.rint(picture * _DARKER[index % len(_DARKER)]).astype(np.uint8)
        for index, picture in enumerate(pictures)
    )
    return (*pictures, *darker)


def _read_picture(file: Path, option: str) -> Picture:
    try:
        with Image.open(file) as opened:
            if opened.mode.startswith(("I", "F")):
                raise ValueError(f"mode {opened.mode}, which 8-bit RGB cannot hold")
            image = ImageOps.exif_transpose(opened).convert("RGB")
            image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.BOX)
            picture = np.asarray(image, np.uint8)
    except Exception as error:  # decoders raise whatever a broken file makes them stumble over
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ExportError(f"{file} cannot be read as a picture ({reason}): remove or replace it") from error
    if min(picture.shape[:2]) < 2:
        height, width = picture.shape[:2]
        raise ExportError(f"{file} has {width} x {height} pixels: {option} needs at least 2 x 2")
    return picture


def synthesize_pictures(count: int = PICTURES, seed: int = 0) -> list[Picture]:
    """Backlit scenes made of overlapping discs, for networks exported where no photographs are.

    Discs whose radii follow a power law give edges and plains at every scale, as photographs have;
    a bright sky behind a shaded foreground gives the light. The first pictures are extremes: a
    black-to-white checkerboard, and primary colours.

    Returns:
        [h, w, 3] uint8 each, of mixed sizes.

    Source of the discs: Lee, Mumford and Huang, Occlusion models for natural images, IJCV 2001.
    """
    shapes = [(288, 384), (384, 288), (256, 256), (320, 480)]
    extremes = [_checkerboard(256, 256), _colours(256, 256)]
    scenes = [_scene(*shapes[i % len(shapes)], np.random.default_rng([seed, i])) for i in range(count)]
    return [*extremes, *scenes][:count]


def _checkerboard(height: int, width: int) -> Picture:
    """Black and white squares of doubling size from left to right."""
    y, x = np.mgrid[:height, :width]
    side = 1 << (x * 6 // width)
    grey = ((y // side + x // side) % 2 * 255).astype(np.uint8)
    return np.stack([grey] * 3, -1)


def _colours(height: int, width: int) -> Picture:
    """The eight corners of the colour cube, in blocks, over ramps of brightness."""
    y, x = np.mgrid[:height, :width]
    corner = 1 + (x * 7 // width)
    planes = [(corner >> bit & 1) * (255 - y * 255 // max(height - 1, 1)) for bit in range(3)]
    return np.stack(planes, -1).astype(np.uint8)


def _scene(height: int, width: int, rng: np.random.Generator) -> Picture:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    colour = np.ones((height, width, 3), np.float32) * rng.uniform(0.3, 0.9, 3).astype(np.float32)
    lit = np.ones((height, width), np.float32)
    horizon = rng.uniform(0.2, 0.7) * height
    for _ in range(160):
        radius = 0.5 * min(height, width) * rng.uniform(0.0004, 1) ** 0.5 * rng.uniform(0.1, 1)
        top, left = rng.uniform(-0.1, 1.1) * height, rng.uniform(-0.1, 1.1) * width
        inside = (y - top) ** 2 + ((x - left) * rng.uniform(0.5, 2)) ** 2 < radius**2
        texture = rng.normal(0, rng.uniform(0, 0.08), (int(inside.sum()), 1))
        colour[inside] = np.clip(rng.uniform(0.05, 1, 3) + texture, 0, 1)
        lit[inside] = 1 if top < horizon else 0
    shade = np.exp2(rng.uniform(-1, 0.3) * lit + rng.uniform(-6, -0.5) * (1 - lit))
    linear = colour**2.2 * shade[..., None] + rng.normal(0, 0.001, colour.shape)
    return np.asarray(np.clip(linear, 0, 1) ** (1 / 2.2) * 255, np.uint8)
