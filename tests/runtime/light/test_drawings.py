"""Drawings and screenshots stay as they are: they have no light to lack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime import Enhancer
from rave_runtime.light.estimate import DRAWN, drawn_share
from tests.runtime.pictures import MakePicture


def screenshot() -> NDArray[np.uint8]:
    """Draws a page in dark mode, with lines in the place of text, and a photograph in it."""
    page = np.full((1200, 600, 3), 18, np.uint8)
    page[:90] = 31
    for top in range(120, 900, 200):
        page[top : top + 100, 30:400] = 32, 44, 51
        page[top + 45 : top + 55, 50:250:3] = 220
    page[1000:1150, 30:300] = np.random.default_rng(3).integers(0, 120, (150, 270, 3))
    return page


def test_a_dark_screenshot_stays() -> None:
    """It became grey, with clouds in it."""
    page = screenshot()
    enhancer = Enhancer(device="cpu", precision="fp32")
    assert (enhancer.enhance(page) == page).all()
    assert enhancer.backlit_score(page) == 0


@pytest.mark.parametrize("stops", [0, 2, 4])
def test_a_dark_photograph_is_no_drawing(picture: MakePicture, stops: int) -> None:
    assert drawn_share(picture(96, 144) >> stops) < DRAWN[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_share_is_that_of_dark_pixels_among_those_that_are_not_black(
    picture: MakePicture, dtype: Any
) -> None:
    pixels = np.maximum(picture(90, 120) // 2, 9).astype(np.uint8)
    pixels[:30, :60], pixels[:30, 60:] = 0, 250
    pixels[60:] = 40, 20, 90
    scaled = pixels.astype(dtype) * {np.uint8: 1, np.uint16: 257, np.float32: 1 / np.float32(255)}[dtype]
    assert drawn_share(scaled) == pytest.approx(29 / 75, abs=0.02)
    assert drawn_share(np.zeros((5, 5, 3), dtype)) == 0


def test_a_silhouette_before_an_overexposed_sky_is_no_drawing(picture: MakePicture) -> None:
    """Its sky has exactly one colour, and after white balance, or in a scan, that is not always white."""
    pixels = picture(96, 144) // 4
    pixels[:70] = 236, 240, 244
    assert drawn_share(pixels) < DRAWN[0]
