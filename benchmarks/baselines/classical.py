"""Methods without a network: gamma, CLAHE, multi-scale Retinex and LIME-style illumination.

Each takes and returns [h, w, 3] float32 in [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
from scipy import ndimage, sparse
from scipy.sparse import linalg
from skimage import color, exposure

Image = npt.NDArray[np.float32]

LIME_ITERATIONS = 50
LIME_TOLERANCE = 1e-2


def gamma(image: Image, exponent: float = 1 / 2.2) -> Image:
    """Raises every value to a power (scikit-image's `adjust_gamma`)."""
    raised = exposure.adjust_gamma(image, exponent)  # type: ignore[no-untyped-call]
    return np.asarray(raised, dtype=np.float32)


def clahe(image: Image, clip_limit: float = 0.02) -> Image:
    """Contrast-limited adaptive histogram equalisation of the value channel (scikit-image).

    Source: Zuiderveld, Graphics Gems IV, 1994.
    """
    hsv = color.rgb2hsv(image)
    hsv[..., 2] = exposure.equalize_adapthist(hsv[..., 2], clip_limit=clip_limit)
    return np.asarray(color.hsv2rgb(hsv), dtype=np.float32)


def multi_scale_retinex(image: Image, sigmas_px: tuple[float, ...] = (15, 80, 250)) -> Image:
    """Mean log ratio of the image to its blurred self at three scales, stretched between percentiles.

    Source: Jobson, Rahman and Woodell, IEEE TIP 1997; Gaussians by scipy.
    """
    bright = image + np.float32(1 / 255)
    total = np.zeros_like(image)
    for sigma in sigmas_px:
        total += np.log(bright) - np.log(_blur(bright, sigma))
    low, high = np.percentile(total, (1, 99))
    return np.asarray(np.clip((total - low) / max(high - low, 1e-6), 0, 1), dtype=np.float32)


def lime(image: Image, strength: float = 0.15, exponent: float = 0.8, sigma_px: float = 2.0) -> Image:
    """Divides by the brightest channel, smoothed within structures, to the power of `exponent`.

    The weighted smoothing is one sparse linear system (the paper's fast solver). Scipy's conjugate gradients
    solve it to one percent, starting from the unsmoothed map.

    Args:
        image: [h, w, 3] in [0, 1].
        strength: weight of the smoothing (the paper's alpha).
        exponent: power to which the illumination is raised before the division.
        sigma_px: sigma of the Gaussian that averages gradients into weights (the paper's third strategy).

    Source: Guo, Li and Ling, IEEE TIP 2017, eqs. 8, 17-20.
    """
    first = image.max(2).astype(np.float64)
    height, width = first.shape
    vertical = strength * _smoothing_weights(np.diff(first, axis=0), sigma_px)
    horizontal = strength * _smoothing_weights(np.diff(first, axis=1), sigma_px)
    diagonal = np.ones_like(first)
    diagonal[:-1] += vertical
    diagonal[1:] += vertical
    diagonal[:, :-1] += horizontal
    diagonal[:, 1:] += horizontal
    rightward = np.zeros_like(first)
    rightward[:, :-1] = -horizontal
    count = height * width
    matrix: Any = sparse.diags_array(
        [diagonal.ravel(), *(2 * [rightward.ravel()[:-1]]), *(2 * [-vertical.ravel()])],
        offsets=[0, 1, -1, width, -width],
        shape=(count, count),
        format="csr",
    )
    scale = sparse.diags_array(1 / diagonal.ravel())
    light, _ = linalg.cg(
        matrix, first.ravel(), x0=first.ravel(), rtol=LIME_TOLERANCE, maxiter=LIME_ITERATIONS, M=scale
    )
    light = np.clip(light.reshape(height, width, 1), 1e-3, 1) ** exponent
    return np.asarray(np.clip(image / light, 0, 1), dtype=np.float32)


def _blur(image: Image, sigma_px: float) -> Image:
    """Blurs an image by a Gaussian, on a reduced image if that is wide, since no detail would be left."""
    height, width = image.shape[:2]
    factor = max(1, min(int(sigma_px // 4), height, width))
    size = (max(1, width // factor), max(1, height // factor))
    blurred = []
    for channel in np.moveaxis(image, 2, 0):
        small = np.asarray(PIL.Image.fromarray(channel).resize(size, PIL.Image.Resampling.BOX))
        small = ndimage.gaussian_filter(small, sigma_px / factor, mode="nearest")
        full = PIL.Image.fromarray(small).resize((width, height), PIL.Image.Resampling.BICUBIC)
        blurred.append(np.asarray(full))
    floored: Image = np.maximum(np.stack(blurred, 2), np.float32(1e-4))
    return floored


def _smoothing_weights(gradient: npt.NDArray[np.float64], sigma_px: float) -> npt.NDArray[np.float64]:
    floor = 1e-3
    mean = ndimage.gaussian_filter(gradient, sigma_px, mode="nearest")
    weights: npt.NDArray[np.float64] = 1 / ((np.abs(mean) + floor) * (np.abs(gradient) + floor))
    return weights
