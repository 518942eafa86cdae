"""Picture grids: a row for each scene, a column with a title for each version of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from rave_runtime.arrays import Picture
from rave_train.whole_files import write_png

SHEET_ROWS: Final = 12
"""Most pairs on a contact sheet."""

_TILE_PX: Final = 256
_GAP_PX: Final = 4
_TITLE_PX: Final = 18


def draw_grid(columns: Sequence[tuple[str, Sequence[Picture]]]) -> Image.Image:
    """Lays pictures out, fitted into square tiles.

    Args:
        columns: title and pictures ([h, w, 3] uint8) of each column, from top to bottom.
    """
    tiles = [(title, [_fit(pixels) for pixels in pictures]) for title, pictures in columns]
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


def _fit(pixels: Picture) -> Image.Image:
    tile = Image.fromarray(pixels)
    tile.thumbnail((_TILE_PX, _TILE_PX), Image.Resampling.LANCZOS)
    return tile


def save_contact_sheet(folder: Path, title: str, pairs: Sequence[tuple[Picture, Picture]]) -> None:
    """Writes contact_sheet.png into a folder: backlit pictures, beside each its partner, under a title."""
    backlit, partners = zip(*pairs, strict=True)
    write_png(folder / "contact_sheet.png", draw_grid([("backlit", backlit), (title, partners)]))


def to_pixels(image: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Picture:
    """[3, h, w] float in [0, 1] -> [h, w, 3] uint8, rounded."""
    return (image.transpose(1, 2, 0).clip(0, 1) * 255 + 0.5).astype(np.uint8)
