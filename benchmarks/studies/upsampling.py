"""Compares ways of bringing a light map from a reduced picture back to full resolution.

    python -m benchmarks upsampling [--bundle BUNDLE] [--photos FOLDER] [--pairs BACKLIT TRUTH] [--every 1]
        [--output FILE.json]

Ways of upsampling are compared by two measures, of which one at least must be asked for:
- fidelity: PSNR between the enhanced picture and the same network's full-resolution result (`--photos`);
- truth: PSNR between the enhanced picture and its well-lit partner (`--pairs`, matched by name).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.records.results import model_hash
from benchmarks.studies.reporting import report_study, study_parser
from benchmarks.suites.quality import psnr_db
from rave_runtime import Enhancer
from rave_runtime.arrays import Array
from rave_runtime.light.reduction import GuidedLight, Reduction, luminance
from rave_runtime.light.relight import relight
from rave_runtime.photos.reading import load_rgb

Upsample = Callable[[Array, NDArray[np.uint8], NDArray[np.uint8]], Array]
"""A function from the light of a reduced picture [h2, w2], that picture and the full picture to [h, w]."""


def resized(resampling: Image.Resampling) -> Upsample:
    """Plain resampling of the light, which does not look at the picture."""

    def upsample(light: Array, reduced: NDArray[np.uint8], image: NDArray[np.uint8]) -> Array:
        del reduced
        size = (image.shape[1], image.shape[0])
        return np.asarray(Image.fromarray(light).resize(size, resampling)).clip(light.min(), light.max())

    return upsample


def guided(per_factor: float, epsilon: float, *, log: bool = False) -> Upsample:
    """A guided filter whose radius grows with the factor of reduction.

    Args:
        per_factor: radius in reduced pixels, divided by the factor minus 1.
        epsilon: regularisation of the filter.
        log: whether the light's logarithm is fitted instead of the light.
    """

    def upsample(light: Array, reduced: NDArray[np.uint8], image: NDArray[np.uint8]) -> Array:
        height, width = image.shape[:2]
        factor = max(height, width) / max(light.shape)
        radius = max(1, round(per_factor * (factor - 1)))
        source = np.log(np.maximum(light, 1e-3)) if log else light
        fit = GuidedLight(source, luminance(reduced), height, width, radius, epsilon)
        full = fit.rows(0, height, luminance(image))
        return np.exp(full) if log else full

    return upsample


WAYS: dict[str, Upsample] = {
    "bilinear": resized(Image.Resampling.BILINEAR),
    "bicubic": resized(Image.Resampling.BICUBIC),
    **{
        f"guided, radius {r:g} x (factor - 1), epsilon {e:g}": guided(r, e)
        for r in (0.5, 1, 2, 3)
        for e in (1e-3, 1e-4, 1e-5)
    },
    "guided, radius 2 x (factor - 1), epsilon 0.0001, logarithm": guided(2, 1e-4, log=True),
}


def measure(
    enhancer: Enhancer, image: NDArray[np.uint8], size_px: int, truth: NDArray[np.uint8]
) -> dict[str, float]:
    """PSNR in dB of every way at one working size, by its name."""
    reduced = Reduction(image, size_px).pixels.astype(np.uint8, copy=False)
    light = enhancer.illumination(reduced)
    psnr_by_way = {}
    for name, upsample in WAYS.items():
        out = np.empty_like(image)
        relight(image, upsample(light, reduced, image), out)
        psnr_by_way[name] = psnr_db(out, truth)
    return psnr_by_way


def main(arguments: Sequence[str]) -> None:
    """Runs the study with these command-line arguments."""
    parser = study_parser("upsampling", __doc__)
    parser.add_argument("--bundle", type=Path, help="default: the embedded model")
    parser.add_argument("--photos", type=Path, help="folder of photographs, for fidelity")
    parser.add_argument(
        "--pairs", type=Path, nargs=2, metavar=("BACKLIT", "TRUTH"), help="folders of pairs, for truth"
    )
    parser.add_argument("--every", type=int, default=1, help="take every n-th pair")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args(arguments)
    if options.photos is None and options.pairs is None:
        parser.error("there is nothing to measure: give --photos, --pairs or both")
    enhancer = Enhancer(options.bundle, precision="fp32", working_size=None)
    rows_by_column: dict[str, list[dict[str, float]]] = {}
    for path in sorted(options.photos.iterdir()) if options.photos else []:
        image = load_rgb(path)
        full = enhancer.enhance(image)
        for size_px in (256, 512):
            rows_by_column.setdefault(f"fidelity {size_px}", []).append(
                measure(enhancer, image, size_px, full)
            )
    for path in sorted(options.pairs[0].iterdir())[:: options.every] if options.pairs else []:
        image, truth = load_rgb(path), load_rgb(options.pairs[1] / path.name)
        for size_px in (96, 128, 192):
            rows_by_column.setdefault(f"truth {size_px}", []).append(measure(enhancer, image, size_px, truth))
    means = {
        column: {name: round(float(np.mean([row[name] for row in rows])), 2) for name in WAYS}
        for column, rows in rows_by_column.items()
    }
    print("| way | " + " | ".join(means) + " |\n|---|" + "---|" * len(means))
    for name in WAYS:
        print(f"| {name} | " + " | ".join(f"{column[name]:.2f}" for column in means.values()) + " |")
    findings = {"pictures": {column: len(rows) for column, rows in rows_by_column.items()}, "psnr_db": means}
    report_study("upsampling", arguments, findings, options.output, model_hash(options.bundle))
