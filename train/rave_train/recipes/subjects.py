"""Outlines of subjects that stand against the light: skylines, people, window frames, trees, soft blobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from rave_runtime.arrays import Array

Pen = ImageDraw.ImageDraw
Outline = Callable[[Pen, int, int, np.random.Generator], None]

_SUPERSAMPLING: Final = 4


def draw_mask(height: int, width: int, rng: np.random.Generator) -> Array:
    """Draws the share of each pixel that a subject covers, [height, width, 1] float32 in [0, 1].

    Half of the subjects are out of focus.
    """
    choice = int(rng.integers(len(_OUTLINES) + 1))
    mask = _blob(height, width, rng)
    if choice < len(_OUTLINES):
        big = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
        _OUTLINES[choice](ImageDraw.Draw(big), *big.size, rng)
        mask = np.asarray(big.resize((width, height), Image.Resampling.BOX), np.float32) / np.float32(255)
    if rng.random() < 0.5:
        mask = ndimage.gaussian_filter(mask, rng.uniform(0.4, 1.6))
    return mask[..., None].clip(0, 1)


def _blob(height: int, width: int, rng: np.random.Generator) -> Array:
    """Draws a smooth region with a sharp or soft edge, more often at the bottom; [height, width] float32."""
    field = ndimage.gaussian_filter(rng.standard_normal((height, width)), width * rng.uniform(0.06, 0.2))
    field = (field - field.mean()) / field.std() + rng.uniform(0, 1.5) * np.linspace(-1, 1, height)[:, None]
    steepness = rng.uniform(8, 60)
    depth = np.clip((field - rng.normal(0, 0.4)) * steepness, -30, 30)
    return np.asarray(1 / (1 + np.exp(-depth)), np.float32)


def _skyline(pen: Pen, width: int, height: int, rng: np.random.Generator) -> None:
    """Draws roofs, towers and hills along the bottom."""
    base, x = rng.uniform(0.3, 0.8), 0.0
    points = [(0.0, float(height))]
    smooth = rng.random() < 0.4
    while x < width:
        level = height * (1 - np.clip(base + rng.normal(0, 0.12), 0.1, 0.95))
        step = width * rng.uniform(0.02, 0.2)
        points += [(x, level)] if smooth else [(x, level), (x + step, level)]
        if not smooth and rng.random() < 0.3:
            points.append((x + step / 2, level - height * rng.uniform(0.03, 0.15)))
            points.sort(key=lambda point: point[0])
        x += step
    pen.polygon([*points, (float(width), points[-1][1]), (float(width), float(height))], fill=255)


def _person(pen: Pen, width: int, height: int, rng: np.random.Generator) -> None:
    """Draws the heads and shoulders of one to three people."""
    for _ in range(rng.integers(1, 4)):
        head = min(width, height) * rng.uniform(0.08, 0.25)
        x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.2, 0.6) * height
        pen.ellipse((x - head * 0.75, y - head, x + head * 0.75, y + head), fill=255)
        wide = head * rng.uniform(1.6, 2.4)
        pen.rounded_rectangle((x - wide, y + head * 1.1, x + wide, height * 1.5), head * 0.8, fill=255)
        pen.rectangle((x - head * 0.4, y, x + head * 0.4, y + head * 1.6), fill=255)


def _window(pen: Pen, width: int, height: int, rng: np.random.Generator) -> None:
    """Draws a dark room around bright windows."""
    pen.rectangle((0, 0, width, height), fill=255)
    for _ in range(rng.integers(1, 4)):
        w, h = rng.uniform(0.15, 0.5) * width, rng.uniform(0.25, 0.7) * height
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        pen.rectangle((x, y, x + w, y + h), fill=0)
        bar = rng.uniform(0.01, 0.03) * width
        if rng.random() < 0.6:
            pen.rectangle((x + w / 2 - bar / 2, y, x + w / 2 + bar / 2, y + h), fill=255)
        if rng.random() < 0.4:
            pen.rectangle((x, y + h / 2 - bar / 2, x + w, y + h / 2 + bar / 2), fill=255)


def _tree(pen: Pen, width: int, height: int, rng: np.random.Generator) -> None:
    """Draws one or two trunks with branches that grow thinner, and the ground they stand on."""
    pen.rectangle((0, height * rng.uniform(0.75, 0.95), width, height), fill=255)

    def branch(x: float, y: float, angle: float, length: float, thickness: float) -> None:
        end_x, end_y = x + length * np.cos(angle), y - length * np.sin(angle)
        pen.line((x, y, end_x, end_y), fill=255, width=max(1, round(thickness)))
        if thickness > width * 0.003:
            for _ in range(rng.integers(2, 4)):
                turn = angle + rng.normal(0, 0.5)
                branch(end_x, end_y, turn, length * rng.uniform(0.6, 0.85), thickness * 0.62)

    for _ in range(rng.integers(1, 3)):
        trunk = width * rng.uniform(0.02, 0.06)
        branch(
            rng.uniform(0.1, 0.9) * width, height * 0.95, np.pi / 2, height * rng.uniform(0.2, 0.35), trunk
        )


_OUTLINES: Final[tuple[Outline, ...]] = (_skyline, _person, _window, _tree)
