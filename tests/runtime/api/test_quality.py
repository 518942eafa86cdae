"""What the embedded model must do on real scenes against the light and on made ones: a gate, not a benchmark.

The real scenes are views into panoramas that no network was trained on, at four exposures, with the fusion
of their brackets as truth. The made ones are dead leaves (overlapping discs of random size and colour, whose
statistics are those of photographs) under a sky: below the horizon everything is 1.5 to 2.5 stops darker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from rave_runtime import Enhancer
from rave_runtime.arrays import Picture

HEIGHT, WIDTH = 160, 240

LEAST_GAINS_DB = (9.0, 7.0, 5.0, 3.0)
"""By which real scenes must come closer to their truths, darkest exposure first."""


@pytest.fixture(scope="module")
def model() -> Enhancer:
    """The embedded model as people run it, in float32, so that the figures are the same everywhere."""
    return Enhancer(precision="fp32", device="cpu", threads=1)


def make_leaves(rng: np.random.Generator) -> NDArray[np.float64]:
    """Ground of overlapping discs, [h, w, 3] in [0, 1]."""
    ground = Image.new("RGB", (WIDTH, HEIGHT), (110, 105, 95))
    pen = ImageDraw.Draw(ground)
    for _ in range(400):
        radius = HEIGHT * 0.02 / rng.uniform(0.06, 1) ** 0.8
        x, y, stretch = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(0.5, 1.8)
        colour = np.clip(rng.normal(105, 38) + rng.normal(0, 14, 3), 8, 235).astype(int)
        pen.ellipse(
            (x - radius * stretch, y - radius / stretch, x + radius * stretch, y + radius / stretch),
            fill=(int(colour[0]), int(colour[1]), int(colour[2])),
        )
    soft = np.asarray(ground.filter(ImageFilter.GaussianBlur(0.7)), np.float64) / 255
    return soft + rng.normal(0, 0.01, (HEIGHT, WIDTH, 1))


def make_scene(seed: int) -> tuple[Picture, Picture]:
    """Backlit, and as it should be."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    horizon = 0.35 + 0.1 * np.sin(x * rng.uniform(3, 9) + rng.uniform(0, 6)) + 0.04 * np.sin(x * 20)
    ground = np.clip((y - horizon) * HEIGHT / 1.5 + 0.5, 0, 1)[..., None]
    sky = np.stack([0.8 + 0.15 * y, 0.87 + 0.1 * y, 0.96 - 0.02 * y], -1) * rng.uniform(0.95, 1.03)
    truth = np.clip(ground * make_leaves(rng) + (1 - ground) * sky, 0, 1)
    linear = truth**2.2 * 2.0 ** (-ground * rng.uniform(1.5, 2.5))
    backlit = linear ** (1 / 2.2) + rng.normal(0, 0.003, truth.shape)
    return to_pixels(backlit), to_pixels(truth)


def to_pixels(image: NDArray[Any]) -> Picture:
    return np.asarray(np.clip(image, 0, 1) * 255 + 0.5, np.uint8)


def psnr_db(result: Picture, truth: Picture) -> float:
    error = np.square(result.astype(np.float64) - truth).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-4)))


SCENES = [make_scene(seed) for seed in range(8)]


def mean_psnr_db(results: list[Picture]) -> float:
    return float(np.mean([psnr_db(r, truth) for r, (_, truth) in zip(results, SCENES, strict=True)]))


FOLDER = Path(__file__).parent / "scenes"
REAL = sorted(FOLDER.glob("*.png"))
"""Truths; NAME-0.jpg to NAME-3.jpg are 2, 1.3, 0.6 and 0 stops below the scene's middle exposure."""


def read(file: Path) -> Picture:
    return np.asarray(Image.open(file).convert("RGB"))


def test_real_scenes_become_what_their_brackets_show(model: Enhancer) -> None:
    """Every exposure comes closer to the truth, and over all of them closer than one curve brings them."""
    assert len(REAL) == 5
    ours, gamma = [], []
    for exposure, least_gain_db in enumerate(LEAST_GAINS_DB):
        pairs = [(read(FOLDER / f"{truth.stem}-{exposure}.jpg"), read(truth)) for truth in REAL]
        nothing = np.mean([psnr_db(photograph, truth) for photograph, truth in pairs])
        ours.append(np.mean([psnr_db(model.enhance(photograph), truth) for photograph, truth in pairs]))
        gamma.append(np.mean([psnr_db(to_pixels((p / 255) ** 0.6), truth) for p, truth in pairs]))
        print(f"{ours[-1]:.2f} dB, input {nothing:.2f} dB, gamma {gamma[-1]:.2f} dB")
        assert ours[-1] > nothing + least_gain_db
    assert np.mean(ours) > np.mean(gamma) + 0.4


def test_fused_brackets_change_little(model: Enhancer) -> None:
    found = float(np.mean([psnr_db(model.enhance(read(truth)), read(truth)) for truth in REAL]))
    print(f"{found:.2f} dB")
    assert found > 26


def test_drawn_scenes_come_as_near_as_a_gamma_that_suits_them(model: Enhancer) -> None:
    ours = mean_psnr_db([model.enhance(backlit) for backlit, _ in SCENES])
    nothing = mean_psnr_db([backlit for backlit, _ in SCENES])
    gamma = mean_psnr_db([to_pixels((backlit / 255) ** 0.7) for backlit, _ in SCENES])
    print(f"{ours:.2f} dB, input {nothing:.2f} dB, gamma {gamma:.2f} dB")
    # All of a drawn scene's shade is equally dark, which suits a curve. On real ones the model is far ahead.
    assert ours > nothing + 5
    assert ours > gamma - 0.5


def test_well_lit_pictures_change_little(model: Enhancer) -> None:
    found = float(np.mean([psnr_db(model.enhance(truth), truth) for _, truth in SCENES]))
    print(f"{found:.2f} dB")
    assert found > 23


def test_a_sky_stays(model: Enhancer) -> None:
    for backlit, truth in SCENES:
        before, after = truth[:16].mean((0, 1)), model.enhance(backlit)[:16].mean((0, 1))
        print(before - after)
        assert np.abs(before - after).max() < 30


def test_no_colour_is_added(model: Enhancer) -> None:
    """The light has no colour: a grey picture stays grey, and others keep their chromaticity."""
    grey = np.repeat(SCENES[0][0][..., :1], 3, 2)
    result = model.enhance(grey)
    assert np.array_equal(result[..., 0], result[..., 1])
    assert np.array_equal(result[..., 0], result[..., 2])
    for backlit, _ in SCENES:
        after = model.enhance(backlit)
        clear = (backlit.min(2) > 30) & (after.max(2) < 250)
        share_before = backlit[clear] / backlit[clear].sum(1, keepdims=True, dtype=float)
        share_after = after[clear] / after[clear].sum(1, keepdims=True, dtype=float)
        assert np.abs(share_before - share_after).mean() < 0.004


def test_smooth_tones_get_no_bands(model: Enhancer) -> None:
    """Ramps from black to any grey: no step is greater than the gain makes it, and none goes back."""
    for top in (60, 130, 255):
        ramp = np.linspace(0, top * 257, 1024)[None, :, None] * np.ones((256, 1, 3))
        result = model.enhance(ramp.astype(np.uint16)).astype(np.float64)[:, :, 0] / 257
        steps = np.diff(result, axis=1)
        gain = result[:, 1:] / np.maximum(ramp[:, 1:, 0] / 257, 1e-3)
        assert steps.min() > -0.6
        assert (steps / np.maximum(gain * top / 1023, 0.02)).max() < 8


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((70, 90, 3), np.uint8),
        np.full((70, 90, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 2, (70, 90, 3)).astype(np.uint8) * 255,
        np.full((1, 1, 3), 7, np.uint8),
        np.full((600, 3, 3), 40, np.uint16),
    ],
    ids=["black", "white", "noise", "one pixel", "a line"],
)
def test_the_light_of_odd_pictures_is_a_number(model: Enhancer, image: NDArray[Any]) -> None:
    light = model.illumination(image)
    assert np.isfinite(light).all()
    assert light.min() >= 0
    assert light.max() < 2.5
