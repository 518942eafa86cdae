"""The kinds of pairs: which side is darker, and what stays."""

from __future__ import annotations

import numpy as np
import pytest

from rave_train.data.synthesis import linear_to_srgb
from rave_train.recipes.scenes import (
    Sources,
    _spot_lit,
    draw_lit,
    draw_shade,
    draw_subject,
    draw_view,
    lifted_stops,
    place_subject,
)
from rave_train.recipes.subjects import draw_mask


def test_views_are_darker_than_their_truths(sources: Sources) -> None:
    rng = np.random.default_rng(0)
    pairs = [pair for _ in range(60) for pair in draw_view(sources, rng, 40, 60)]
    assert len(pairs) >= 6
    assert np.mean([photograph.mean() < truth.mean() for photograph, truth in pairs]) > 0.6
    assert all(side.shape == (40, 60, 3) for pair in pairs for side in pair)


def test_lifted_stops_are_those_of_shade_and_light() -> None:
    truth = np.full((60, 40, 3), 0.7, np.float32)
    truth[:, 20:] = 0.8
    taken = truth.copy()
    linear = ((truth + 0.055) / 1.055) ** 2.4
    taken[:, :20] = linear_to_srgb((linear[:, :20] / 4).astype(np.float32))
    shade, bright = lifted_stops(taken, truth)
    assert shade == pytest.approx(2, abs=0.02)
    assert bright == pytest.approx(0, abs=0.02)


def test_spot_lit_pictures_have_a_dark_background(sources: Sources) -> None:
    rng = np.random.default_rng(5)
    pictures = [_spot_lit(sources, rng, 48, 72) for _ in range(12)]
    assert all(
        picture.dtype == np.float32 and picture.min() >= 0 and picture.max() <= 1 for picture in pictures
    )
    spreads = [float(np.quantile(one, 0.95)) / max(float(np.quantile(one, 0.05)), 1e-3) for one in pictures]
    assert np.median(spreads) > 2


def test_a_subject_is_darker_than_what_is_behind_it() -> None:
    rng = np.random.default_rng(3)
    behind = np.full((60, 90, 3), 0.8, np.float32)
    for _ in range(12):
        placed = place_subject(behind, np.full((60, 90, 3), 0.5, np.float32), rng)
        assert placed.shape == behind.shape
        assert placed.min() < 0.5 * 0.8  # at least 1.5 stops and a quarter of it reflected
        assert placed.max() <= 0.8 + 1e-4


def test_outlines_cover_a_part_of_the_picture() -> None:
    rng = np.random.default_rng(5)
    covered = [float(draw_mask(60, 90, rng).mean()) for _ in range(60)]
    assert 0.1 < np.mean(covered) < 0.9
    assert all(0 <= share <= 1 for share in covered)
    assert draw_mask(30, 50, rng).shape == (30, 50, 1)


def test_subjects_and_shades_are_darker_than_their_truths(sources: Sources) -> None:
    rng = np.random.default_rng(2)
    for draw in (draw_subject, draw_shade):
        pairs = [pair for _ in range(20) for pair in draw(sources, rng, 40, 60)]
        assert len(pairs) >= 10
        assert np.mean([photograph.mean() < truth.mean() for photograph, truth in pairs]) > 0.6


def test_lit_pictures_stay(sources: Sources) -> None:
    rng = np.random.default_rng(4)
    pairs = [pair for _ in range(30) for pair in draw_lit(sources, rng, 40, 60)]
    assert np.mean([np.array_equal(photograph, truth) for photograph, truth in pairs]) > 0.3
    assert max(np.abs(photograph - truth).mean() for photograph, truth in pairs) < 0.06
