"""Pictures to calibrate INT8 on: synthesised ones where no photographs are given, and darkened copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from rave_export.pictures import PICTURES
from rave_runtime.arrays import Picture

_DARKER: Final = (0.15, 0.3, 0.5)
"""Factors on the values of darkened photographs."""

_TWO_STOPS: Final = (0.5,)
"""Factor that makes synthesised scenes about two stops too dark. Darker ones would widen the ranges beyond
what photographs need: the embedded model's worst photograph then has 43 dB against float32 instead of 46.
Without any dark scenes it had 25 dB."""

_PROOF_SHARES: Final = (0.5, 0.7)
"""Factors on the values of the darkened scenes of a proof."""

_SKY_STOPS: Final = {False: (-1.0, 0.3), True: (2.0, 4.5)}
"""Ranges of the exposure of skies, in stops, by whether they are clipped."""


def with_darker(pictures: Sequence[Picture], shares: Sequence[float] = _DARKER) -> tuple[Picture, ...]:
    """Returns pictures, and after them each once more, its values multiplied by these factors in turns.

    Most folders hold well-lit photographs, which say little about the ranges that a network needs for the
    dark pictures it is made for.
    """
    darker = (
        np.rint(picture * shares[index % len(shares)]).astype(np.uint8)
        for index, picture in enumerate(pictures)
    )
    return (*pictures, *darker)


def default_pictures() -> tuple[Picture, ...]:
    """Scenes to calibrate on where no photographs are given, and each once more as a dark exposure."""
    return with_darker(synthesize_pictures(), _TWO_STOPS)


def proof_pictures(count: int) -> tuple[Picture, ...]:
    """Scenes to prove INT8 on, which are not among those of calibration, and each once more darkened."""
    return with_darker(synthesize_pictures(count + 2, seed=1)[2:], _PROOF_SHARES)


def synthesize_pictures(count: int = PICTURES, seed: int = 0) -> list[Picture]:
    """Draws backlit scenes of overlapping discs, to calibrate on without photographs.

    Discs whose radii follow a power law give edges and plain areas at every scale, as photographs have. A
    bright sky lies behind a shaded foreground, and every other sky is clipped to white, as skies behind
    backlit subjects are. The first two pictures are extremes: a checkerboard of black and white, and primary
    colours.

    Args:
        count: how many pictures.
        seed: the seed of every random choice.

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
