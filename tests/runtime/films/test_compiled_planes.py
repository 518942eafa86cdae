"""The compiled pass over a film's luma gives what numpy gives, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rave_runtime.films.plane_format import Plane, PlaneFormat
from rave_runtime.films.planes import relight_planes
from rave_runtime.films.shade_colours import MeanColours
from rave_runtime.light import compiled
from rave_runtime.light.reduction import UpsampledLight

pytestmark = pytest.mark.skipif(compiled.library() is None, reason="built without a C compiler")

PADDING = 5


def divided(layout: PlaneFormat, height: int, width: int, knee: float | None, seed: int) -> list[Plane]:
    """The planes of a frame of noise with padded rows, padding included, after they were divided."""
    rng = np.random.default_rng(seed)
    small = (-(-height // layout.down), -(-width // layout.across) + PADDING)
    sizes = [(height, width + PADDING), *([small, small] if layout.has_chroma else [])]
    noise = [rng.integers(0, 2**layout.bits, size) for size in sizes]
    whole: list[Plane] = [
        values.astype(np.uint8) if layout.bits == 8 else values.astype(np.uint16) for values in noise
    ]
    planes = tuple(plane[:, :-PADDING] for plane in whole)
    light = UpsampledLight(rng.random((2, 9, 14), np.float32) * np.float32(1.2), 0.05, 1.2, height, width)
    colours = None
    if MeanColours.fits(layout, height, width):
        colours = MeanColours((planes[1], planes[2]), layout)
    relight_planes(planes, layout, light, knee, colours)
    return whole


@settings(max_examples=60, deadline=None)
@given(
    bits=st.sampled_from([8, 10, 12]),
    sharing=st.sampled_from([(1, 1), (2, 1), (2, 2)]),
    full=st.booleans(),
    colour=st.booleans(),
    height=st.integers(1, 300),
    width=st.integers(1, 200),
    knee=st.sampled_from([None, 0.5, 0.75]),
    seed=st.integers(0, 1000),
)
def test_frames_are_the_same_bit_for_bit(
    bits: int,
    sharing: tuple[int, int],
    full: bool,
    colour: bool,
    height: int,
    width: int,
    knee: float | None,
    seed: int,
) -> None:
    layout = PlaneFormat(bits, *sharing, full, colour)
    fast = divided(layout, height, width, knee, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "library", lambda: None)
        plain = divided(layout, height, width, knee, seed)
    for one, other in zip(fast, plain, strict=True):
        np.testing.assert_array_equal(one, other)
