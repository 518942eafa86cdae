"""Figures of a bundle's model card: `python -m rave_train.recipes.assess BUNDLE --help`.

Measures the bundle as people run it, through the runtime, against networks and baselines that see the
same pictures: pairs, views into panoramas, and well-lit photographs that should stay as they are; at several
working sizes; and INT8 against float32. Writes JSON and prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from rave_runtime import Enhancer
from rave_train.checkpoint import load_checkpoint
from rave_train.data.batches import to_tensor
from rave_train.data.photographs import Pixels, find_photographs, load_photograph
from rave_train.errors import MetricUnavailableError
from rave_train.measure.learned_metrics import Lpips
from rave_train.measure.metrics import psnr, ssim
from rave_train.measure.protocol import with_mean_of
from rave_train.recipes.study import (
    Enhance,
    TestSet,
    add_set_options,
    enhance_by_gamma,
    enhance_by_lime,
    enhance_reduced,
    make_sets,
)

_METRICS: Final = ("psnr_db", "psnr_gt_mean_db", "ssim", "lpips")


def assess(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, by name."""
    sets = make_sets(options)
    try:
        lpips: Lpips | None = Lpips("squeeze")
    except MetricUnavailableError as error:
        print(f"LPIPS is left out: {error}", file=sys.stderr)
        lpips = None

    def runtime(precision: str, size: int | None) -> Enhance:
        enhancer = Enhancer(options.bundle, precision, "cpu", working_size=size)
        return lambda pixels: enhancer.enhance(pixels)

    recommended = Enhancer(options.bundle, "fp32", "cpu").working_size_px
    ways: dict[str, Callable[[], Enhance]] = {
        "input": lambda: lambda pixels: pixels,
        "gamma 0.7": lambda: enhance_by_gamma(0.7),
        "LIME 0.3": lambda: enhance_by_lime(0.3),
    }
    for file in options.checkpoints:
        ways[file.stem] = partial(_enhance_by_checkpoint, file, options.working_size)
    for size in (128, 192, 256, 384):
        ways[f"ours, {size} px"] = partial(runtime, "fp32", size)
    ways["ours, full resolution"] = lambda: runtime("fp32", None)
    if "int8" in Enhancer(options.bundle, "fp32", "cpu").manifest.precisions():
        ways["ours, INT8"] = lambda: runtime("int8", recommended)
    quality = {}
    for name, load in ways.items():
        print(name, file=sys.stderr, flush=True)
        quality[name] = measure_with_lpips(load(), sets, lpips)
    photographs = [load_photograph(p.file) for p in find_photographs(options.look, "backlit").photographs]
    return {
        "working_size_px": recommended,
        "pictures": {test.name: len(test.pairs) for test in sets},
        "quality": quality,
        "int8_psnr_db": int8_distances(options.bundle, photographs, sets),
    }


def _enhance_by_checkpoint(file: Path, working_size_px: int) -> Enhance:
    return enhance_reduced(load_checkpoint(file), working_size_px)


def measure_with_lpips(
    enhance: Enhance, sets: list[TestSet], lpips: Lpips | None
) -> dict[str, dict[str, float]]:
    """Mean PSNR (dB, 60 for equal pictures), SSIM and LPIPS (squeeze) over each set.

    Beside them the PSNR of pictures scaled to their truths' mean: what would be left if how bright the truth
    is could be known.
    """
    found = {}
    for test in sets:
        rows = []
        for picture, truth in test.pairs:
            enhanced = enhance(picture)
            result, wanted = to_tensor(enhanced), to_tensor(truth)
            distance = lpips(result, wanted) if lpips is not None else float("nan")
            scaled = to_tensor(with_mean_of(enhanced, truth))
            decibels = (min(60.0, psnr(image, wanted)) for image in (result, scaled))
            rows.append((*decibels, ssim(result, wanted), distance))
        means = np.mean(rows, 0)
        found[test.name] = {
            name: round(float(value), 4)
            for name, value in zip(_METRICS, means, strict=True)
            if np.isfinite(value)
        }
    return found


def int8_distances(bundle: Path, photographs: list[Pixels], sets: list[TestSet]) -> dict[str, Any]:
    """PSNR of INT8 against float32, dB.

    Of each photograph as people run it and at full resolution; of each set the lowest and the median, as
    people run it.
    """
    found: dict[str, Any] = {}
    sizes: dict[str, Any] = {"recommended": "recommended", "full resolution": None}
    for name, size in sizes.items():
        try:
            exact, fast = (Enhancer(bundle, p, "cpu", working_size=size) for p in ("fp32", "int8"))
        except Exception as error:
            print(f"INT8 is left out: {error}", file=sys.stderr)
            return {}
        found[name] = [_distance_db(exact, fast, photograph) for photograph in photographs]
        if size is not None:
            for test in sets:
                distances = [_distance_db(exact, fast, picture) for picture, _ in test.pairs]
                found[test.name] = {"lowest": min(distances), "median": round(float(np.median(distances)), 1)}
    return found


def _distance_db(exact: Enhancer, fast: Enhancer, picture: Pixels) -> float:
    return round(min(99.0, psnr(to_tensor(fast.enhance(picture)), to_tensor(exact.enhance(picture)))), 1)


def as_markdown(figures: dict[str, Any]) -> str:
    """The quality table."""
    names = list(figures["pictures"])
    lines = [
        "| | " + " | ".join(f"{name} ({figures['pictures'][name]})" for name in names) + " |",
        "| --- |" + " ---: |" * len(names),
    ]
    for way, sets in figures["quality"].items():
        cells = []
        for name in names:
            value = sets[name]
            lpips = f" / {value['lpips']:.3f}" if "lpips" in value else ""
            cells.append(f"{value['psnr_db']:.2f} / {value['ssim']:.3f}{lpips}")
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parses, measures, prints, saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    add_set_options(parser)
    parser.add_argument("--checkpoints", nargs="*", type=Path, default=[], help="other networks to measure")
    parser.add_argument("--working-size", type=int, default=256, help="for the other networks")
    parser.add_argument("--output", type=Path, help="JSON file")
    options = parser.parse_args()
    figures = assess(options)
    print(as_markdown(figures))
    print(json.dumps(figures["int8_psnr_db"]))
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
