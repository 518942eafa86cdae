"""Scenes with more light than a photograph holds: real ones from panoramas, and subjects against the light.

A well-lit photograph darkened by a mask (`rave_train.data.synthesis`) has the colours and textures of real
life, but its light is invented. High-dynamic-range panoramas have the light as it was: a window is a
hundred times brighter than the room. Views into them, exposed for their bright parts, are backlit
photographs, and their brackets fused are what a photographer with a tripod would have made of them.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from rave_train.data.synthesis import (
    SynthesisRange,
    ToneCurve,
    draw_tone_curve,
    linear_to_srgb,
    photograph,
    srgb_to_linear,
)

Array = NDArray[np.float32]
Pair = tuple[Array, Array]

SCENE: Final = SynthesisRange(
    foreground_stops=(-4.5, -0.3),
    background_stops=(-0.4, 0.15),
    coverage=(0.3, 0.9),
    softness=(0.015, 0.12),
    field_weight=(0.0, 0.6),
    clean=0.5,
)
"""The light and the camera of the recipe's pairs."""

SHADES: Final[Mapping[str, SynthesisRange]] = {
    "wide": SCENE,
    "bright": replace(
        SCENE,
        foreground_stops=(-3.4, -0.9),
        background_stops=(-0.2, 0.35),
        coverage=(0.3, 0.75),
        softness=(0.02, 0.1),
        field_weight=(0.0, 0.25),
        untouched=0.03,
    ),
}
"""How photographs are darkened. `wide` covers all that may happen, dark pictures included; with `bright` what
is bright stays so, as it does against the light."""

LUMA: Final = np.array([0.2126, 0.7152, 0.0722], np.float32)
_SUPERSAMPLING: Final = 4
_PANORAMAS: Final = (".exr", ".exr.js")
_LARGE_PX: Final = 1024


def find_panoramas(folders: Iterable[Path]) -> dict[str, Path]:
    """The .exr and .exr.js files of folders, by folder and name: "world/city"."""
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.iterdir()):
            if file.name.endswith(_PANORAMAS):
                found[f"{folder.name}/{file.name.split('.')[0]}"] = file
    return found


def load_panorama(file: Path) -> Array:
    """An equirectangular OpenEXR panorama, [h, 2h, 3] float32, linear light, at least 0.

    Args:
        file: .exr, or .exr.js as the npm package `@pmndrs/assets` has it: a module whose default export
            is the file as a data URL.

    Raises:
        ImportError: OpenEXR is not installed (the extra `recipe` has it).
        ValueError: the file has no RGB channels or is not twice as wide as high.
    """
    import OpenEXR

    if file.suffix == ".js":
        encoded = file.read_text(encoding="ascii").partition(";base64,")[2].rpartition("'")[0]
        with tempfile.NamedTemporaryFile(suffix=".exr") as plain:
            plain.write(base64.b64decode(encoded))
            plain.flush()
            return load_panorama(Path(plain.name))
    with OpenEXR.File(str(file)) as part:
        channels = part.channels()
        if "RGB" not in channels:
            raise ValueError(f"{file}: no RGB channels, only {', '.join(channels)}")
        pixels = np.asarray(channels["RGB"].pixels, np.float32)
    if pixels.shape[1] != 2 * pixels.shape[0]:
        raise ValueError(f"{file}: not an equirectangular panorama, {pixels.shape[1]}x{pixels.shape[0]}")
    return np.maximum(pixels, 0)


def look(
    panorama: Array, yaw_deg: float, pitch_deg: float, field_of_view_deg: float, height: int, width: int
) -> Array:
    """A rectilinear view into an equirectangular panorama.

    Args:
        panorama: [h, 2h, 3] float32, linear light.
        yaw_deg: direction along the horizon, 0 at the panorama's centre, positive to the right.
        pitch_deg: positive above the horizon.
        field_of_view_deg: along the view's longer side, below 180.
        height: of the view, pixels.
        width: likewise.

    Returns:
        [height, width, 3] float32, bilinear samples.
    """
    rows, cols = panorama.shape[:2]
    half = np.tan(np.deg2rad(field_of_view_deg) / 2)
    scale = 2 * half / max(height, width)
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) * scale
    y = ((height - 1) / 2 - np.arange(height, dtype=np.float32)) * scale
    pitch = np.deg2rad(pitch_deg)
    up = y[:, None] * np.cos(pitch) + np.sin(pitch)
    ahead = np.cos(pitch) - y[:, None] * np.sin(pitch)
    longitude = np.arctan2(x[None, :], ahead) + np.deg2rad(yaw_deg)
    latitude = np.arctan2(up, np.hypot(x[None, :], ahead))
    column = (longitude / (2 * np.pi) + 0.5) * cols - 0.5
    row = (0.5 - latitude / np.pi) * rows - 0.5
    wrapped = np.pad(panorama, ((1, 1), (1, 1), (0, 0)), mode="edge")
    wrapped[:, 0], wrapped[:, -1] = wrapped[:, -2], wrapped[:, 1]
    coordinates = np.stack([np.broadcast_to(row, column.shape).clip(-1, rows) + 1, column % cols + 1])
    view = [
        ndimage.map_coordinates(wrapped[..., channel], coordinates, order=1, mode="nearest")
        for channel in range(3)
    ]
    return np.stack(view, -1).astype(np.float32)


def fuse_brackets(linear: Array, exposures: Array, tone: ToneCurve | None = None) -> Array:
    """Exposure fusion of a scene's brackets: everything lit as if it were photographed for itself.

    Args:
        linear: [h, w, 3] float32, linear light.
        exposures: [n] factors, one for each bracket.
        tone: the camera's style, none unless given.

    Returns:
        [h, w, 3] float32, sRGB in [0, 1].

    Source: Mertens, Kautz and Van Reeth, Exposure Fusion, 2007; OpenCV's implementation.
    """
    import cv2

    brackets = [linear_to_srgb(np.minimum(linear * factor, 1)) for factor in exposures]
    if tone is not None:
        brackets = [tone(bracket) for bracket in brackets]
    fused = cv2.createMergeMertens().process([_eight_bits(bracket) for bracket in brackets])
    return np.clip(fused, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Brackets:
    """A scene as a photographer with a tripod takes it.

    Attributes:
        linear: [h, w, 3] float32, linear light.
        exposures: [n] float32 factors, rising: the first holds the bright parts, the last shows the dark.
    """

    linear: Array
    exposures: Array

    @property
    def span_stops(self) -> float:
        """Between the first and the last bracket."""
        return float(np.log2(self.exposures[-1] / self.exposures[0]))


def take_brackets(panorama: Array, rng: np.random.Generator, height: int, width: int) -> Brackets:
    """A random view, bracketed in steps of 1 to 2 stops."""
    # A small panorama has few pixels a degree: look wider, so that views are no blurs.
    least_deg = 50 if panorama.shape[1] >= _LARGE_PX else 70
    linear = look(
        panorama,
        rng.uniform(-180, 180),
        rng.uniform(-12, 20),
        rng.uniform(least_deg, 95),
        height,
        width,
    )
    luma = ndimage.gaussian_filter(linear @ LUMA, 1)
    bright, middle, dark = (max(float(np.quantile(luma, q)), 1e-6) for q in (0.97, 0.5, 0.2))
    darkest = 0.85 / bright
    brightest = rng.uniform(0.2, 0.35) / (0.5 * dark + 0.5 * min(middle, bright))
    span_stops = float(np.clip(np.log2(brightest / darkest), 0, 8))
    count = int(np.ceil(span_stops / rng.uniform(1, 2))) + 1
    exposures = darkest * 2.0 ** np.linspace(0, span_stops, max(count, 3))
    return Brackets(linear, exposures.astype(np.float32))


def draw_view(panorama: Array, rng: np.random.Generator, height: int, width: int) -> Pair | None:
    """A backlit view into a panorama and its fused brackets, or None where the light is even.

    The photograph is exposed anywhere between the first bracket and the middle, by the same camera.
    """
    scene = take_brackets(panorama, rng, height, width)
    if scene.span_stops < 1:
        return None
    tone = draw_tone_curve(rng)
    truth = fuse_brackets(scene.linear, scene.exposures, tone)
    # Exposed for the bright parts most often: that is what makes a photograph backlit.
    stops = scene.span_stops * 0.75 * rng.beta(1.0, 2.0) - rng.uniform(0, 0.5)
    dark = photograph(scene.linear * np.float32(scene.exposures[0] * 2.0**stops), rng, SCENE, tone)
    return dark, truth


def draw_subject(background: Array, subject: Array, rng: np.random.Generator) -> Pair:
    """A subject in its own shade before a well-lit background, cut out as sharply as a lens would.

    Args:
        background: [h, w, 3] float32, a well-lit photograph, sRGB in [0, 1].
        subject: same shape, another one, from which the subject takes its surface.
        rng: where every random choice comes from.

    Returns:
        The backlit photograph and the same scene with the subject lit as in its own photograph.
    """
    height, width = background.shape[:2]
    shape = _SHAPES[rng.integers(len(_SHAPES))]
    mask = _draw_mask(height, width, lambda pen, w, h: shape(pen, w, h, rng))[..., None]
    lit = mask * srgb_to_linear(subject) + (1 - mask) * srgb_to_linear(background)
    truth = linear_to_srgb(lit.astype(np.float32))
    foreground = rng.uniform(*SCENE.foreground_stops)
    behind = max(foreground, rng.uniform(*SCENE.background_stops))
    # Light that falls around the subject: its shade is deepest away from the edge.
    reach = max(height, width) * rng.uniform(0.01, 0.15)
    around = ndimage.gaussian_filter(mask[..., 0], reach)[..., None]
    shade = mask * (foreground + (1 - around) * rng.uniform(0, 0.8))
    stops = shade + (1 - mask) * (behind + around * rng.uniform(-0.5, 0))
    return photograph((lit * np.exp2(stops)).astype(np.float32), rng, SCENE), truth


Pen = ImageDraw.ImageDraw
Shape = Callable[[Pen, int, int, np.random.Generator], None]


def _draw_mask(height: int, width: int, draw: Callable[[Pen, int, int], None]) -> Array:
    big = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
    draw(ImageDraw.Draw(big), *big.size)
    small = big.resize((width, height), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / np.float32(255)


def _skyline(pen: Pen, width: int, height: int, rng: np.random.Generator) -> None:
    """Roofs, towers and hills along the bottom."""
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
    """A head and shoulders, or several."""
    for _ in range(rng.integers(1, 4)):
        head = min(width, height) * rng.uniform(0.08, 0.25)
        x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.2, 0.6) * height
        pen.ellipse((x - head * 0.75, y - head, x + head * 0.75, y + head), fill=255)
        wide = head * rng.uniform(1.6, 2.4)
        pen.rounded_rectangle((x - wide, y + head * 1.1, x + wide, height * 1.5), head * 0.8, fill=255)
        pen.rectangle((x - head * 0.4, y, x + head * 0.4, y + head * 1.6), fill=255)


def _window(pen: Pen, width: int, height: int, rng: np.random.Generator) -> None:
    """A dark room around bright openings."""
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
    """A trunk with branches that grow thinner, and the ground it stands on."""
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


_SHAPES: Final[tuple[Shape, ...]] = (_skyline, _person, _window, _tree)


def _eight_bits(image: Array) -> NDArray[np.uint8]:
    return (image * 255 + 0.5).astype(np.uint8)
