"""Scenes against the light from panoramas: `python -m benchmarks panorama-scenes FILE... --output DIR`.

Each view becomes a scene that `quality-real` can read: four exposures, NAME-0.jpg to NAME-3.jpg, and the
fusion of its brackets, NAME.png. Views whose light is too even for brackets are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from benchmarks.studies.reporting import study_parser
from benchmarks.suites.real_scenes import STOPS_BELOW_MIDDLE
from rave_runtime.arrays import Array
from rave_train.recipes.brackets import Brackets, take_brackets
from rave_train.recipes.panoramas import Direction, load_panorama, panorama_name, view_into


def take_scenes(
    panorama: Array, count: int, long_side_px: int, rng: np.random.Generator
) -> list[tuple[Direction, Brackets]]:
    """Takes brackets of views spread around the horizon; fewer than `count` where the light is too even.

    Args:
        panorama: [h, 2h, 3] float32, linear light.
        count: most views.
        long_side_px: long side of the views, which are 3:2.
        rng: where every random choice comes from.
    """
    height, width = round(long_side_px * 2 / 3), long_side_px
    scenes = []
    for yaw_deg in np.arange(count) * 360 / count - 180:
        direction = Direction(float(yaw_deg), rng.uniform(-5, 10), rng.uniform(60, 85))
        linear = view_into(panorama, direction, height, width)
        for _ in range(8):
            brackets = take_brackets(linear, rng)
            if brackets is not None:
                scenes.append((direction, brackets))
                break
    return scenes


def write_scene(brackets: Brackets, name: str, folder: Path, rng: np.random.Generator) -> None:
    """Writes the exposures of a scene as JPEG and its truth as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, stops in enumerate(STOPS_BELOW_MIDDLE):
        _image(brackets.photograph(stops, rng)).save(folder / f"{name}-{i}.jpg", quality=92)
    _image(brackets.fuse()).save(folder / f"{name}.png")


def _image(picture: Array) -> PIL.Image.Image:
    return PIL.Image.fromarray((picture * 255 + 0.5).astype(np.uint8))


def main(arguments: Sequence[str]) -> None:
    """Runs the study with these command-line arguments."""
    parser = study_parser("panorama-scenes", __doc__)
    parser.add_argument("panoramas", nargs="+", type=Path, help="equirectangular .hdr, .exr or .exr.js")
    parser.add_argument("--output", type=Path, required=True, help="folder of the scenes")
    parser.add_argument("--views", type=int, default=8, help="into each panorama")
    parser.add_argument("--long-side", type=int, default=540, help="long side of the pictures, in pixels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    missing = [str(file) for file in options.panoramas if not file.is_file()]
    if missing:
        parser.error(f"{', '.join(missing)}: no such file")
    rng = np.random.default_rng(options.seed)
    for file in options.panoramas:
        scenes = take_scenes(load_panorama(file), options.views, options.long_side, rng)
        for direction, brackets in scenes:
            stem = f"{panorama_name(file)}_{round(direction.yaw_deg) % 360:03}"
            write_scene(brackets, stem, options.output, rng)
        print(f"{file.name}: {len(scenes)} scenes")
