"""Makes the example photographs: views against the light into CC0 panoramas of Poly Haven.

    python examples/make_examples.py PANORAMAS

PANORAMAS is a folder with the equirectangular files that `VIEWS` names, as Radiance .hdr. Each view is
exposed for its sky or window, as a camera does it, so that the foreground is dark.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from rave_train.data.synthesis import linear_to_srgb
from rave_train.recipes.panoramas import Direction, load_panorama, view_into

VIEWS = {
    "garden": ("chinese_garden_1k", 38.0, 3.0, 96.0, 0.985),
    "hills": ("hilly_terrain_01_1k", 38.0, 4.0, 96.0, 0.975),
    "forest": ("phalzer_forest_01_1k", -5.0, 4.0, 92.0, 0.985),
    "window": ("brown_photostudio_02_1k", 52.0, -2.0, 92.0, 0.975),
}
"""Name: panorama, yaw, pitch and width of the view in degrees, and the share of pixels below white."""

SIZE_PX = (672, 448)


def main(folder: Path) -> None:
    """Writes NAME.jpg beside this file."""
    width, height = SIZE_PX
    for name, (panorama, yaw_deg, pitch_deg, view_deg, share) in VIEWS.items():
        file = folder / f"{panorama}.hdr"
        if not file.exists():
            sys.exit(f"{file} is missing: get it from polyhaven.com")
        linear = view_into(load_panorama(file), Direction(yaw_deg, pitch_deg, view_deg), height, width)
        white = float(np.quantile(linear.max(2), share))
        pixels = (linear_to_srgb(np.minimum(linear / white, 1)) * 255 + 0.5).astype(np.uint8)
        Image.fromarray(pixels).save(Path(__file__).with_name(f"{name}.jpg"), quality=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
