"""Dividing planes is dividing red, green and blue."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime.films.planes import PlaneFormat, as_plane, relight_planes
from rave_runtime.light.relight import relight_gently

WEIGHTS = np.array([0.2126, 0.7152, 0.0722])


class EvenLight:
    """The same light everywhere."""

    def __init__(self, value: float) -> None:
        self.value = value

    def rows(self, start: int, stop: int, luma: NDArray[np.float32]) -> NDArray[np.float32]:
        assert luma.shape[0] == stop - start
        return np.full(luma.shape, self.value, np.float32)


def to_planes(rgb: NDArray[Any], layout: PlaneFormat) -> tuple[NDArray[Any], ...]:
    """[h, w, 3] in [0, 1] -> planes by the definition of BT.709."""
    luma = rgb @ WEIGHTS
    blue, red = (rgb[..., 2] - luma) / 1.8556, (rgb[..., 0] - luma) / 1.5748
    low, high = layout.chroma_bounds
    dtype = np.uint8 if layout.bits == 8 else np.uint16

    def shrink(plane: NDArray[Any]) -> NDArray[Any]:
        height, width = plane.shape
        rows, cols = height // layout.down, width // layout.across
        return np.asarray(plane.reshape(rows, layout.down, cols, layout.across).mean((1, 3)))

    stored = [np.round(layout.black + layout.luma_span * luma)]
    stored += [np.round(layout.neutral + (high - low) * shrink(plane)) for plane in (blue, red)]
    return tuple(plane.astype(dtype) for plane in stored)


def to_rgb(planes: tuple[NDArray[Any], ...], layout: PlaneFormat) -> NDArray[Any]:
    low, high = layout.chroma_bounds
    luma = (planes[0].astype(float) - layout.black) / layout.luma_span
    blue, red = (
        ((plane.astype(float) - layout.neutral) / (high - low))
        .repeat(layout.down, 0)
        .repeat(layout.across, 1)[: luma.shape[0], : luma.shape[1]]
        for plane in planes[1:]
    )
    r, b = luma + 1.5748 * red, luma + 1.8556 * blue
    return np.stack([r, (luma - WEIGHTS[0] * r - WEIGHTS[2] * b) / WEIGHTS[1], b], 2)


def smooth_picture(height: int = 70, width: int = 44) -> NDArray[Any]:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([0.1 + 0.3 * x, 0.12 + 0.2 * y, 0.4 - 0.3 * x * y], 2)


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("full", [False, True])
def test_planes_are_divided_as_colours_are(bits: int, across: int, down: int, full: bool) -> None:
    layout = PlaneFormat(bits, across, down, full)
    rgb = smooth_picture()
    planes = to_planes(rgb, layout)
    before = to_rgb(planes, layout)
    relight_planes(planes, layout, EvenLight(0.5))
    np.testing.assert_allclose(to_rgb(planes, layout), before / 0.5, atol=2.5 / 2 ** (bits - 2) + 0.008)


def test_light_of_one_changes_nothing() -> None:
    for layout in (PlaneFormat(8, 2, 2, False), PlaneFormat(10, 2, 2, True)):
        planes = to_planes(smooth_picture(), layout)
        before = [plane.copy() for plane in planes]
        relight_planes(planes, layout, EvenLight(1.0))
        for plane, old in zip(planes, before, strict=True):
            np.testing.assert_array_equal(plane, old)


def test_highlights_keep_their_hue_and_end_at_white() -> None:
    layout = PlaneFormat(8, 2, 2, False)
    rgb = np.broadcast_to(np.array([0.9, 0.7, 0.5]), (8, 8, 3))
    planes = to_planes(rgb, layout)
    relight_planes(planes, layout, EvenLight(0.25))
    assert planes[0].max() == 235
    found = to_rgb(planes, layout)[0, 0]
    assert found[0] - found[2] == pytest.approx((0.9 - 0.5) / (rgb[0, 0] @ WEIGHTS), abs=0.02)


@pytest.mark.parametrize("full", [False, True])
def test_highlights_roll_off_as_those_of_photographs_do(full: bool) -> None:
    layout = PlaneFormat(12, 1, 1, full)
    ramp = np.linspace(0, 1, 200)
    planes = to_planes(np.broadcast_to(ramp[None, :, None], (8, 200, 3)), layout)
    relight_planes(planes, layout, EvenLight(0.4), knee=0.75)
    found = to_rgb(planes, layout)[0, :, 0]
    grey = np.broadcast_to(ramp[None, :, None] * 65535, (8, 200, 1)).astype(np.uint16)
    out = np.empty_like(grey)
    relight_gently(grey, np.full((8, 200), 0.4, np.float32), out, 0.75)
    np.testing.assert_allclose(found, out[0, :, 0] / 65535, atol=0.003)
    assert (np.diff(found[100:]) > 0).all(), "what was brighter stays brighter"


def test_a_light_above_one_and_a_knee_change_nothing_else() -> None:
    layout = PlaneFormat(8, 2, 2, False)
    planes, plain = (to_planes(smooth_picture(), layout) for _ in range(2))
    relight_planes(planes, layout, EvenLight(1.25), knee=0.75)
    relight_planes(plain, layout, EvenLight(1.25))
    for plane, other in zip(planes, plain, strict=True):
        np.testing.assert_array_equal(plane, other)


def test_black_stays_black_and_no_value_overflows() -> None:
    layout = PlaneFormat(8, 2, 2, False)
    planes = (np.full((6, 6), 16, np.uint8), np.full((3, 3), 128, np.uint8), np.full((3, 3), 128, np.uint8))
    planes[0][0] = 3  # below black, as some cameras write
    relight_planes(planes, layout, EvenLight(0.0))
    assert planes[0][1:].tolist() == [[16] * 6] * 5
    assert planes[0][0].max() == 0
    assert all((plane == 128).all() for plane in planes[1:])


def test_odd_sizes_and_grey() -> None:
    layout = PlaneFormat(8, 2, 2, False)
    planes = (np.full((7, 5), 60, np.uint8), np.full((4, 3), 120, np.uint8), np.full((4, 3), 140, np.uint8))
    relight_planes(planes, layout, EvenLight(0.5))
    assert np.unique(planes[0]).tolist() == [104]
    assert [np.unique(plane).tolist() for plane in planes[1:]] == [[112], [152]]
    grey = (np.full((7, 5), 60, np.uint8),)
    relight_planes(grey, PlaneFormat(8, 1, 1, False, has_chroma=False), EvenLight(0.5))
    assert np.unique(grey[0]).tolist() == [104]


def test_padded_rows_are_seen_without_a_copy() -> None:
    buffer = bytearray(range(40))
    plane = as_plane(buffer, 4, 7, 10, 8)
    assert plane[1].tolist() == list(range(10, 17))
    plane[1, 0] = 99
    assert buffer[10] == 99
