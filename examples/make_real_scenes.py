"""Makes the picture of docs/benchmarks.md: scenes as photographed, enhanced, and as their brackets fuse.

python -m benchmarks panorama-scenes city.exr courtyard.exr vestibule_1k.hdr --output scenes
python examples/make_real_scenes.py scenes city_090-1 courtyard_000-1 courtyard_045-1 courtyard_135-1 \\
    courtyard_270-1 vestibule_1k_225-1

Each name is that of a photograph in the folder, without its ending: the view, and the place of its exposure.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import PIL.Image

from rave_runtime import Enhancer

SHEET = Path(__file__).parent.parent / "docs" / "real_scenes.jpg"
GAP_PX = 6


def main() -> None:
    """Writes docs/real_scenes.jpg, one row for each photograph."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenes", type=Path, help="folder that panorama-scenes has written")
    parser.add_argument("photographs", nargs="+", metavar="NAME-EXPOSURE")
    parser.add_argument("--output", type=Path, default=SHEET)
    options = parser.parse_args()
    enhancer = Enhancer()
    rows = []
    for name in options.photographs:
        photograph = np.asarray(PIL.Image.open(options.scenes / f"{name}.jpg").convert("RGB"))
        truth = np.asarray(PIL.Image.open(options.scenes / f"{name.rpartition('-')[0]}.png").convert("RGB"))
        rows.append(
            np.concatenate([_framed(p) for p in (photograph, enhancer.enhance(photograph), truth)], 1)
        )
    PIL.Image.fromarray(np.concatenate(rows)).save(options.output, quality=88)


def _framed(picture: np.ndarray) -> np.ndarray:
    return np.pad(picture, ((0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main()
