"""The weights of luma and of the colour differences beside it, as JPEG and BT.601 define them."""

from __future__ import annotations

from typing import Final

LUMA_BT601: Final = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma (Y). Source: ITU-R BT.601."""

TO_YCBCR: Final = (LUMA_BT601, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""The rows of the matrix from R, G and B to Y, Cb and Cr. Source: JFIF, ITU-T T.871."""

FROM_CBCR: Final = ((0.0, 1.402), (-0.344136, -0.714136), (1.772, 0.0))
"""The rows of the matrix from Cb and Cr to R, G and B, without the share of Y. Source: JFIF, ITU-T T.871."""
