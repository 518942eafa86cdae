"""Makes the example photographs: public-domain and CC0 pictures of scikit-image, relit as backlit.

Usage: pip install scikit-image && python examples/make_examples.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from rave_train.data.synthesis import SynthesisRange, synthesize_backlit

SCENE = SynthesisRange(
    foreground_stops=(-3.2, -2.6),
    background_stops=(-0.3, 0.0),
    coverage=(0.7, 0.8),
    softness=(0.04, 0.06),
    field_weight=(0.35, 0.45),
    untouched=0.0,
    jpeg_quality=(95, 95),
)
SEEDS = {"astronaut": 5, "cat": 1, "coffee": 2}


def main() -> None:
    """Writes NAME.jpg beside this file."""
    for name, seed in SEEDS.items():
        picture = getattr(data, name)().astype(np.float32) / np.float32(255)
        backlit = synthesize_backlit(picture, np.random.default_rng(seed), SCENE)
        pixels = (backlit * 255 + 0.5).astype(np.uint8)
        Image.fromarray(pixels).save(Path(__file__).with_name(f"{name}.jpg"), quality=90)


if __name__ == "__main__":
    main()
