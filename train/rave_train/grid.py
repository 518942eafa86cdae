"""Picture grids: the same scenes in a row each, with a title over every column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from rave_train.photographs import Pixels

_GAP_PX: Final = 4
_TITLE_PX: Final = 18


def draw_grid(columns: Sequence[tuple[str, Sequence[Pixels]]], tile_px: int = 256) -> Image.Image:
    """Lays pictures out, fitted into square tiles.

    Args:
        columns: title and pictures ([h, w, 3] uint8) of each column, from top to bottom.
        tile_px: side of a tile.
    """
    rows = max(len(pictures) for _, pictures in columns)
    width = len(columns) * (tile_px + _GAP_PX) + _GAP_PX
    height = rows * (tile_px + _GAP_PX) + _GAP_PX + _TITLE_PX
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (title, pictures) in enumerate(columns):
        left = _GAP_PX + column * (tile_px + _GAP_PX)
        draw.text((left + 2, 3), title, fill="black")
        for row, pixels in enumerate(pictures):
            tile = Image.fromarray(pixels)
            tile.thumbnail((tile_px, tile_px), Image.Resampling.LANCZOS)
            top = _TITLE_PX + _GAP_PX + row * (tile_px + _GAP_PX)
            sheet.paste(tile, (left + (tile_px - tile.width) // 2, top + (tile_px - tile.height) // 2))
    return sheet


def save_grid(file: Path, columns: Sequence[tuple[str, Sequence[Pixels]]], tile_px: int = 256) -> None:
    """`draw_grid` into a file."""
    draw_grid(columns, tile_px).save(file)


def to_pixels(image: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Pixels:
    """[3, h, w] float in [0, 1] -> [h, w, 3] uint8, rounded."""
    return (image.transpose(1, 2, 0).clip(0, 1) * 255 + 0.5).astype(np.uint8)
