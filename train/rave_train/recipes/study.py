"""What each choice of the embedded model's recipe gains: `python -m rave_train.recipes.study --help`.

Trains variants of the recipe for a short time each, always from the same seed, and measures them on pairs
and views that none of them has seen, beside simple baselines. Writes study.json, study.md and a grid of
photographs to look at.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from rave_runtime.light.relight import LIGHT_FLOOR
from rave_train.checkpoint import load_checkpoint
from rave_train.data.batches import to_tensor
from rave_train.data.grid import draw_grid
from rave_train.data.pairs import require_pairs
from rave_train.data.photographs import Pixels, find_photographs, load_photograph
from rave_train.data.synthesis import guided_filter
from rave_train.encoders.opening import open_encoder
from rave_train.measure.metrics import psnr, ssim
from rave_train.network import EnhancementNetwork, relight
from rave_train.recipes.bank import HELD_OUT, Bank, Mix, Sources, load_sources, make_bank
from rave_train.recipes.scenes import draw_view, find_panoramas, load_panorama
from rave_train.recipes.training import Recipe, train

Enhance = Callable[[Pixels], Pixels]

VARIANTS: Final[Mapping[str, Callable[[Recipe], Recipe]]] = {
    "recipe": lambda r: r,
    "no views": lambda r: replace(r, mix=replace(r.mix, view=0.0)),
    "no subjects": lambda r: replace(r, mix=replace(r.mix, subject=0.0)),
    "shades only": lambda r: replace(r, mix=Mix(shade=1, subject=0, view=0, lit=0)),
    "views mostly": lambda r: replace(r, mix=replace(r.mix, view=1.0)),
    "what is bright stays bright": lambda r: replace(r, shades=("bright",)),
    "no similarity": lambda r: replace(r, ssim_weight=0.0),
    "squared error": lambda r: replace(r, psnr_weight=0.0, squared_weight=5.0),
    "L1 alone": lambda r: replace(r, psnr_weight=0.0, ssim_weight=0.0),
    "no light in the log domain": lambda r: replace(r, log_weight=0.0),
    "never eight bits": lambda r: replace(r, finishing_steps=0),
    "zero padding": lambda r: replace(r, padding="zeros"),
    "crops only": lambda r: replace(r, whole=0.0),
    "whole only": lambda r: replace(r, whole=1.0),
    "32 channels": lambda r: replace(r, channels=32),
    "8 channels": lambda r: replace(r, channels=8),
    "guided by RAVE": lambda r: replace(r, guidance_weight=0.1),
}


@dataclass(frozen=True)
class TestSet:
    """Pictures and what they should become, [h, w, 3] uint8 each."""

    __test__ = False

    name: str
    pairs: list[tuple[Pixels, Pixels]]


def enhance_reduced(network: EnhancementNetwork, working_size_px: int) -> Enhance:
    """The network on a reduction, its light upsampled: what the runtime does, in a few lines of torch."""

    @torch.no_grad()
    def enhance(pixels: Pixels) -> Pixels:
        image = to_tensor(pixels)[None]
        height, width = pixels.shape[:2]
        share = min(1.0, working_size_px / max(height, width))
        size = (max(1, round(height * share)), max(1, round(width * share)))
        reduced = F.interpolate(image, size, mode="bilinear", antialias=True)
        light = network(reduced).clamp_min(LIGHT_FLOOR)
        full = F.interpolate(light.log(), (height, width), mode="bicubic").exp()
        return (relight(image, full)[0].permute(1, 2, 0) * 255 + 0.5).to(torch.uint8).numpy()

    return enhance


def enhance_by_gamma(exponent: float) -> Enhance:
    """The same curve for every pixel."""
    return lambda pixels: ((pixels / 255.0) ** exponent * 255 + 0.5).astype(np.uint8)


def enhance_by_lime(exponent: float) -> Enhance:
    """Divides by a power of the edge-preserving brightest channel, as LIME (Guo et al., 2017) does."""

    def enhance(pixels: Pixels) -> Pixels:
        image = pixels / np.float32(255)
        brightest = image.max(2)
        light = guided_filter(brightest, brightest, max(4, max(pixels.shape) // 40), 1e-3).clip(0.02, 1)
        return (np.clip(image / (light**exponent)[..., None], 0, 1) * 255 + 0.5).astype(np.uint8)

    return enhance


def measure(enhance: Enhance, sets: Sequence[TestSet]) -> dict[str, tuple[float, float]]:
    """Mean PSNR (dB) and SSIM over each set; a picture that equals its truth counts 60 dB."""
    found = {}
    for test in sets:
        scores = []
        for picture, truth in test.pairs:
            result, wanted = to_tensor(enhance(picture)), to_tensor(truth)
            scores.append((min(60.0, psnr(result, wanted)), ssim(result, wanted)))
        found[test.name] = tuple(float(value) for value in np.mean(scores, 0))
    return {name: (value[0], value[1]) for name, value in found.items()}


def make_sets(options: argparse.Namespace) -> list[TestSet]:
    """Pairs of the folders, views into the panoramas held out, and well-lit pictures as their own truth."""
    pairing = require_pairs(
        find_photographs(options.pairs, "backlit").photographs,
        find_photographs(options.truths, "well-lit").photographs,
    )
    pairs = [(load_photograph(a.file), load_photograph(b.file)) for a, b in pairing.pairs]
    sets = [TestSet("pairs", pairs[:: options.every])]
    files = find_panoramas(options.panoramas)
    missing = [name for name in HELD_OUT if name not in files]
    if missing:
        raise FileNotFoundError(
            f"{', '.join(missing)} not among the panoramas: {', '.join(files) or 'there are none'}"
        )
    held_out = [load_panorama(files[name]) for name in HELD_OUT]
    rng = np.random.default_rng(7)
    views: list[tuple[Pixels, Pixels]] = []
    while len(views) < options.views:
        drawn = draw_view(held_out[len(views) % len(held_out)], rng, 213, 320)
        if drawn is not None:
            backlit, truth = ((side * 255 + 0.5).astype(np.uint8) for side in drawn)
            views.append((backlit, truth))
    lit = [(truth, truth) for _, truth in pairs[:: 2 * options.every]]
    return [*sets, TestSet("views", views), TestSet("well-lit", lit)]


def study(options: argparse.Namespace) -> None:
    """Trains and measures what is asked for, writing after each."""
    sets = make_sets(options)
    base = replace(Recipe(), steps=options.steps, finishing_steps=options.steps // 10, pairs=options.bank)
    sources = load_sources(options.photos, options.panoramas)
    rows: list[dict[str, object]] = []
    looks: list[tuple[str, Enhance]] = []

    def record(name: str, enhance: Enhance, **facts: object) -> None:
        rows.append({"name": name, **facts, **measure(enhance, sets)})
        looks.append((name, enhance))
        _write(options.output, options, rows, [test.name for test in sets])

    record("input", lambda pixels: pixels)
    record("gamma 0.7", enhance_by_gamma(0.7))
    record("LIME 0.3", enhance_by_lime(0.3))
    for file in options.checkpoints:
        record(file.stem, enhance_reduced(load_checkpoint(file), options.working_size))
    banks: dict[tuple[object, ...], Bank] = {}
    for name in options.variants or VARIANTS:
        recipe = VARIANTS[name](base)
        encoder = open_encoder(options.encoder) if recipe.guidance_weight else None
        started = time.monotonic()
        network = train(recipe, _bank_of(recipe, sources, banks), encoder)
        seconds = round(time.monotonic() - started)
        print(f"{name}: trained in {seconds} s", file=sys.stderr, flush=True)
        record(name, enhance_reduced(network, options.working_size), seconds=seconds, recipe=asdict(recipe))
    shown = [load_photograph(p.file) for p in find_photographs(options.look, "backlit").photographs]
    small = [np.asarray(_fit(Image.fromarray(pixels))) for pixels in shown]
    columns = [(name, [enhance(pixels) for pixels in small]) for name, enhance in looks]
    draw_grid(columns, 320).save(options.output / "study.png")


def _bank_of(recipe: Recipe, sources: Sources, banks: dict[tuple[object, ...], Bank]) -> Bank:
    key = (recipe.drawing, recipe.pairs, recipe.area_px, recipe.seed)
    if key not in banks:
        banks[key] = make_bank(sources, recipe.drawing, recipe.pairs, recipe.area_px, recipe.seed)
    return banks[key]


def _fit(image: Image.Image) -> Image.Image:
    image.thumbnail((640, 640), Image.Resampling.LANCZOS)
    return image


def _write(folder: Path, options: argparse.Namespace, rows: list[dict[str, object]], sets: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"steps": options.steps, "bank": options.bank, "rows": rows}
    (folder / "study.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    lines = [
        f"| variant ({options.steps} steps) | " + " | ".join(f"{name} dB / SSIM" for name in sets) + " |",
        "| --- |" + " ---: |" * len(sets),
    ]
    for row in rows:
        cells = [f"{row[name][0]:.2f} / {row[name][1]:.3f}" for name in sets]  # type: ignore[index]
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    (folder / "study.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def add_set_options(parser: argparse.ArgumentParser) -> None:
    """What `make_sets` reads."""
    parser.add_argument("--panoramas", nargs="+", type=Path, required=True, help="folders of .exr, .exr.js")
    parser.add_argument("--pairs", type=Path, required=True, help="backlit pictures to measure on")
    parser.add_argument("--truths", type=Path, required=True, help="their well-lit partners")
    parser.add_argument("--look", type=Path, required=True, help="folder of real backlit photographs")
    parser.add_argument("--every", type=int, default=3, help="measure on every n-th pair")
    parser.add_argument("--views", type=int, default=40, help="into the panoramas held out")


def main() -> None:
    """Parses and runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", nargs="+", type=Path, help="well-lit photographs, or folders of them")
    add_set_options(parser)
    parser.add_argument("--output", type=Path, required=True, help="folder")
    parser.add_argument("--checkpoints", nargs="*", type=Path, default=[], help="other networks to measure")
    parser.add_argument("--variants", nargs="*", choices=list(VARIANTS), help="all unless given")
    parser.add_argument("--encoder", default="timm:mobilenetv2_100", help="for the guided variant")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--bank", type=int, default=2400, help="pairs drawn for training")
    parser.add_argument("--working-size", type=int, default=256)
    study(parser.parse_args())


if __name__ == "__main__":
    main()
