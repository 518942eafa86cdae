"""Makes the picture at the top of the README: one example before and after, side by side.

python examples/make_before_after.py [NAME]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from rave_runtime import Enhancer

GAP_PX = 8


def main(name: str = "garden") -> None:
    """Writes docs/before_after.jpg."""
    here = Path(__file__).parent
    before = np.asarray(Image.open(here / f"{name}.jpg"))
    after = Enhancer().enhance(before)
    gap = np.full((before.shape[0], GAP_PX, 3), 255, np.uint8)
    sheet = Image.fromarray(np.concatenate([before, gap, after], 1))
    sheet.save(here.parent / "docs" / "before_after.jpg", quality=88)


if __name__ == "__main__":
    main(*sys.argv[1:])
