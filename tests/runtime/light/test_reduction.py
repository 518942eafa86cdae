from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rave_runtime import Enhancer
from rave_runtime.light.reduction import GuidedLight, Reduction, box_means, fit_line, luminance
from rave_runtime.photos.photo import Photo
from tests.runtime.pictures import MakePicture

pytestmark = pytest.mark.usefixtures("passes")


def guide_of(image: NDArray[np.uint8], long_side_px: int) -> NDArray[np.float32]:
    return luminance(Reduction(image, long_side_px).pixels)


def test_reduction_keeps_proportion_and_mean(picture: MakePicture) -> None:
    image = picture(300, 400)
    reduced = Reduction(image, 100).pixels
    assert reduced.shape == (75, 100, 3)
    assert reduced.mean() == pytest.approx(image.mean(), abs=0.5)
    deep = Reduction(image.astype(np.uint16) * 257, 100).pixels
    np.testing.assert_allclose(deep, reduced / 255, atol=3 / 255)


@pytest.mark.parametrize(
    ("height", "width", "long_side_px"),
    [(300, 400, 100), (517, 389, 32), (129, 1000, 96), (70, 90, 64), (5, 700, 33)],
)
def test_strips_give_what_pillow_makes_of_the_whole(
    picture: MakePicture, height: int, width: int, long_side_px: int
) -> None:
    image = picture(height, width)
    whole = Image.fromarray(image)
    reduction = Reduction(image, long_side_px)
    size = reduction.pixels.shape[1::-1]
    expected = np.asarray(whole.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0))
    np.testing.assert_array_equal(reduction.pixels, expected)
    np.testing.assert_array_equal(reduction.luminance(0, height), np.asarray(whole.convert("L")))


def test_deep_rows_have_the_luminance_of_their_bytes(picture: MakePicture) -> None:
    image = picture(80, 120)
    deep = Reduction(image.astype(np.uint16) * 257, 40).luminance(10, 30)
    assert deep.shape == (20, 120)
    np.testing.assert_allclose(deep, Reduction(image, 40).luminance(10, 30) / 255, atol=0.6 / 255)


@pytest.mark.parametrize("radius", [1, 4, 30])
def test_box_means_are_means_over_what_is_inside(radius: int) -> None:
    values = np.random.default_rng(0).random((2, 9, 14), np.float32)
    expected = np.empty_like(values)
    for y, x in np.ndindex(9, 14):
        window = values[:, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        expected[:, y, x] = window.mean((1, 2))
    np.testing.assert_allclose(box_means(values, radius), expected, atol=1e-6)


@pytest.mark.parametrize("width", [640, 641, 997, 2000])
def test_a_ramp_of_light_stays_a_ramp_at_any_width(width: int) -> None:
    """Over a flat picture, which has no edges to follow; the fit's windows end at the borders."""
    ramp = np.tile(np.linspace(0.2, 0.9, 60, dtype=np.float32), (40, 1))
    guided = GuidedLight(ramp, np.full((40, 60), 0.5, np.float32), 300, width, radius_px=2)
    light = guided.rows(100, 200, np.full((100, width), 128, np.uint8))
    assert light.shape == (100, width)
    at = (np.arange(width) + 0.5) * (60 / width) - 0.5
    inside = (at > 4) & (at < 55)
    np.testing.assert_allclose(light[:, inside], np.tile(0.2 + 0.7 * at[inside] / 59, (100, 1)), atol=1e-5)


def test_a_long_strip_keeps_two_pixels(picture: MakePicture) -> None:
    assert Reduction(picture(3, 900), 64).pixels.shape == (2, 64, 3)


def test_constant_light_stays_constant(picture: MakePicture) -> None:
    image = picture(200, 300)
    guided = GuidedLight(np.full((40, 60), 0.4, np.float32), guide_of(image, 60), 200, 300)
    np.testing.assert_allclose(guided.rows(30, 90, luminance(image[30:90])), 0.4, atol=1e-5)


def test_light_that_is_a_line_over_luminance_is_recovered_at_edges(picture: MakePicture) -> None:
    image = picture(400, 600)
    guide = guide_of(image, 100)
    light = 0.2 + 0.7 * guide
    full = GuidedLight(light, guide, 400, 600).rows(0, 400, luminance(image))
    expected = np.clip(0.2 + 0.7 * luminance(image), light.min(), light.max())
    assert np.abs(full - expected).mean() < 0.01
    assert np.abs(full - expected).max() < 0.1


@pytest.mark.parametrize("long_side_px", [300, 1000, 8000])
def test_parts_of_a_photograph_of_any_size_keep_their_own_light(long_side_px: int) -> None:
    guide = np.random.default_rng(0).uniform(0.2, 0.8, (96, 144)).astype(np.float32)
    light = np.full((96, 144), 0.4, np.float32)
    light[:, 72:] = 0.8
    slope, offset = fit_line(light, guide, long_side_px)
    away_from_the_step = np.abs(np.arange(144) - 71.5) > 13
    fitted = (slope * guide + offset)[:, away_from_the_step]
    np.testing.assert_allclose(fitted, light[:, away_from_the_step], atol=1e-3)


def test_strips_join_without_a_seam(picture: MakePicture) -> None:
    image = picture(301, 200)
    guided = GuidedLight(np.random.default_rng(0).random((60, 40), np.float32), guide_of(image, 60), 301, 200)
    luma = luminance(image)
    parts = [
        guided.rows(start, min(start + 37, 301), luma[start : start + 37]) for start in range(0, 301, 37)
    ]
    np.testing.assert_allclose(np.concatenate(parts), guided.rows(0, 301, luma), atol=1e-6)


def test_light_never_leaves_the_range_the_network_gave(picture: MakePicture) -> None:
    image = picture(200, 300)
    light = np.random.default_rng(1).uniform(0.3, 0.9, (40, 60)).astype(np.float32)
    full = GuidedLight(light, guide_of(image, 60), 200, 300).rows(0, 200, luminance(image))
    assert light.min() <= full.min()
    assert full.max() <= light.max()


def test_small_images_are_not_enlarged(picture: MakePicture) -> None:
    image = picture(60, 80)
    np.testing.assert_array_equal(
        Enhancer(working_size=100, device="cpu").illumination(image),
        Enhancer(working_size=None, device="cpu").illumination(image),
    )


def test_the_working_size_barely_changes_the_result(picture: MakePicture) -> None:
    image = picture(300, 400)
    small, full = (Enhancer(working_size=size, device="cpu").enhance(image) for size in (128, None))
    assert np.abs(small.astype(float) - full).mean() < 8


@pytest.mark.parametrize("working_size", [64, None])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_photograph_may_give_its_pixels_for_the_result(
    picture: MakePicture, working_size: int | None, channels: int
) -> None:
    one = Enhancer(working_size=working_size, tile_size=40, device="cpu")
    pixels = picture(90, 120)[..., :channels].copy()
    expected = one.enhance_photo(Photo(pixels, "PNG"))
    found = one.enhance_photo(Photo(pixels, "PNG"), reuse=True)
    np.testing.assert_array_equal(found, expected)
    assert np.shares_memory(found, pixels) == (working_size is not None)


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_strength_is_a_power_of_the_light(picture: MakePicture, strength: float) -> None:
    image = picture(60, 80)
    one, other = (
        Enhancer(working_size=None, strength=s, highlights=s, device="cpu") for s in (1.0, strength)
    )
    light = one.illumination(image)
    power = np.where(light > 1, min(strength, 1.0), strength)  # above 1 nothing is darkened twice
    np.testing.assert_allclose(other.illumination(image), light**power, atol=1e-5)
    if strength == 0:
        np.testing.assert_array_equal(other.enhance(image), image)
