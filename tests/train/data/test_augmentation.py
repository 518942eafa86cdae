from __future__ import annotations

import numpy as np
import pytest
import torch

from rave_train.data.augmentation import (
    FOR_ENHANCEMENT,
    FOR_GUIDANCE,
    Augmentation,
    Placement,
    draw_placement,
    place,
)

PLAIN = Placement(False, False, False, None)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_published_values() -> None:
    assert Augmentation(0.5, 0.3, (0.7, 1.3), 0.3, 90.0) == FOR_ENHANCEMENT
    assert FOR_GUIDANCE.zoom_range == (0.5, 1.5)


def test_flips_move_pixels_without_changing_them(image: torch.Tensor) -> None:
    assert torch.equal(place(image, PLAIN), image)
    assert torch.equal(place(image, Placement(True, False, False, None)), image.flip(2))
    assert torch.equal(place(image, Placement(False, True, False, None)), image.flip(1))
    assert torch.equal(place(image, Placement(False, False, True, None)), image.transpose(1, 2))


def test_a_quarter_turn_is_a_quarter_turn(image: torch.Tensor) -> None:
    turned = place(image, Placement(False, False, False, ((0.0, -1.0), (1.0, 0.0))))
    assert min((turned - image.rot90(k, (1, 2))).abs().max() for k in (1, 3)) < 1e-5


def test_zooming_out_reflects_the_borders() -> None:
    image = torch.linspace(0, 1, 16).expand(3, 16, 16).contiguous()
    small = place(image, Placement(False, False, False, ((2.0, 0.0), (0.0, 2.0))))
    # The middle half holds the whole ramp, its neighbours the ramp mirrored.
    assert small[0, 8, 4] < 0.1 < 0.9 < small[0, 8, 11]
    torch.testing.assert_close(small[0, 8, :4], small[0, 8, 4:8].flip(0), rtol=0, atol=1e-5)


def test_frequencies_and_ranges_are_the_published_ones() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_placement(FOR_ENHANCEMENT, rng) for _ in range(4000)]
    for part in ("mirrored", "upside_down", "transposed"):
        assert np.mean([getattr(p, part) for p in drawn]) == pytest.approx(0.5, abs=0.03)
    moved = [np.array(p.matrix) for p in drawn if p.matrix is not None]
    assert len(moved) / 4000 == pytest.approx(1 - 0.7 * 0.7, abs=0.03)
    factors = np.array([1 / np.linalg.norm(m, axis=1) for m in moved])
    assert factors.min() == pytest.approx(0.7, abs=0.02)
    assert factors.max() == pytest.approx(1.3, abs=0.02)
    angles = [np.rad2deg(np.arctan2(-m[0, 1], m[0, 0])) for m in moved]
    assert -90 <= min(angles) < -80
    assert 80 < max(angles) <= 90


def test_the_same_seed_places_both_pictures_alike(image: torch.Tensor) -> None:
    placements = [draw_placement(FOR_GUIDANCE, np.random.default_rng([7, 3])) for _ in range(2)]
    assert placements[0] == placements[1]
    assert torch.equal(place(image, placements[0]), place(image, placements[1]))
    assert 0 <= place(image, placements[0]).min() <= place(image, placements[0]).max() <= 1
