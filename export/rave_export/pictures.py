"""Photographs that are given to calibrate INT8 on or to prove a bundle with: one opener for both."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from rave_export.errors import InputError
from rave_runtime.arrays import Picture
from rave_runtime.errors import PhotoError
from rave_runtime.photos.colour import is_srgb, to_srgb
from rave_runtime.photos.formats import READ_ENDINGS
from rave_runtime.photos.reading import read_photo

PICTURES: Final = 16
"""Most pictures of a folder that are read."""

MAX_SIDE_PX: Final = 768
"""Longest side of the pictures: larger ones are reduced, since ranges barely change beyond, and time does."""


def read_pictures(
    folder: str | os.PathLike[str], limit: int = PICTURES, option: str = "--calibration"
) -> list[Picture]:
    """Photographs of a folder, evenly chosen where it has more than `limit`.

    They are opened as `rave-run` opens photographs: only files that are of a format it reads, whatever
    their names say.

    Args:
        folder: with the photographs in it or in folders below it.
        limit: most pictures to read.
        option: the option of the command, for the messages of errors.

    Returns:
        [h, w, 3] uint8 sRGB each, upright, at most `MAX_SIDE_PX` long.

    Raises:
        InputError: the folder is missing or holds no photographs, or one cannot be read.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: give {option} a folder of photographs")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in READ_ENDINGS and file.is_file())
    if not files:
        kinds = ", ".join(ending[1:] for ending in READ_ENDINGS)
        raise InputError(f"{path} holds no photographs ({kinds}): give {option} a folder of photographs")
    chosen = [files[i * len(files) // limit] for i in range(limit)] if len(files) > limit else files
    return [_read_picture(file, option) for file in chosen]


def _read_picture(file: Path, option: str) -> Picture:
    """One photograph as 8-bit sRGB, reduced to `MAX_SIDE_PX`."""
    try:
        photo = read_photo(file)
    except PhotoError as error:
        raise InputError(f"{file} {error}: remove or replace it") from error
    pixels = photo.pixels
    eight_bits = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels.astype(np.uint8)
    if eight_bits.shape[2] == 1:
        eight_bits = np.repeat(eight_bits, 3, 2)
    elif photo.icc_profile is not None and not is_srgb(photo.icc_profile):
        eight_bits = to_srgb(eight_bits, photo.icc_profile)
    picture = reduce_picture(eight_bits, MAX_SIDE_PX)
    if min(picture.shape[:2]) < 2:
        height, width = picture.shape[:2]
        raise InputError(f"{file} has {width} x {height} pixels: {option} needs at least 2 x 2")
    return picture


def reduce_picture(picture: Picture, side_px: int) -> Picture:
    """A picture whose longest side is at most so many pixels, averaged over boxes."""
    image = Image.fromarray(picture)
    image.thumbnail((side_px, side_px), Image.Resampling.BOX)
    return np.asarray(image, np.uint8)
