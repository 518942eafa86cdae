"""Black stays black, and white stays white."""

from __future__ import annotations

import numpy as np
import pytest

from rave_runtime.light.look import guard_black, guard_white
from rave_runtime.light.reduction import Reduction
from tests.runtime.light.developing import develop
from tests.runtime.pictures import MakePicture

pytestmark = pytest.mark.usefixtures("passes")


def test_black_backgrounds_stay_black_and_silhouettes_rise() -> None:
    rng = np.random.default_rng(1)
    black = np.full((96, 96, 3), 5, np.uint8)
    black[30:66, 30:66] = rng.integers(60, 200, (36, 36, 3))
    light = np.full((96, 96), 0.3, np.float32)
    found = develop(black, light, size=96)
    background = np.ones((96, 96), bool)
    background[24:72, 24:72] = False
    assert found[background].max() <= 10
    assert found[32:64, 32:64].mean() > 1.3 * black[32:64, 32:64].mean()
    silhouette = np.full((96, 96, 3), 220, np.uint8)
    silhouette[40:] = rng.integers(1, 16, (56, 96, 1)).repeat(3, 2)
    risen = develop(silhouette, light, size=96)
    assert risen[50:].mean() > 2.5 * silhouette[50:].mean()
    wood = np.full((96, 96, 3), (9, 5, 1), np.uint8)
    assert develop(wood, light, size=96).mean() > 2.5 * wood.mean(), "what has a colour is not black"


def test_white_stays_white_and_bright_skies_get_their_tone(picture: MakePicture) -> None:
    product = np.full((96, 96, 3), 255, np.uint8)
    product[30:66, 30:66] = picture(36, 36) // 2
    light = np.full((96, 96), 1.08, np.float32)
    light[30:66, 30:66] = 0.5
    found = develop(product, light, size=96)
    assert found[:24].min() >= 254
    np.testing.assert_allclose(found[36:60, 36:60].mean(), 2 * product[36:60, 36:60].mean(), rtol=0.2)
    sky = np.full((96, 96, 3), (215, 225, 240), np.uint8)
    assert abs(develop(sky, light, size=96)[:24].mean() - sky.mean() / 1.08) < 2


def test_white_has_no_grey_fringe_where_it_meets_what_is_dark() -> None:
    product = np.full((480, 480, 3), 255, np.uint8)
    product[159:321, 159:321] = 40
    small = Reduction(product, 96).pixels[..., 0]
    light = np.where(small > 128, 1.08, 0.85).astype(np.float32)
    assert develop(product, light, size=96)[:159].min() >= 253


def test_the_guards_take_16_bits_as_it_takes_8(picture: MakePicture) -> None:
    pixels = picture(48, 64) // 12
    divisor = np.full((48, 64), 0.3, np.float32)
    eight = guard_black(divisor, pixels)
    assert eight.max() > 0.45
    np.testing.assert_allclose(guard_black(divisor, (pixels / np.float32(255))), eight, atol=1e-4)
    bright = 255 - pixels
    eight = guard_white(2 - divisor, bright)
    assert eight.min() < 1.01 < 1.3 < eight.max()
    np.testing.assert_allclose(guard_white(2 - divisor, bright / np.float32(255)), eight, atol=1e-4)


@pytest.mark.parametrize("light", [1.16, 1.3])
def test_what_is_not_white_is_divided_as_published(light: float) -> None:
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16)
    image = np.repeat(np.repeat(ramp[None, :, None], 8, 0), 3, 2)
    found = develop(image, np.full((8, 4096), light, np.float32), size=4096)[0, :, 0] / 65535
    values = ramp / 65535
    np.testing.assert_allclose(found[values < 0.9], values[values < 0.9] / light, atol=1e-4)
    assert (found[values >= 250 / 255] >= values[values >= 250 / 255] - 1e-4).all()
    assert (np.diff(found) > -2e-5).all(), "what was brighter stays brighter, but for one step of 65535"
