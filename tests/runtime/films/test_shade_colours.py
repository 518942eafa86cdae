"""Colour noise of a film's shade is smoothed; colours and everything in the light stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime import Enhancer
from rave_runtime.films.plane_format import PlaneFormat
from rave_runtime.films.planes import relight_planes
from rave_runtime.films.shade_colours import MeanColours
from rave_runtime.light.workspace import Workspace
from tests.runtime.films.conftest import EvenLight

LAYOUTS = [
    PlaneFormat(8, 2, 2, False),
    PlaneFormat(8, 1, 1, True),
    PlaneFormat(10, 2, 1, False),
    PlaneFormat(12, 2, 2, True),
]


def noisy_planes(
    layout: PlaneFormat, height: int = 150, width: int = 90, noise: float = 2.0
) -> tuple[NDArray[Any], ...]:
    """A dark frame, grey above and red below, with noise of colour in levels of 8 bits."""
    rng = np.random.default_rng(2)
    step = 2 ** (layout.bits - 8)
    dtype = np.uint8 if layout.bits == 8 else np.uint16
    luma = np.full((height, width), layout.black + 0.2 * layout.luma_span)
    rows, cols = -(-height // layout.down), -(-width // layout.across)
    planes = [luma]
    for red in (-10, 40):
        colour = np.zeros((rows, cols))
        colour[rows // 2 :] = red
        planes.append(layout.neutral + step * (colour + rng.normal(0, noise, colour.shape)))
    return tuple(np.round(plane).astype(dtype) for plane in planes)


def smoothed_plainly(planes: tuple[NDArray[Any], ...], layout: PlaneFormat, divisor: float) -> NDArray[Any]:
    """The equation of `MeanColours`, value by value: [2, rows, cols] with 0 for no colour, in [-1, 1]."""
    low, high = layout.chroma_bounds
    chroma = np.stack([(plane - layout.neutral) / (high - low) for plane in planes[1:]])
    rows, cols = chroma.shape[1:]
    tall, wide = 8 // layout.down, 8 // layout.across
    down, across = rows // tall, cols // wide
    blocks = chroma[:, : down * tall, : across * wide].reshape(2, down, tall, across, wide).mean((2, 4))
    padded, means = np.pad(blocks, ((0, 0), (2, 2), (2, 2)), "edge"), blocks.copy()
    for i in range(down):
        for j in range(across):
            apart = padded[:, i : i + 5, j : j + 5] - blocks[:, i, j][:, None, None]
            alike = np.maximum(1 - (apart**2).sum(0) / (14 / 255) ** 2, 0)
            means[:, i, j] += (alike * apart).mean((1, 2))
    y = np.clip((np.arange(rows) + 0.5) / tall - 0.5, 0, down - 1)
    x = np.clip((np.arange(cols) + 0.5) / wide - 0.5, 0, across - 1)
    across_means = np.stack([[np.interp(x, np.arange(across), row) for row in plane] for plane in means])
    around = np.stack(
        [[np.interp(y, np.arange(down), column) for column in plane.T] for plane in across_means]
    )
    shift = around.swapaxes(1, 2) - chroma
    t, luma = 6 / 255, (float(planes[0][0, 0]) - layout.black) / layout.luma_span
    shade = np.clip((0.7 - divisor) / 0.35, 0, 1)
    return np.asarray(chroma + shift * t**2 / (t**2 + (shift**2).sum(0)) * luma / (luma + t) * shade)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("divisor", [0.3, 0.5, 0.69])
def test_values_are_those_of_the_equation(layout: PlaneFormat, divisor: float) -> None:
    planes = noisy_planes(layout)
    expected = smoothed_plainly(planes, layout, divisor)
    colours = MeanColours((planes[1], planes[2]), layout)
    low, high = layout.chroma_bounds
    values = np.stack([plane.astype(np.float32) - np.float32(layout.neutral) for plane in planes[1:]])
    luma = np.full(values.shape[1:], (float(planes[0][0, 0]) - layout.black) / layout.luma_span, np.float32)
    space = Workspace()
    for start in range(0, values.shape[1], 16):
        rows = slice(start, start + 16)
        colours.smooth(values[:, rows], start, luma[rows], np.full_like(luma[rows], divisor), space)
    np.testing.assert_allclose(values / (high - low), expected, atol=2e-5)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_noise_falls_and_colours_stay(layout: PlaneFormat) -> None:
    planes, clean = noisy_planes(layout), noisy_planes(layout, noise=0)
    plain = tuple(plane.copy() for plane in planes)
    relight_planes(plain, layout, EvenLight(0.3))
    relight_planes(planes, layout, EvenLight(0.3), None, MeanColours((planes[1], planes[2]), layout))
    relight_planes(clean, layout, EvenLight(0.3))
    np.testing.assert_array_equal(planes[0], plain[0])
    step = 2 ** (layout.bits - 8)
    for plane, noisy, true in zip(planes[1:], plain[1:], clean[1:], strict=True):
        even = slice(plane.shape[0] // 4)
        errors = [np.sqrt(np.mean((each.astype(float) - true)[even] ** 2)) for each in (plane, noisy)]
        assert errors[0] < 0.75 * errors[1]
        for row in (plane.shape[0] // 2 - 1, plane.shape[0] // 2 + 1):  # beside a sharp edge of colour
            assert abs(plane[row].mean() - float(true[row].mean())) < 8 * step  # of 130


def test_coloured_things_in_the_shade_have_no_halo() -> None:
    """Red beside green stays red 16 pixels from the edge, where a plain mean over blocks mixes both."""
    layout = PlaneFormat(8, 2, 2, False)
    planes = (np.full((64, 96), 60, np.uint8), *(np.full((32, 48), value, np.uint8) for value in (122, 140)))
    planes[1][:, 24:], planes[2][:, 24:] = 120, 116
    plain = tuple(plane.copy() for plane in planes)
    relight_planes(plain, layout, EvenLight(0.3))
    relight_planes(planes, layout, EvenLight(0.3), None, MeanColours((planes[1], planes[2]), layout))
    for plane, expected in zip(planes[1:], plain[1:], strict=True):
        np.testing.assert_array_equal(plane[:, [15, 32]], expected[:, [15, 32]])


def test_what_is_not_lifted_keeps_its_colours() -> None:
    layout = PlaneFormat(8, 2, 2, False)
    planes = noisy_planes(layout)
    before = [plane.copy() for plane in planes]
    relight_planes(planes, layout, EvenLight(1.0), 0.75, MeanColours((planes[1], planes[2]), layout))
    for plane, old in zip(planes, before, strict=True):
        np.testing.assert_array_equal(plane, old)


def test_frames_without_colours_or_blocks_are_left_out() -> None:
    layout = PlaneFormat(8, 2, 2, False)
    assert MeanColours.fits(layout, 16, 16)
    assert not MeanColours.fits(layout, 15, 400)
    assert not MeanColours.fits(PlaneFormat(8, 1, 1, False, has_chroma=False), 400, 400)
    planes = noisy_planes(layout, 17, 33)
    relight_planes(planes, layout, EvenLight(0.3), None, MeanColours((planes[1], planes[2]), layout))


def test_films_use_it(make_film: Any, tmp_path: Any) -> None:
    from rave_runtime.films.enhancing import enhance_film

    from .conftest import moving_scene, read_film

    rng = np.random.default_rng(3)
    frames = [
        np.clip(frame + rng.normal(0, 5, frame.shape), 0, 255).astype(np.uint8)
        for frame in moving_scene(4, step_px=0, noise=0)
    ]
    film = make_film(frames=frames, pixel_format="yuv444p")
    enhance_film(film, tmp_path / "out.mp4", Enhancer(device="cpu", threads=1))

    def colour_noise(path: Any) -> float:
        frame = read_film(path)[-1][60:].astype(float)
        return float(np.std(frame[..., 0] - frame[..., 2]) / frame.mean())

    assert colour_noise(tmp_path / "out.mp4") < 0.8 * colour_noise(film)
