"""Trains a model to embed: `python -m rave_train.recipes.embedded PHOTOS... --panoramas DIR --output FILE`.

No pre-trained weight goes into the network. It learns from photographs and panoramas whose rights are clear,
and which this recipe makes backlit.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict, astuple, replace
from pathlib import Path

import torch

from rave_train.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from rave_train.errors import CheckpointError, TrainingError
from rave_train.loop.device import pick_device, pick_precision, precision_name
from rave_train.network import EnhancementNetwork
from rave_train.recipes.bank import Mix, load_sources, make_bank, save_samples
from rave_train.recipes.scenes import Sources
from rave_train.recipes.training import Finish, Recipe, train


def provenance_of(
    recipe: Recipe, sources: Sources, device: torch.device, start: Checkpoint | None = None
) -> dict[str, object]:
    """What a checkpoint of the recipe states about its origin, as JSON values by name.

    Args:
        recipe: how the network was trained.
        sources: the photographs and panoramas it was trained on.
        device: where it was trained.
        start: the checkpoint it was trained from, or None.
    """
    return {
        "recipe": "rave_train.recipes.embedded",
        **asdict(recipe),
        "photographs": len(sources.photographs),
        "panoramas": len(sources.panoramas),
        "start": None if start is None else start.provenance,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": precision_name(pick_precision("auto", device)),
        "torch": torch.__version__,
        "training_size_px": round(recipe.long_side_px * recipe.chosen.scale),
    }


def main() -> None:
    """Parses the command line, trains, and saves the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", nargs="+", type=Path, help="well-lit photographs, or folders of them")
    parser.add_argument(
        "--panoramas", nargs="*", type=Path, default=[], help="folders of .hdr, .exr and .exr.js"
    )
    parser.add_argument("--output", type=Path, required=True, help="checkpoint, .safetensors or .pth")
    parser.add_argument(
        "--steps",
        nargs=3,
        type=int,
        default=[stage.steps for stage in Recipe().stages],
        metavar=("SMALL", "LARGE", "CHOSEN"),
        help="steps on small pictures, on larger ones, and on chosen ones with INT8's rounding",
    )
    parser.add_argument("--pairs", type=int, default=Recipe.pairs)
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument(
        "--ssim-weight",
        type=float,
        default=Recipe.ssim_weight,
        help="weight of one minus the structural similarity",
    )
    parser.add_argument(
        "--finish",
        nargs=2,
        type=float,
        action="append",
        metavar=("PREFERENCE", "BACKLIT"),
        help="for the last steps: how much worse too dark a shade is than too light a one, from 0 to 1, and "
        "how often backlit pairs come; 0.3 3 unless given; of several finishes the weights are averaged",
    )
    parser.add_argument(
        "--mix",
        nargs=5,
        type=float,
        default=astuple(Mix()),
        metavar=("VIEW", "SILHOUETTE", "SUBJECT", "SHADE", "LIT"),
        help="shares of the kinds of pairs",
    )
    parser.add_argument("--samples", type=Path, help="folder for some of the pairs, to look at")
    parser.add_argument("--init-from", help="a checkpoint of the same width to go on from, or 'embedded'")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument(
        "--threads", type=int, help="of torch; every core unless given. The same number gives the same bits"
    )
    options = parser.parse_args()
    try:
        job = _prepare(options)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    try:
        network, provenance = job()
    except TrainingError as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
    save_checkpoint(network, options.output, provenance)


def _prepare(options: argparse.Namespace) -> Callable[[], tuple[EnhancementNetwork, dict[str, object]]]:
    """Reads and checks everything that the training needs.

    Returns:
        A function that trains for about an hour and returns the network and its provenance.

    Raises:
        ValueError: an option cannot be used; `CheckpointError` and `ConfigError` are subclasses.
        OSError: something cannot be read, or the result could not be written.
    """
    _require_writable(options.output)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    small, large, chosen = options.steps
    recipe = Recipe(
        small=replace(Recipe.small, steps=small),
        large=replace(Recipe.large, steps=large),
        chosen=replace(Recipe.chosen, steps=chosen),
        pairs=options.pairs,
        learning_rate=options.learning_rate,
        ssim_weight=options.ssim_weight,
        finishes=tuple(Finish(*each) for each in options.finish or [()]),
        mix=Mix(*options.mix),
        seed=options.seed,
    )
    start = _read_start(options.init_from, recipe) if options.init_from else None
    sources = load_sources(options.photos, options.panoramas)
    mix = recipe.mix
    if not sources.panoramas and not mix.subject + mix.shade + mix.lit:
        raise ValueError("all pairs of this --mix are views into panoramas: name some by --panoramas")

    def work() -> tuple[EnhancementNetwork, dict[str, object]]:
        bank = make_bank(sources, recipe.mix, recipe.pairs, recipe.long_side_px, recipe.seed, options.threads)
        if options.samples:
            save_samples(bank, options.samples)
        network = train(recipe, bank, None if start is None else start.network, device)
        return network, provenance_of(recipe, sources, device, start)

    return work


def _read_start(name: str, recipe: Recipe) -> Checkpoint:
    start = read_checkpoint(name)
    if start.network.channels != recipe.channels:
        raise CheckpointError(
            f"{name} has {start.network.channels} channels, the recipe's network has {recipe.channels}"
        )
    return start


def _require_writable(output: Path) -> None:
    """Makes the folder of the checkpoint and checks that it can be written.

    Raises:
        CheckpointError: the name ends in neither .safetensors nor .pth.
        OSError: nothing can be written there.
    """
    if output.suffix not in (".safetensors", ".pth"):
        raise CheckpointError(f"{output} must end in .safetensors (ours) or .pth (upstream's)")
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        raise OSError(f"{output} cannot be written")


if __name__ == "__main__":
    main()
