from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime import Enhancer
from rave_runtime.photo import Photo
from rave_runtime.reduction import GuidedLight, luminance, reduce_image

MakePicture = Callable[..., NDArray[np.uint8]]


def test_reduction_keeps_proportion_and_mean(picture: MakePicture) -> None:
    image = picture(300, 400)
    reduced = reduce_image(image, 100)
    assert reduced.shape == (75, 100, 3)
    assert reduced.mean() == pytest.approx(image.mean() / 255, abs=2e-3)
    deep = reduce_image(image.astype(np.uint16) * 257, 100)
    np.testing.assert_allclose(deep, reduced, atol=3 / 255)


def test_a_long_strip_keeps_two_pixels(picture: MakePicture) -> None:
    assert reduce_image(picture(3, 900), 64).shape == (2, 64, 3)


def test_constant_light_stays_constant(picture: MakePicture) -> None:
    image = picture(200, 300)
    guided = GuidedLight(np.full((40, 60), 0.4, np.float32), reduce_image(image, 60), 200, 300)
    np.testing.assert_allclose(guided.rows(30, 90, image[30:90]), 0.4, atol=1e-5)


def test_light_that_is_a_line_over_luminance_is_recovered_at_edges(picture: MakePicture) -> None:
    image = picture(400, 600)
    reduced = reduce_image(image, 100)
    light = 0.2 + 0.7 * (reduced @ np.array([0.299, 0.587, 0.114], np.float32))
    full = GuidedLight(light, reduced, 400, 600).rows(0, 400, image)
    expected = np.clip(0.2 + 0.7 * luminance(image), light.min(), light.max())
    assert np.abs(full - expected).mean() < 0.01
    assert np.abs(full - expected).max() < 0.1


def test_strips_join_without_a_seam(picture: MakePicture) -> None:
    image = picture(301, 200)
    guided = GuidedLight(
        np.random.default_rng(0).random((60, 40), np.float32), reduce_image(image, 60), 301, 200
    )
    parts = [
        guided.rows(start, min(start + 37, 301), image[start : start + 37]) for start in range(0, 301, 37)
    ]
    np.testing.assert_allclose(np.concatenate(parts), guided.rows(0, 301, image), atol=1e-6)


def test_light_never_leaves_the_range_the_network_gave(picture: MakePicture) -> None:
    image = picture(200, 300)
    light = np.random.default_rng(1).uniform(0.3, 0.9, (40, 60)).astype(np.float32)
    full = GuidedLight(light, reduce_image(image, 60), 200, 300).rows(0, 200, image)
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
    one, other = (Enhancer(working_size=None, strength=s, device="cpu") for s in (1.0, strength))
    np.testing.assert_allclose(other.illumination(image), one.illumination(image) ** strength, atol=1e-5)
    if strength == 0:
        np.testing.assert_array_equal(other.enhance(image), image)
