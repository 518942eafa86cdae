"""A bright frame around a photograph, such as a print's white border, does not count as light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rave_runtime import Enhancer
from rave_runtime.light.estimate import frame_of
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
    assert frame.inside == (slice(9, 89), slice(7, 127))


@pytest.mark.parametrize("flaw", ["dust", "line of the lid", "rounded corners", "date"])
def test_a_flaw_hides_no_frame(picture: MakePicture, flaw: str) -> None:
    """Of scans with dust, four of five were taken for photographs without a frame."""
    scan = framed(picture(80, 120) // 2)
    if flaw == "dust":
        scan[3, [20, 70]] = scan[[30, 60], 4] = scan[-4, -4] = 60
    elif flaw == "line of the lid":
        scan[-1] = scan[:, 0] = 40
    elif flaw == "rounded corners":
        for rows, cols in ((slice(3), slice(3)), (slice(-3, None), slice(-3, None))):
            scan[rows, cols] = 10
    else:
        scan[-6:-3, 60:74] = 40
    frame = frame_of(scan)
    assert frame is not None
    assert frame.inside == (slice(9, 89), slice(7, 127))


def test_what_is_no_frame_is_none(picture: MakePicture) -> None:
    inside = picture(80, 120) // 2
    assert frame_of(inside) is None
    assert frame_of(framed(inside, right=0, top=0)) is None, "neither above and below nor on both sides"
    assert frame_of(framed(inside, top=70, left=0, right=0)) is None, "it is too wide"
    subject = np.full((80, 120, 3), 240, np.uint8)
    for row in range(80):
        subject[row, 60 - row // 3 : 60 + row // 3] = 30
    assert frame_of(subject) is None, "such as a person before a white wall"
    assert frame_of(framed(inside) // 2) is None, "a dark frame does no harm"
    assert frame_of(np.full((40, 60, 3), 250, np.uint8)) is None
    for size in (1, 2, 4, 5, 6):
        assert frame_of(np.full((size, 9, 3), 250, np.uint8)) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("axis", [0, 1])
def test_bars_on_two_sides_are_found(picture: MakePicture, axis: int, dtype: Any) -> None:
    """They bring an upright photograph to the shape of a screen, or a wide one to a square."""
    height, width = (36, 120) if axis == 0 else (120, 36)
    inside = framed(picture(height, width) // 2, 0, 0, 0, 0)
    pads = [(36, 35) if each == axis else (0, 0) for each in (0, 1)]
    barred = np.pad(inside, [*pads, (0, 0)], constant_values=255).astype(dtype)
    frame = frame_of(barred * {np.uint8: 1, np.uint16: 257, np.float32: 1 / np.float32(255)}[dtype])
    assert frame is not None
    assert frame.inside[axis] == slice(36, 72)
    assert frame.inside[1 - axis] == slice(None)


@pytest.mark.parametrize("sides", ["all", "above and below", "left and right"])
@pytest.mark.parametrize("border_px", [8, 20, 32])
def test_a_print_is_enhanced_as_without_its_border(border_px: int, sides: str) -> None:
    """Pixels that the reduction mixed from print and border passed for light."""
    enhancer = Enhancer(device="cpu", precision="fp32")
    image = Image.open(Path(__file__).parents[3] / "examples" / "garden.jpg", formats=["JPEG"])
    image.thumbnail((400, 400))
    inside = np.asarray(image.convert("RGB"))
    rows, cols = border_px * (sides != "left and right"), border_px * (sides != "above and below")
    scan = framed(inside, rows, rows, cols, cols)
    found = enhancer.enhance(scan)
    core = found[rows : rows + len(inside), cols : cols + inside.shape[1]]
    error = core.astype(np.float64) - enhancer.enhance(inside)
    assert 20 * np.log10(255 / np.sqrt(np.mean(error**2))) > 35, "PSNR in decibels"
    outermost = (slice(rows // 2 or None), slice(None if rows else cols // 2))
    border = np.abs(found[outermost].astype(int) - scan[outermost])
    assert border.mean() < 2.5, "it glows"
    assert enhancer.backlit_score(scan) == pytest.approx(enhancer.backlit_score(inside), abs=0.02)


def test_white_between_prints_stays_as_white_as_around_them() -> None:
    """It became grey, in a rectangle that was plain to see."""
    page = np.full((300, 400, 3), 250, np.uint8)
    page[30:140, 30:170] = page[160:270, 230:370] = 25
    found = Enhancer(device="cpu", precision="fp32").enhance(page)
    assert found[40:130, 200:360].min() >= 249
