from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rave_runtime.light.relight import relight


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_it_divides_clips_and_rounds(dtype: type[np.unsignedinteger[Any]], channels: int) -> None:
    rng = np.random.default_rng(0)
    top = np.iinfo(dtype).max
    image = rng.integers(0, top, (50, 37, channels), dtype, endpoint=True)
    light = rng.uniform(0.2, 1.2, (50, 37)).astype(np.float32)
    exact = np.minimum(image / light[..., None].astype(np.float64), top)
    out = np.empty_like(image)
    relight(image, light, out)
    # Where the exact value is half-way between two, single precision may fall on either side.
    assert np.abs(out - exact).max() < 0.5 + top * 1e-6
    relight(image, light, image)
    np.testing.assert_array_equal(image, out, "in place it is the same")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_without_light_black_stays_black_and_the_rest_turns_white(
    dtype: type[np.unsignedinteger[Any]],
) -> None:
    image = np.array([[[0, 1, np.iinfo(dtype).max]]], dtype)
    out = np.empty_like(image)
    relight(image, np.zeros((1, 1), np.float32), out)
    assert out.tolist() == [[[0, np.iinfo(dtype).max, np.iinfo(dtype).max]]]
