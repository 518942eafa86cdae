"""Files that a run writes beside its log: picture grids, validation, checkpoints, the guidance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from rave_train.checkpoint import save_checkpoint
from rave_train.data.grid import draw_grid, to_pixels
from rave_train.guidance.guidance import Guidance
from rave_train.loop.config import RunConfig
from rave_train.loop.ingredients import GRID_ROWS, Ingredients
from rave_train.loop.losses_log import LossesLog
from rave_train.loop.run_folder import RunFolder
from rave_train.loop.state import TrainingState, Weights, copy_weights
from rave_train.measure.metrics import psnr
from rave_train.network import EnhancementNetwork, relight
from rave_train.whole_files import write_png, write_whole


def end_epoch(
    config: RunConfig, state: TrainingState, run: RunFolder, ingredients: Ingredients, log: LossesLog | None,
    device: torch.device,
) -> None:  # fmt: skip
    """Enhances the shown pictures; the leading process writes the grid, the validation and the checkpoints.

    Args:
        config: the config of the run.
        state: its state, whose validation figures are updated.
        run: its folder.
        ingredients: its ingredients.
        log: the log of the leading process; None in all others, which write nothing.
        device: where to compute.
    """
    shown, total = ingredients.shown, state.position.total
    with torch.no_grad():
        pictures = (
            picture.to(device) for picture in torch.split(shown.backlit, 1)
        )  # a GPU holds one at a time
        enhanced = torch.cat([relight(picture, state.network(picture)).cpu() for picture in pictures])
    is_best = False
    if shown.held_out:
        assert shown.truth is not None
        before, after = mean_psnr(shown.backlit, shown.truth), mean_psnr(enhanced, shown.truth)
        is_best = after > state.best_psnr
        state.best_psnr = max(after, state.best_psnr)
        state.input_psnr, state.last_psnr = before, after
        if log is not None:
            log.log_validation(total, before, after)
    if log is None:
        return
    columns = [("backlit", shown.backlit), ("enhanced", enhanced)]
    columns += [] if shown.truth is None else [("well-lit", shown.truth)]
    grid = draw_grid(
        [
            (title, [to_pixels(picture.numpy()) for picture in pictures[:GRID_ROWS]])
            for title, pictures in columns
        ]
    )
    write_png(run.grid_file(total), grid)
    log.show(total, grid)
    save_network(config, state, run, ingredients, "last")
    if is_best:
        save_network(config, state, run, ingredients, "best", current=True)


def mean_psnr(pictures: Tensor, truth: Tensor) -> float:
    """Mean over pictures [n, 3, h, w] in [0, 1] of the PSNR on all three channels, dB."""
    each = [psnr(picture, true) for picture, true in zip(pictures, truth, strict=True)]
    return sum(each) / len(each)


def save_network(
    config: RunConfig, state: TrainingState, run: RunFolder, ingredients: Ingredients, name: str,
    current: bool = False,
) -> None:  # fmt: skip
    """Writes a checkpoint.

    Args:
        config: the config of the run.
        state: its state.
        run: its folder.
        ingredients: its ingredients.
        name: "last" for the weights as they are now, "best" for the best ones of the round.
        current: with "best", take the weights as they are now.
    """
    weights = state.best if name == "best" and not current else copy_weights(state.network)
    assert weights is not None
    network = network_of(state.network, weights, torch.device("cpu"))
    provenance: dict[str, Any] = {
        "method": config.method,
        "step": state.position.total,
        "training_size_px": config.network.size_px,
        "guidance_encoder": Path(config.encoder).name,
        "identity_encoder": Path(config.identity_encoder_name).name,
        "seed": config.seed,
        "init_from": config.network.init_from and Path(config.network.init_from).name,
        **ingredients.made_of,
    }
    save_checkpoint(network, run.checkpoint_file(name), provenance)


def save_guidance(file: Path, guidance: Guidance) -> None:
    """Writes the guidance's state dict, and with it "direction", the unit vector to interpret."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in guidance.state_dict().items()}
    tensors["direction"] = guidance.direction().cpu().contiguous().clone()
    write_whole(file, save(tensors))


def network_of(like: EnhancementNetwork, weights: Weights, device: torch.device) -> EnhancementNetwork:
    """A network of the width and padding of `like` with these weights, on a device."""
    network = EnhancementNetwork(like.channels, like.padding)
    network.load_state_dict(weights)
    return network.to(device).to(memory_format=torch.channels_last)
