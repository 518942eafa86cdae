"""Exposures of one scene, and the picture that is fused from them."""

from __future__ import annotations

import numpy as np
import pytest

from rave_train.data.synthesis import ToneCurve, linear_to_srgb
from rave_train.recipes.brackets import (
    GLARE,
    Brackets,
    expose_highlights,
    find_exposure,
    stretch,
    take_brackets,
)
from tests.train.recipes.conftest import make_panorama

PLAIN = ToneCurve(0.0, 1.0)


def test_an_exposure_gives_the_mean_that_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    linear = rng.lognormal(0, 1.5, (64, 96, 3)).astype(np.float32) * np.float32(7)
    for mean in (0.2, 0.5):
        exposed = linear_to_srgb(np.minimum(linear * np.float32(find_exposure(linear, mean, PLAIN)), 1))
        assert float(exposed.mean()) == pytest.approx(mean, abs=0.02)


def test_fused_brackets_show_the_room_and_the_window() -> None:
    panorama = make_panorama()
    brackets = Brackets(panorama, 0.2, 6.5, PLAIN)
    fused = brackets.fuse()
    assert 0.3 < fused[50:].mean() < 0.8
    assert fused[24, 64].mean() > 0.6
    dark = linear_to_srgb(np.minimum(panorama * 0.2, 1))
    assert fused[50:].mean() > 3 * dark[50:].mean()


def test_photographs_of_a_scene_lie_where_they_are_asked_for() -> None:
    brackets = Brackets(make_panorama(), 0.2, 6.0, PLAIN)
    middle, below, far = (
        float(brackets.photograph(stops, np.random.default_rng(0)).mean()) for stops in (0.0, 1.5, 9.0)
    )
    assert middle > below > far
    darkest = float(brackets.photograph(3.0, np.random.default_rng(0)).mean())
    assert far == darkest  # never below the dark exposure


def test_even_light_is_no_scene_against_it() -> None:
    even = np.full((32, 48, 3), 0.3, np.float32)
    rng = np.random.default_rng(0)
    spans = [taken.span_stops for _ in range(400) if (taken := take_brackets(make_panorama(), rng))]
    assert spans
    assert 4 < min(spans) <= max(spans) < 7
    # A grey wall is bracketed only where the middle is exposed brightly: its dark shot would be black.
    found = [taken for _ in range(40) if (taken := take_brackets(even, rng))]
    assert len(found) < 20


def test_stretched_light_keeps_its_middle_and_widens() -> None:
    linear = np.random.default_rng(0).lognormal(0, 1, (40, 40, 3)).astype(np.float32)
    wide = stretch(linear, np.random.default_rng(1))
    assert float(np.median(wide)) == pytest.approx(float(np.median(linear)), rel=1e-3)
    assert np.log(wide).std() > np.log(linear).std()


def test_scattered_light_is_even_and_bounded() -> None:
    linear = make_panorama()
    linear[0, 0] = 1e6  # the sun's disc
    added = expose_highlights(linear, np.random.default_rng(0)).linear - linear
    shade = added[50:]
    np.testing.assert_allclose(shade, np.broadcast_to(shade[0, 0], shade.shape), rtol=1e-4)
    assert 0 < float(shade.mean()) <= GLARE[1] * float(np.quantile(linear, 0.99))


def test_a_silhouette_is_no_darker_in_the_truth_than_in_the_photograph() -> None:
    linear = np.ones((64, 96, 3), np.float32)
    linear[20:, 30:60] = 0.002
    rng = np.random.default_rng(3)
    for _ in range(20):
        brackets = expose_highlights(linear, rng)
        photograph = brackets.photograph(0.0, rng)
        assert brackets.fuse()[40:, 40:50].mean() > photograph[40:, 40:50].mean() - 0.02
