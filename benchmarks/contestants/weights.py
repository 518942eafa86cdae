"""Loads official weights into the baselines, whose parameter names are the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.contestants.ours import WholeImage
from rave_train.checkpoint import load_checkpoint

WRAPPERS = ("params_ema", "params", "state_dict", "model")
"""Keys under which published files keep their tensors."""

PARTS = {
    "decomposition": {"": "decomposition."},
    "reflectance": {"denoise_fn.": "reflectance_noise.", "Unet_fn.": "reflectance_refinement."},
    "illumination": {"denoise_fn.": "illumination_noise.", "Unet_fn.": "illumination_refinement."},
}
"""Diff-Retinex comes as three files; which names of each become which of ours."""


class WeightsError(ValueError):
    """A file does not hold the weights of the network they were meant for."""


def load_weights(network: nn.Module, path: Path) -> None:
    """Fills a network with weights.

    Args:
        network: a baseline, or our own network.
        path: a `.pth` of tensors or a `.safetensors` file; for Diff-Retinex also a folder with
            `decomposition.pth`, `reflectance.pth` and `illumination.pth`.

    Raises:
        WeightsError: the file is missing or holds other tensors than the network's.
        CheckpointError: the same for our network.
    """
    if isinstance(network, WholeImage):
        network.network = load_checkpoint(path)
        return
    tensors = _read_parts(path) if path.is_dir() else read_tensors(path)
    own = network.state_dict()
    tensors = {
        name: tensor
        for name, tensor in tensors.items()
        if name in own or not name.endswith("num_batches_tracked")
    }
    wanted = {name: value for name, value in own.items() if not name.endswith("num_batches_tracked")}
    missing = sorted(set(wanted) - set(tensors))
    unknown = sorted(set(tensors) - set(own))
    shaped = sorted(n for n in set(wanted) & set(tensors) if wanted[n].shape != tensors[n].shape)
    for what, names in (("lacks", missing), ("also holds", unknown), ("has other shapes for", shaped)):
        if names:
            raise WeightsError(
                f"{path} {what} {len(names)} tensors, {names[0]} among them: "
                f"it is not a checkpoint of {type(network).__name__}"
            )
    network.load_state_dict(tensors, strict=False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without wrappers and without `module.`.

    Raises:
        WeightsError: the file is missing, or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} cannot be read as weights: {error}") from error
    for key in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            break
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise WeightsError(f"{path} holds no state dict of tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def _read_parts(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for part, prefixes in PARTS.items():
        for name, tensor in read_tensors(folder / f"{part}.pth").items():
            for old, new in prefixes.items():
                if name.startswith(old):
                    tensors[new + name.removeprefix(old)] = tensor
    return tensors
