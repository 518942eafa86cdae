"""Backlit partners of well-lit photographs, made the way a camera would see them.

All light arithmetic happens in linear light. A region mask says how much of each pixel lies in the
shade: it falls with luminance (skies and lamps stay lit), follows edges, and is bent by a smooth
random field so that the network cannot learn "dark pixel = shade". Then comes the camera: veiling
glare, clipped highlights, shot and read noise, a tone curve and JPEG.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from rave_runtime.arrays import Array
from rave_runtime.photos.headers.colour_codes import LUMINANCE, srgb_encoded, srgb_light

_LUMA = np.array(LUMINANCE, np.float32)


@dataclass(frozen=True)
class SynthesisRange:
    """The ranges from which the quantities of a scene are drawn, uniformly unless one says otherwise.

    Attributes:
        foreground_stops: exposure of the shaded region, in stops (log2 of linear light).
        background_stops: exposure of the lit region.
        coverage: share of the picture that lies in the shade.
        softness: width of the transition in units of perceived luminance; small is a hard edge.
        field_weight: how much of the mask is the random field rather than luminance.
        untouched: probability that a picture keeps its light (only the camera is applied).
        glare: veiling light over the whole picture, as a share of its mean.
        read_noise: standard deviation of the noise floor, linear light.
        shot_noise: variance of the photon noise per unit of linear light.
        jpeg_quality: the quality of the final compression, as Pillow counts.
        clean: probability that neither noise nor JPEG is applied. A large photograph shows neither once it
            is reduced, and a network that never saw such pictures takes them for well-lit.
    """

    foreground_stops: tuple[float, float] = (-4.5, -0.7)
    background_stops: tuple[float, float] = (-1.5, 0.3)
    coverage: tuple[float, float] = (0.3, 1.0)
    softness: tuple[float, float] = (0.03, 0.12)
    field_weight: tuple[float, float] = (0.1, 0.7)
    untouched: float = 0.1
    glare: tuple[float, float] = (0.0, 0.02)
    read_noise: tuple[float, float] = (0.0, 0.0015)
    shot_noise: tuple[float, float] = (0.0, 0.0006)
    jpeg_quality: tuple[int, int] = (70, 96)
    clean: float = 0.0


def synthesize_backlit(image: Array, rng: np.random.Generator, scene: SynthesisRange | None = None) -> Array:
    """A backlit version of a well-lit photograph.

    Args:
        image: [h, w, 3] float32, sRGB in [0, 1].
        rng: where every random choice comes from.
        scene: ranges to draw from.

    Returns:
        [h, w, 3] float32, sRGB in [0, 1], through JPEG.
    """
    scene = scene or SynthesisRange()
    linear = srgb_to_linear(image)
    if rng.random() >= scene.untouched:
        foreground = rng.uniform(*scene.foreground_stops)
        background = max(foreground, rng.uniform(*scene.background_stops))
        mask = shade_mask(image, rng, scene)
        linear = linear * np.exp2(background + (foreground - background) * mask)[..., None]
    return photograph(linear, rng, scene)


@dataclass(frozen=True)
class ToneCurve:
    """A camera's picture style: an S-curve and a gamma on sRGB values, under which 0 and 1 stay the same.

    Attributes:
        contrast: share of the S-curve, negative for a flatter picture.
        exponent: the exponent of the gamma, above 1 for a darker one.
    """

    contrast: float
    exponent: float

    def __call__(self, image: Array) -> Array:
        """[...] float32 in [0, 1] -> the same shape and range."""
        curved = image + self.contrast * (image * image * (3 - 2 * image) - image)
        return np.asarray(curved**self.exponent, np.float32)


def draw_tone_curve(rng: np.random.Generator) -> ToneCurve:
    """Draws one of the styles that cameras have."""
    return ToneCurve(rng.uniform(-0.1, 0.25), rng.uniform(0.92, 1.12))


def photograph(
    linear: Array,
    rng: np.random.Generator,
    scene: SynthesisRange | None = None,
    tone: ToneCurve | None = None,
) -> Array:
    """What a camera makes of a scene: glare, clipping, noise, a tone curve and JPEG.

    Args:
        linear: [h, w, 3] float32, linear light at least 0; 1 is where the sensor clips.
        rng: where every random choice comes from.
        scene: ranges to draw from; only those of the camera are read.
        tone: the camera's style, drawn unless given.

    Returns:
        [h, w, 3] float32, sRGB in [0, 1].
    """
    scene = scene or SynthesisRange()
    linear = linear + rng.uniform(*scene.glare) * np.minimum(linear, 1).mean((0, 1))
    clean = scene.clean > 0 and rng.random() < scene.clean
    variance = rng.uniform(*scene.read_noise) ** 2 + rng.uniform(*scene.shot_noise) * linear
    noise = rng.standard_normal(linear.shape, np.float32)
    linear = np.clip(linear if clean else linear + noise * np.sqrt(variance), 0, 1)
    toned = (tone or draw_tone_curve(rng))(linear_to_srgb(linear.astype(np.float32)))
    quality = int(rng.integers(*scene.jpeg_quality, endpoint=True))
    return toned if clean else _through_jpeg(toned, quality)


def shade_mask(image: Array, rng: np.random.Generator, scene: SynthesisRange) -> Array:
    """Draws how much of each pixel lies in the shade: [h, w, 3] sRGB -> [h, w] float32, both in [0, 1]."""
    height, width = image.shape[:2]
    size = max(height, width)
    luma = (image @ _LUMA).astype(np.float32)
    weight = rng.uniform(*scene.field_weight)
    smooth = ndimage.gaussian_filter(luma, size * rng.uniform(0.005, 0.03))
    depth = (1 - weight) * smooth + weight * _random_field(height, width, rng)
    threshold = np.quantile(depth, rng.uniform(*scene.coverage))
    mask = 1 / (1 + np.exp((depth - threshold) / rng.uniform(*scene.softness)))
    radius = max(1, round(size * rng.uniform(0.01, 0.05)))
    return guided_filter(mask.astype(np.float32), luma, radius, 1e-3).clip(0, 1)


def guided_filter(target: Array, guide: Array, radius: int, epsilon: float) -> Array:
    """Smooths `target` while keeping the edges of `guide`; both and the result are [h, w] float32.

    Args:
        target: the map to smooth.
        guide: the picture whose edges stay.
        radius: pixels from the centre of a square window to its border.
        epsilon: variance of the guide above which an edge stays.

    Source: He, Sun and Tang, Guided Image Filtering, TPAMI 2013, eq. 5-8.
    """

    def mean(x: Array) -> Array:
        return np.asarray(ndimage.uniform_filter(x, 2 * radius + 1, mode="reflect"), np.float32)

    mean_guide, mean_target = mean(guide), mean(target)
    slope = (mean(guide * target) - mean_guide * mean_target) / (
        mean(guide * guide) - mean_guide**2 + epsilon
    )
    return mean(slope) * guide + mean(mean_target - slope * mean_guide)


def srgb_to_linear(image: Array) -> Array:
    """IEC 61966-2-1 decoding of values in [0, 1]."""
    return srgb_light(image).astype(np.float32)


def linear_to_srgb(linear: Array) -> Array:
    """IEC 61966-2-1 encoding of values in [0, 1]."""
    return srgb_encoded(linear).astype(np.float32)


def _random_field(height: int, width: int, rng: np.random.Generator) -> Array:
    """A few random bumps and a slope, scaled to [0, 1]; the top tends to be lit, as skies are."""
    cells = int(rng.integers(2, 6))
    coarse = rng.random((cells, cells), np.float32)
    field = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    y = np.linspace(1, 0, height, dtype=np.float32)[:, None]
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    field = field + rng.uniform(-0.3, 1.2) * y + rng.uniform(-0.6, 0.6) * x
    low, high = field.min(), field.max()
    return np.asarray((field - low) / max(high - low, 1e-6), np.float32)


def _through_jpeg(image: Array, quality: int) -> Array:
    buffer = io.BytesIO()
    Image.fromarray((image * 255 + 0.5).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer, formats=["JPEG"]), np.float32) / np.float32(255)
