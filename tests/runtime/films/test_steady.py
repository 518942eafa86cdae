"""The light of a film does not flicker, follows what moves, and begins anew at a cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime import Enhancer
from rave_runtime.films.steady import Line, SteadyLight
from rave_runtime.light.reduction import fit_line, luminance

from .conftest import Frames, moving_scene

MOST_FLICKER_EV = 0.01


def lights(model: Enhancer, frames: Frames, steady: SteadyLight | None) -> Iterator[NDArray[np.float64]]:
    """The light of each frame over its own luminance, steadied or not."""
    for frame in frames:
        guide = luminance(frame)
        light = model.illumination(frame)
        line = Line(fit_line(light, guide, 1920), float(light.min()), float(light.max()))
        line = steady.update(line, guide) if steady else line
        yield np.clip(line.coefficients[0] * guide + line.coefficients[1], line.low, line.high)


def flicker_ev(found: list[NDArray[np.float64]]) -> float:
    """Mean change of the whole picture's light from frame to frame, in stops."""
    means = [float(np.log2(light).mean()) for light in found]
    return float(np.abs(np.diff(means)).mean())


@pytest.mark.parametrize("step_px", [0, 1, 3])
def test_a_still_and_a_panned_scene_do_not_flicker(model: Enhancer, step_px: int) -> None:
    frames = moving_scene(24, 108, 192, step_px, noise=5)
    found = list(lights(model, frames, SteadyLight(25)))
    own = [float(np.log2(luminance(frame).clip(1 / 255)).mean()) for frame in frames]
    assert flicker_ev(found) < MOST_FLICKER_EV + float(np.abs(np.diff(own)).mean())


def test_a_network_that_trembles_is_calmed() -> None:
    rng = np.random.default_rng(0)
    guide = np.full((40, 60), 0.3, np.float32)
    steady = SteadyLight(25)
    found = []
    for _ in range(60):
        light = np.full_like(guide, 0.5 * 2 ** rng.normal(0, 0.1))
        line = steady.update(Line(fit_line(light, guide, 1920), 0.2, 0.9), guide)
        found.append(float(np.log2((line.coefficients[0] * guide + line.coefficients[1]).mean())))
    assert np.abs(np.diff(found[10:])).mean() < MOST_FLICKER_EV


@pytest.mark.parametrize("frames_per_s", [25, 0.02])
def test_time_passes_by_the_frames_not_by_their_mean(frames_per_s: float) -> None:
    """A camera that records when something moves has hours between some frames: its mean rate is near 0, by
    which every frame got its own light."""
    guide = np.full((40, 60), 0.3, np.float32)
    steady = SteadyLight(frames_per_s)
    dark, bright = (Line(np.full((2, 40, 60), value, np.float32), 0.1, 0.9) for value in (0.2, 0.6))
    steady.update(dark, guide)
    assert steady.update(bright, guide, 0.04).coefficients.mean() < 0.24
    assert steady.update(bright, guide, 3600.0).coefficients.mean() == pytest.approx(0.6)
    assert steady.update(dark, guide, 0.04).coefficients.mean() > 0.56


_RISING = np.tile(np.linspace(0, 0.1, 60, dtype=np.float32), (40, 1))
_CUTS = {
    "to light": [np.full((40, 60), value, np.float32) for value in (0.1, 0.7)],
    "in the dark": [_RISING, 0.1 - _RISING],
}


@pytest.mark.parametrize("cut", _CUTS)
def test_a_cut_begins_anew(cut: str) -> None:
    steady = SteadyLight(25)
    before, behind = _CUTS[cut]
    for _ in range(10):
        steady.update(Line(np.full((2, 40, 60), 0.2, np.float32), 0.1, 0.4), before)
    after = steady.update(Line(np.full((2, 40, 60), 0.9, np.float32), 0.8, 1.0), behind)
    assert after.coefficients.mean() == pytest.approx(0.9)
    assert steady.cuts == 1


def test_a_lamp_that_goes_on_is_followed_within_a_second() -> None:
    steady = SteadyLight(25)
    rng = np.random.default_rng(0)
    scene = rng.random((40, 60)).astype(np.float32) * 0.3
    for _ in range(10):
        steady.update(Line(np.full((2, 40, 60), 0.2, np.float32), 0.1, 0.4), scene)
    for _ in range(25):
        line = steady.update(Line(np.full((2, 40, 60), 0.6, np.float32), 0.1, 0.9), scene + np.float32(0.08))
    assert line.coefficients.mean() > 0.2 + 0.4 * 0.7
    assert steady.cuts == 0
