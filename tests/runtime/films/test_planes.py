"""Dividing planes is dividing red, green and blue."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime.films import planes as planes_module
from rave_runtime.films.plane_format import PlaneFormat, as_plane
from rave_runtime.films.planes import relight_planes
from rave_runtime.light.relight import relight_gently
from rave_runtime.light.workspace import Workspace
from tests.runtime.films.conftest import EvenLight

WEIGHTS = np.array([0.2126, 0.7152, 0.0722])


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


@pytest.mark.parametrize("knee", [None, 0.75])
@pytest.mark.parametrize("bits", [8, 10])
def test_luma_above_white_stays_there(knee: float | None, bits: int) -> None:
    """Cameras write highlights up to 254 of 8 bits, which programs for grading bring back."""
    layout = PlaneFormat(bits, 1, 1, False, has_chroma=False)
    scale = 2 ** (bits - 8)
    before = (np.arange(16, 255)[None] * scale).astype(np.uint8 if bits == 8 else np.uint16)
    for value in (1.0, 0.5):
        after = before.copy()
        relight_planes((after,), layout, EvenLight(value), knee)
        assert np.all(np.diff(after[0].astype(int)) >= 0)
        if value == 1:
            np.testing.assert_array_equal(after, before)
        else:
            assert 235 * scale <= after.max() <= 254 * scale


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


@pytest.mark.parametrize("layout", [PlaneFormat(8, 2, 2, False), PlaneFormat(10, 1, 1, True)], ids=str)
def test_strips_and_used_memory_change_nothing(layout: PlaneFormat) -> None:
    class SlopedLight:
        """Darker to the left, by the luma too; the same for whole frames and strips."""

        def rows(
            self, start: int, stop: int, luma: NDArray[np.float32], workspace: Workspace | None = None
        ) -> NDArray[np.float32]:
            across = np.linspace(0.2, 1.1, luma.shape[1], dtype=np.float32)
            return np.asarray(across + np.float32(0.3) * luma + np.float32(0.001 * start % 1), np.float32)

    rng = np.random.default_rng(0)
    rgb = np.clip(
        np.kron(rng.random((50, 6, 1)), np.ones((6, 8, 3))) + rng.normal(0, 0.1, (300, 48, 3)), 0, 1
    )
    space = Workspace()
    for _ in range(2):
        planes, expected = to_planes(rgb, layout), to_planes(rgb, layout)
        relight_planes(planes, layout, SlopedLight(), 0.75, workspace=space)
        for start in range(0, 300, planes_module.STRIP_ROWS):
            relight_plainly(expected, layout, SlopedLight(), 0.75, start)
        for plane, other in zip(planes, expected, strict=True):
            assert np.abs(plane.astype(int) - other).max() <= 1


def relight_plainly(
    planes: tuple[NDArray[Any], ...], layout: PlaneFormat, light: Any, knee: float, start: int
) -> None:
    """What `relight_planes` does to one strip, in double precision and as the equations say it."""
    rows = slice(start, min(start + planes_module.STRIP_ROWS, len(planes[0])))
    luma = (planes[0][rows] - layout.black) / layout.luma_span
    divisor = np.maximum(light.rows(rows.start, rows.stop, luma.astype(np.float32)), 1 / 64)
    lifted = luma / divisor
    over = np.maximum(lifted - knee, 0)
    limited = np.minimum(divisor, 1)
    bend = (1 - limited) / ((1 - knee * limited) * (1 - knee))
    lifted = np.where(lifted > knee, knee + over / (1 + bend * over), lifted).clip(-1, 1)
    height, width = luma.shape[0] // layout.down, luma.shape[1] // layout.across
    before, after = (
        each.reshape(height, layout.down, width, layout.across).mean((1, 3)) for each in (luma, lifted)
    )
    scale = (np.abs(after) + 1 / 255) / (np.abs(before) + 1 / 255)
    part = slice(rows.start // layout.down, rows.start // layout.down + height)
    for plane in planes[1:]:
        values = (plane[part] - layout.neutral) * scale + layout.neutral
        plane[part] = np.floor(values.clip(*layout.chroma_bounds) + 0.5)
    planes[0][rows] = np.floor((lifted * layout.luma_span + layout.black + 0.5).clip(0, 2**layout.bits - 1))
