"""The pictures INT8 is calibrated on where no photographs are given, and darker ones of those that are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from rave_export.pictures import PICTURES
from rave_runtime.arrays import Picture

_DARKER: Final = (0.15, 0.3, 0.5)
"""Shares of their values that darkened photographs keep."""

_TWO_STOPS: Final = (0.5,)
"""About two stops too dark. Darker scenes would widen the ranges beyond what photographs need: the embedded
model's worst photograph is then 43 dB from float32 and not 46; without any dark ones it was 25."""

_PROOF_SHARES: Final = (0.5, 0.7)

_SKY_STOPS: Final = {False: (-1.0, 0.3), True: (2.0, 4.5)}
"""Exposure of skies, in stops, without and with clipping."""


def with_darker(pictures: Sequence[Picture], shares: Sequence[float] = _DARKER) -> tuple[Picture, ...]:
    """Pictures, and each once more darkened, in turns to these shares of its values.

    Most folders are of well-lit photographs, and what a network does to them says little of the ranges it
    needs where all is dark, which is what it is for.
    """
    darker = (
        np.rint(picture * shares[index % len(shares)]).astype(np.uint8)
        for index, picture in enumerate(pictures)
    )
    return (*pictures, *darker)


def default_pictures() -> tuple[Picture, ...]:
    """Scenes to calibrate on where no photographs are given, each once more as a dark exposure."""
    return with_darker(synthesize_pictures(), _TWO_STOPS)


def proof_pictures(count: int) -> tuple[Picture, ...]:
    """Scenes that are not calibrated on, each once more as a dark exposure, to prove INT8 on."""
    return with_darker(synthesize_pictures(count + 2, seed=1)[2:], _PROOF_SHARES)


def synthesize_pictures(count: int = PICTURES, seed: int = 0) -> list[Picture]:
    """Backlit scenes made of overlapping discs, for networks exported where no photographs are.

    Discs whose radii follow a power law give edges and plains at every scale, as photographs have;
    a bright sky behind a shaded foreground gives the light, and every other sky is clipped to white, as
    skies behind backlit subjects are. The first pictures are extremes: a black-to-white checkerboard, and
    primary colours.

    Returns:
        [h, w, 3] uint8 each, of mixed sizes.

    Source of the discs: Lee, Mumford and Huang, Occlusion models for natural images, IJCV 2001.
    """
    shapes = [(288, 384), (384, 288), (256, 256), (320, 480)]
    extremes = [_checkerboard(256, 256), _colours(256, 256)]
    scenes = [
        _scene(*shapes[i % len(shapes)], np.random.default_rng([seed, i]), is_clipped=i % 2 == 1)
        for i in range(count)
    ]
    return [*extremes, *scenes][:count]


def _checkerboard(height: int, width: int) -> Picture:
    """Black and white squares of doubling size from left to right."""
    y, x = np.mgrid[:height, :width]
    side = 1 << (x * 6 // width)
    grey = ((y // side + x // side) % 2 * 255).astype(np.uint8)
    return np.stack([grey] * 3, -1)


def _colours(height: int, width: int) -> Picture:
    """The eight corners of the colour cube, in blocks, over ramps of brightness."""
    y, x = np.mgrid[:height, :width]
    corner = 1 + (x * 7 // width)
    planes = [(corner >> bit & 1) * (255 - y * 255 // max(height - 1, 1)) for bit in range(3)]
    return np.stack(planes, -1).astype(np.uint8)


def _scene(height: int, width: int, rng: np.random.Generator, *, is_clipped: bool) -> Picture:
    """Draws one backlit scene: discs with texture, a bright sky above the horizon and shade below."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    colour = np.ones((height, width, 3), np.float32) * rng.uniform(0.3, 0.9, 3).astype(np.float32)
    lit = np.ones((height, width), np.float32)
    horizon = rng.uniform(0.2, 0.7) * height
    for _ in range(160):
        radius = 0.5 * min(height, width) * rng.uniform(0.0004, 1) ** 0.5 * rng.uniform(0.1, 1)
        top, left = rng.uniform(-0.1, 1.1) * height, rng.uniform(-0.1, 1.1) * width
        inside = (y - top) ** 2 + ((x - left) * rng.uniform(0.5, 2)) ** 2 < radius**2
        texture = rng.normal(0, rng.uniform(0, 0.08), (int(inside.sum()), 1))
        colour[inside] = np.clip(rng.uniform(0.05, 1, 3) + texture, 0, 1)
        lit[inside] = 1 if top < horizon else 0
    # Cameras clip skies: white that fills a region drives a network further than any texture does.
    sky_stops = rng.uniform(*_SKY_STOPS[is_clipped])
    shade = np.exp2(sky_stops * lit + rng.uniform(-6, -0.5) * (1 - lit))
    linear = colour**2.2 * shade[..., None] + rng.normal(0, 0.001, colour.shape)
    return np.asarray(np.clip(linear, 0, 1) ** (1 / 2.2) * 255, np.uint8)
