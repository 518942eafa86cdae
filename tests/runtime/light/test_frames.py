"""A bright frame around a photograph, such as a print's white border, does not count as light."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime import Enhancer
from rave_runtime.light.look import frame_of
from tests.runtime.pictures import MakePicture

PAPER = (238, 230, 205)


def framed(inside: NDArray[np.uint8], top: int = 9, bottom: int = 9, left: int = 7, right: int = 7) -> Any:
    """Puts a photograph on noisy, yellowed paper."""
    height, width = inside.shape[:2]
    size = height + top + bottom, width + left + right, 3
    paper = np.random.default_rng(5).normal(PAPER, 3, size).clip(0, 255).astype(np.uint8)
    paper[top : top + height, left : left + width] = inside
    return paper


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_frame_is_found(picture: MakePicture, dtype: Any) -> None:
    pixels = framed(picture(80, 120) // 2, bottom=24).astype(dtype)
    frame = frame_of(pixels * {np.uint8: 1, np.uint16: 257, np.float32: 1 / np.float32(255)}[dtype])
    assert frame is not None
    expected = np.ones((113, 134), bool)
    expected[9:89, 7:127] = False
    assert np.array_equal(frame, expected)


def test_what_is_no_frame_is_none(picture: MakePicture) -> None:
    inside = picture(80, 120) // 2
    assert frame_of(inside) is None
    assert frame_of(framed(inside, right=0)) is None, "it is not on the fourth side"
    assert frame_of(framed(inside, top=60)) is None, "such as a subject before a white wall"
    assert frame_of(framed(inside) // 2) is None, "a dark frame does no harm"
    assert frame_of(np.full((40, 60, 3), 250, np.uint8)) is None
    assert frame_of(np.full((1, 1, 3), 250, np.uint8)) is None


def test_a_print_is_enhanced_as_without_its_border(picture: MakePicture) -> None:
    """Within a border of 8 % it became 15 % darker."""
    enhancer = Enhancer(device="cpu", precision="fp32")
    inside = picture(300, 400) // 2
    alone = enhancer.enhance(inside)
    scan = framed(inside, 32, 32, 32, 32)
    found = enhancer.enhance(scan)
    assert found[32:-32, 32:-32].mean() == pytest.approx(alone.mean(), rel=0.04)
    border = np.abs(found[:24].astype(int) - scan[:24])
    assert border.mean() < 1
