"""What an image must be, so that its light can be estimated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rave_runtime.errors import PhotoError


def check_image(image: NDArray[Any]) -> None:
    """Refuses whatever is not an image of [h, w, 3] uint8 or uint16 with pixels.

    Raises:
        PhotoError: it is something else; the message says what.
    """
    if not isinstance(image, np.ndarray):
        raise PhotoError(f"an image is an array of [h, w, 3] uint8 or uint16, not {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
        raise PhotoError(
            f"an image of [h, w, 3] uint8 or uint16 is needed, got {list(image.shape)} {image.dtype}"
        )
    if not image.size:
        raise PhotoError(f"the image has no pixels: its size is {image.shape[1]} x {image.shape[0]}")
