"""Exposure fusion: one picture of several shots of a scene, each part taken from where it is exposed well."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from rave_runtime.arrays import Array, Picture


def fuse_exposures(shots: Sequence[Picture]) -> Array:
    """Fuses shots of one scene; contrast, saturation and exposure have equal weights.

    OpenCV's defaults give exposure no weight, and such fusions are brighter. Its threads add the shots in the
    order in which they are done, and a pixel may come out a grey level off. Here it works in one thread, so
    the same shots give the same fusion.

    Source: Mertens, Kautz and Van Reeth, Exposure Fusion, 2007; OpenCV's implementation.

    Args:
        shots: [h, w, 3] uint8 each, sRGB.

    Returns:
        [h, w, 3] float32, sRGB in [0, 1].
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        fused = cv2.createMergeMertens(1, 1, 1).process(list(shots))
    finally:
        cv2.setNumThreads(threads)
    return np.clip(np.asarray(fused, np.float32), 0, 1)
