"""The kinds of arrays that all packages pass around. The docstrings of functions give the shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
"""float32 values of any shape, such as light and luminance."""

Picture = NDArray[np.uint8]
"""[h, w, 3] uint8 sRGB: a picture as training, exporting and measuring read it."""

Pixels = NDArray[np.unsignedinteger[Any]]
"""[h, w, c] uint8 or uint16: a photograph's values as its file holds them."""
