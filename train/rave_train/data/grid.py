"""Picture grids: a row for each scene, a column with a title for each version of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from rave_runtime.arrays import Picture

_GAP_PX: Final = 4
_TITLE_PX: Final = 18


def draw_grid(columns: Sequence[tuple[str, Sequence[Picture]]], tile_px: int = 256) -> Image.Image:
    """Lays pictures out, fitted into square tiles.

    Args:
        columns: title and pictures ([h, w, 3] uint8) of each column, from top to bottom.
        tile_px: side of a tile in pixels.
    """
    tiles = [(title, [_fit(pixels, tile_px) for pixels in pictures]) for title, pictures in columns]
    rows = max(len(pictures) for _, pictures in tiles)
    widths = [max((tile.width for tile in pictures), default=0) for _, pictures in tiles]
    heights = [
        max(pictures[row].height for _, pictures in tiles if row < len(pictures)) for row in range(rows)
    ]
    size = (_GAP_PX + sum(widths) + _GAP_PX * len(widths), _TITLE_PX + sum(heights) + _GAP_PX * (rows + 1))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    left = _GAP_PX
    for (title, pictures), width in zip(tiles, widths, strict=True):
        draw.text((left + 2, 3), title, fill="black")
        top = _TITLE_PX + _GAP_PX
        for tile, height in zip(pictures, heights, strict=False):
            sheet.paste(tile, (left + (width - tile.width) // 2, top + (height - tile.height) // 2))
            top += height + _GAP_PX
        left += width + _GAP_PX
    return sheet


def _fit(pixels: Picture, tile_px: int) -> Image.Image:
    tile = Image.fromarray(pixels)
    tile.thumbnail((tile_px, tile_px), Image.Resampling.LANCZOS)
    return tile


def save_grid(file: Path, columns: Sequence[tuple[str, Sequence[Picture]]], tile_px: int = 256) -> None:
    """Writes what `draw_grid` draws into a file, in the format that its name says."""
    draw_grid(columns, tile_px).save(file)


def to_pixels(image: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Picture:
    """[3, h, w] float in [0, 1] -> [h, w, 3] uint8, rounded."""
    return (image.transpose(1, 2, 0).clip(0, 1) * 255 + 0.5).astype(np.uint8)
