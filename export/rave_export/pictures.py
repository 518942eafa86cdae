"""Reads the photographs on which INT8 is calibrated or a bundle is proven."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from rave_export.errors import InputError
from rave_runtime.arrays import Picture
from rave_runtime.errors import PhotoError
from rave_runtime.photos.formats import READ_ENDINGS, USUAL_ENDINGS
from rave_runtime.photos.reading import load_rgb

PICTURES: Final = 16
"""Most pictures that are read from a folder."""

MAX_SIDE_PX: Final = 768
"""Longest side of the pictures; larger ones take longer and barely change the ranges, so they are reduced."""


def read_pictures(
    folder: str | os.PathLike[str],
    limit: int = PICTURES,
    option: str = "--calibration",
    say: Callable[[str], None] = lambda _: None,
) -> list[Picture]:
    """Reads the photographs of a folder, evenly chosen by name where there are more than `limit`.

    They are opened as `rave-run` opens photographs: in the formats that it reads, which a file's content
    decides, not its name.

    Args:
        folder: holds the photographs, or folders with them.
        limit: most pictures to read.
        option: the command's option that named the folder, for messages.
        say: called with a line for each photograph that cannot be used, which is left out.

    Returns:
        [h, w, 3] uint8 sRGB each, upright, at most `MAX_SIDE_PX` long.

    Raises:
        InputError: the folder is missing or holds no photographs, or none of them can be used.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: give {option} a folder of photographs")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in READ_ENDINGS and file.is_file())
    if not files:
        raise InputError(
            f"{path} holds no photographs, by the endings of its files, such as {', '.join(USUAL_ENDINGS)}: "
            f"give {option} a folder of photographs"
        )
    chosen = [files[i * len(files) // limit] for i in range(limit)] if len(files) > limit else files
    pictures, reasons = [], []
    for file in chosen:
        try:
            pictures.append(_read_picture(file, option))
        except InputError as error:
            reasons.append(str(error))
            say(f"skipped {error}")
    if not pictures:
        more = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""
        raise InputError(
            f"{path} holds no photographs that can be read: give {option} others; "
            f"{'; '.join(reasons[:5])}{more}"
        )
    return pictures


def _read_picture(file: Path, option: str) -> Picture:
    """Reads one photograph as [h, w, 3] uint8 sRGB, reduced to `MAX_SIDE_PX`.

    Raises:
        InputError: it cannot be read, or is less than 2 pixels wide or high.
    """
    try:
        picture = reduce_picture(load_rgb(file), MAX_SIDE_PX)
    except PhotoError as error:
        raise InputError(f"{file}: {error}") from error
    if min(picture.shape[:2]) < 2:
        height, width = picture.shape[:2]
        raise InputError(f"{file}: it has {width} x {height} pixels, {option} needs at least 2 x 2")
    return picture


def reduce_picture(picture: Picture, side_px: int) -> Picture:
    """A picture [h, w, 3] uint8, reduced by box averages if its longest side is over `side_px`."""
    image = Image.fromarray(picture)
    image.thumbnail((side_px, side_px), Image.Resampling.BOX)
    return np.asarray(image, np.uint8)
