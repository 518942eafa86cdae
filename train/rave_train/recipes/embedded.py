"""Trains a model to embed: `python -m rave_train.recipes.embedded PHOTOS... --panoramas DIR --output FILE`.

No pre-trained weight goes into the network: it learns from photographs and panoramas whose rights are
clear, made backlit here.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple
from pathlib import Path

import torch

from rave_train.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from rave_train.encoders.opening import open_encoder
from rave_train.errors import CheckpointError
from rave_train.loop.device import pick_device, pick_precision, precision_name
from rave_train.network import EnhancementNetwork
from rave_train.recipes.bank import Mix, Sources, load_sources, make_bank
from rave_train.recipes.scenes import SHADES
from rave_train.recipes.training import Recipe, mean_network, train


def provenance_of(
    recipe: Recipe,
    sources: Sources,
    device: torch.device,
    encoder: str | None = None,
    starts: Sequence[Checkpoint] = (),
) -> dict[str, object]:
    """What a checkpoint of the recipe says of where it comes from; `encoder` by its name."""
    return {
        "recipe": "rave_train.recipes.embedded",
        **asdict(recipe),
        "photographs": len(sources.photographs),
        "panoramas": len(sources.panoramas),
        "synthesis": [asdict(shade) for shade in recipe.drawing.shades],
        "encoder": encoder,
        "starts": [start.provenance for start in starts],
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": precision_name(pick_precision("auto", device)),
        "torch": torch.__version__,
        "training_size_px": round(recipe.area_px**0.5 * max(recipe.scales)),
    }


def _read_starts(names: Sequence[str], recipe: Recipe) -> list[Checkpoint]:
    starts = [read_checkpoint(name) for name in names]
    for name, start in zip(names, starts, strict=True):
        if start.network.channels != recipe.channels:
            raise CheckpointError(
                f"{name} has {start.network.channels} channels, {recipe.channels} are needed"
            )
    return starts


def main() -> None:
    """Parses, trains, saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", nargs="+", type=Path, help="well-lit photographs, or folders of them")
    parser.add_argument("--panoramas", nargs="*", type=Path, default=[], help="folders of .exr, .exr.js")
    parser.add_argument("--output", type=Path, required=True, help="checkpoint, .safetensors or .pth")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--finishing-steps", type=int, default=Recipe.finishing_steps, help="rounded as INT8")
    parser.add_argument("--pairs", type=int, default=Recipe.pairs)
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument(
        "--mix",
        nargs=4,
        type=float,
        default=astuple(Mix()),
        metavar=("SHADE", "SUBJECT", "VIEW", "LIT"),
        help="shares of the kinds of pairs",
    )
    parser.add_argument(
        "--shades",
        nargs="+",
        choices=list(SHADES),
        default=Recipe.shades,
        help="how photographs are darkened; each pair draws one of them",
    )
    parser.add_argument(
        "--exposure-spread", type=float, default=Recipe.exposure_spread, help="of photographs"
    )
    parser.add_argument(
        "--init-from",
        nargs="+",
        default=[],
        help="a checkpoint of the same width to go on from, or 'embedded'; the mean of several",
    )
    parser.add_argument("--start-share", type=float, default=Recipe.start_share, help="of those, mixed in")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--encoder", help="that guides as RAVE does: timm:mobilenetv2_100@FILE, for one")
    parser.add_argument("--guidance-weight", type=float, default=1.0, help="with --encoder")
    parser.add_argument(
        "--threads", type=int, help="of torch; every core unless given. The same number gives the same bits"
    )
    options = parser.parse_args()
    try:
        job = _prepare(options)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    network, provenance = job()
    save_checkpoint(network, options.output, provenance)


def _prepare(options: argparse.Namespace) -> Callable[[], tuple[EnhancementNetwork, dict[str, object]]]:
    """Reads and checks everything before an hour's work, which it returns.

    Raises:
        ValueError: wrong words; `CheckpointError`, `ConfigError` and `EncoderError` are such.
        OSError: something cannot be read, or the result could not be written.
    """
    if options.start_share and not options.init_from:
        raise ValueError("--start-share is of the weights to go on from: give --init-from as well")
    _require_writable(options.output)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    recipe = Recipe(
        steps=options.steps,
        finishing_steps=options.finishing_steps,
        pairs=options.pairs,
        learning_rate=options.learning_rate,
        mix=Mix(*options.mix),
        shades=tuple(options.shades),
        exposure_spread=options.exposure_spread,
        seed=options.seed,
        start_share=options.start_share,
        guidance_weight=options.guidance_weight if options.encoder else 0.0,
    )
    encoder = open_encoder(options.encoder) if options.encoder else None
    starts = _read_starts(options.init_from, recipe)
    sources = load_sources(options.photos, options.panoramas)

    def work() -> tuple[EnhancementNetwork, dict[str, object]]:
        bank = make_bank(sources, recipe.drawing, recipe.pairs, recipe.area_px, recipe.seed)
        start = mean_network([checkpoint.network for checkpoint in starts]) if starts else None
        network = train(recipe, bank, encoder, start, device)
        return network, provenance_of(recipe, sources, device, options.encoder, starts)

    return work


def _require_writable(output: Path) -> None:
    """Makes the folder; raises CheckpointError for another ending, OSError where nothing can be written."""
    if output.suffix not in (".safetensors", ".pth"):
        raise CheckpointError(f"{output} must end in .safetensors (ours) or .pth (upstream's)")
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        raise OSError(f"{output} cannot be written")


if __name__ == "__main__":
    main()
