"""A sheet of scenes before and after: `python -m benchmarks before-after SCENES --output FILE`.

The sheet has a row for each scene: the photograph, its enhanced version, and the fusion of its brackets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

from benchmarks.studies.reporting import study_parser
from benchmarks.suites.real_scenes import EnhanceOne, Scene, find_scenes
from rave_runtime import Enhancer
from rave_runtime.arrays import Picture
from rave_runtime.photos.reading import load_rgb

MARGIN_PX = 8
TITLE_PX = 18
TITLES = ("photograph", "enhanced", "brackets fused")


def draw_sheet(scenes: Sequence[Scene], exposure: int, enhance: EnhanceOne) -> PIL.Image.Image:
    """Draws the sheet. Pictures keep their size, so they should all be equally wide.

    Args:
        scenes: the scenes, one in each row.
        exposure: number of the photograph to show of each scene; 0 is the darkest.
        enhance: makes the picture of the middle column from the photograph.
    """
    rows: list[tuple[str, list[Picture]]] = []
    for scene in scenes:
        photograph = load_rgb(scene.photographs[exposure])
        rows.append((scene.name, [photograph, enhance(photograph), load_rgb(scene.truth)]))
    width = max(row[0].shape[1] for _, row in rows)
    heights = [row[0].shape[0] + TITLE_PX + MARGIN_PX for _, row in rows]
    size = (len(TITLES) * (width + MARGIN_PX) + MARGIN_PX, sum(heights) + MARGIN_PX)
    sheet = PIL.Image.new("RGB", size, (32, 32, 32))
    pen = PIL.ImageDraw.Draw(sheet)
    top = MARGIN_PX
    for (name, pictures), height in zip(rows, heights, strict=True):
        for column, (title, picture) in enumerate(zip(TITLES, pictures, strict=True)):
            left = MARGIN_PX + column * (width + MARGIN_PX)
            pen.text((left, top), f"{name}, {title}", fill=(220, 220, 220))
            sheet.paste(PIL.Image.fromarray(np.ascontiguousarray(picture)), (left, top + TITLE_PX))
        top += height
    return sheet


def main(arguments: Sequence[str]) -> None:
    """Runs the study with these command-line arguments."""
    parser = study_parser("before-after", __doc__)
    parser.add_argument("scenes", type=Path, help="folder of scenes")
    parser.add_argument("--names", nargs="*", help="names of the scenes to show; all unless given")
    parser.add_argument("--exposure", type=int, default=1, choices=range(4), help="0 is the darkest")
    parser.add_argument("--model", type=Path, help="bundle; the embedded one unless given")
    parser.add_argument("--output", type=Path, required=True, help="picture file")
    options = parser.parse_args(arguments)
    scenes = [s for s in find_scenes(options.scenes) if not options.names or s.name in options.names]
    if not scenes:
        parser.error(f"{options.scenes} has none of the scenes {', '.join(options.names)}")
    enhancer = Enhancer(options.model, device="cpu")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(scenes, options.exposure, enhancer.enhance).save(options.output, quality=88)
