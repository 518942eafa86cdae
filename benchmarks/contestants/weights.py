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
"""Diff-Retinex comes as three files; for each, the prefixes of its names and those of ours in their place."""


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
        CheckpointError: the same, if the network is ours.
    """
    if isinstance(network, WholeImage):
        network.network = load_checkpoint(path)
        return
    tensors = _read_parts(path) if path.is_dir() else read_tensors(path)
    network_tensors = network.state_dict()
    tensors = {
        name: tensor
        for name, tensor in tensors.items()
        if name in network_tensors or not name.endswith("num_batches_tracked")
    }
    required = {
        name: value for name, value in network_tensors.items() if not name.endswith("num_batches_tracked")
    }
    missing = sorted(set(required) - set(tensors))
    unknown = sorted(set(tensors) - set(network_tensors))
    misshapen = sorted(n for n in set(required) & set(tensors) if required[n].shape != tensors[n].shape)
    for what, names in (("lacks", missing), ("also holds", unknown), ("has other shapes for", misshapen)):
        if names:
            raise WeightsError(
                f"{path} {what} {len(names)} tensors, {names[0]} among them: "
                f"it is not a checkpoint of {type(network).__name__}"
            )
    network.load_state_dict(tensors, strict=False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a file by name; wrapping keys and the prefix `module.` are removed.

    Raises:
        WeightsError: the file is missing, or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} cannot be read as weights: {error}") from error
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise WeightsError(f"{path} holds no state dict of tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def _read_parts(folder: Path) -> dict[str, Tensor]:
    """Reads the three files of Diff-Retinex, with the names of our network."""
    tensors: dict[str, Tensor] = {}
    for part, prefixes in PARTS.items():
        for name, tensor in read_tensors(folder / f"{part}.pth").items():
            for old, new in prefixes.items():
                if name.startswith(old):
                    tensors[new + name.removeprefix(old)] = tensor
    return tensors
