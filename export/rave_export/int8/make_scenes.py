"""Makes the pictures that INT8 is calibrated and proven on: `python -m rave_export.int8.make_scenes`.

They are views into high-dynamic-range panoramas, photographed against the light as for the embedded model,
each followed by the fusion of its brackets, which is well lit. `rave_export.int8.calibration` cuts the sheet.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from rave_export.int8.calibration import COLUMNS, PROOF_SCENES, SCENE_PX
from rave_runtime.arrays import Array, Picture
from rave_train.data.grid import to_pixels
from rave_train.recipes.panoramas import find_panoramas, load_panorama
from rave_train.recipes.scenes import Sources, draw_silhouette, draw_view

PROVEN_ON: Final = (
    "vestibule_1k",
    "leadenhall_market_1k",
    "phalzer_forest_01_1k",
    "st_peters_square_night_1k",
)
"""Panoramas whose views INT8 is proven on; the views into all others calibrate it."""

VIEWS: Final = 3
"""Views into each panorama; every third is exposed for its highlights."""

_TRIES: Final = 20
_QUALITY: Final = 70


def draw_scenes(panorama: Array, name: str, seed: int) -> list[Picture]:
    """Views into a panorama, each as one photograph took it and as the fusion of its brackets.

    Args:
        panorama: [h, 2h, 3] float32, linear light.
        name: its name, on which the random choices depend.
        seed: the seed of every random choice.

    Returns:
        [96, 144, 3] uint8 each; fewer than two for each of `VIEWS` where the panorama's light is too even.
    """
    height, width = SCENE_PX
    sources = Sources([], [panorama])
    scenes: list[Picture] = []
    for view in range(VIEWS):
        rng = np.random.default_rng([seed, view, *os.fsencode(name)])
        draw = draw_silhouette if view % 3 == 2 else draw_view
        tries = (draw(sources, rng, height, width) for _ in range(_TRIES))
        pairs = next((pairs for pairs in tries if pairs), [])
        if pairs:
            scenes += [to_pixels(side.transpose(2, 0, 1)) for side in pairs[rng.integers(len(pairs))]]
    return scenes


def make_sheet(folder: Path, seed: int) -> Picture:
    """Lays the views into a folder's panoramas out in rows, those that INT8 is proven on last."""
    scenes: list[Picture] = []
    proven: list[Picture] = []
    for name, file in find_panoramas([folder]).items():
        kind = proven if file.name.split(".")[0] in PROVEN_ON else scenes
        kind += draw_scenes(load_panorama(file), name, seed)
    if len(proven) != PROOF_SCENES:
        raise ValueError(
            f"{len(proven)} views for the proof, {PROOF_SCENES} are needed: {', '.join(PROVEN_ON)}"
        )
    scenes = [*scenes[: len(scenes) // COLUMNS * COLUMNS], *proven]
    rows = [np.concatenate(scenes[i : i + COLUMNS], 1) for i in range(0, len(scenes), COLUMNS)]
    return np.concatenate(rows)


def main() -> None:
    """Parses the command line and writes the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("panoramas", type=Path, help="a folder of equirectangular panoramas, .hdr or .exr")
    parser.add_argument("output", type=Path, help="the sheet to write, .webp")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    sheet = make_sheet(options.panoramas, options.seed)
    Image.fromarray(sheet).save(options.output, quality=_QUALITY, method=6)


if __name__ == "__main__":
    main()
