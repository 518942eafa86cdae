"""A picture in the normal way, as tests of it need it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rave_runtime.light.look import Look
from rave_runtime.light.normal_way import NormalWay
from rave_runtime.light.reduction import Reduction


def develop(
    image: NDArray[Any], light: NDArray[np.float32], look: Look | None = None, size: int = 64
) -> NDArray[Any]:
    """An image in the normal way with a light of its own size, or of its reduction."""
    reduction = Reduction(image, size) if light.shape != image.shape[:2] else None
    out = np.empty_like(image)
    NormalWay(image, light, look or Look(), reduction).develop(image, out)
    return out
