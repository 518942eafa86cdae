"""The kinds of arrays that all packages pass around. Docstrings give their shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
"""Light, luminance and other values that are computed with."""

Picture = NDArray[np.uint8]
"""[h, w, 3] uint8 sRGB: what training, exporting and measuring read pictures as."""

Pixels = NDArray[np.unsignedinteger[Any]]
"""[h, w, c] of 8 or 16 bits: a photograph's values as its file holds them."""
