"""Reading and writing enhancement networks: ours (safetensors) and upstream's (`.pth`)."""

from __future__ import annotations

import json
import os
import pickle
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rave_runtime.bundle import EMBEDDED, MIN_WORKING_SIZE_PX, Manifest, read_bundle
from rave_runtime.errors import BundleError, reason_of
from rave_train.errors import CheckpointError, reason_of_loading
from rave_train.network import PADDINGS, PUBLISHED_CHANNELS, EnhancementNetwork, Padding
from rave_train.whole_files import safetensors_file, torch_file, write_whole

UPSTREAM_PREFIX: Final = "module."
"""The prefix that upstream's `DataParallel` gives each name, and that its scripts cut off again."""

PUBLISHED_TRAINING_SIZE_PX: Final = 512

_FORMAT: Final = "rave-backlit checkpoint 1"
_FLOATS: Final = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Checkpoint:
    """A network and where it comes from.

    Attributes:
        network: the network, in eval mode, on the CPU, float32.
        provenance: what the trainer recorded (method, data, steps, ...), JSON values; empty for
            files of upstream.
        working_size_px: longest side of the pictures on which the network estimates the light well: what
            the bundle around the checkpoint recommends (None is full size), else the size of the training
            pictures, else the published 512.
    """

    network: EnhancementNetwork
    provenance: dict[str, Any] = field(default_factory=dict)
    working_size_px: int | None = PUBLISHED_TRAINING_SIZE_PX


def load_checkpoint(path: str | os.PathLike[str], padding: Padding | None = None) -> EnhancementNetwork:
    """The network in a checkpoint file, in eval mode: `read_checkpoint` without the provenance.

    Raises:
        CheckpointError: see `read_checkpoint`.
    """
    return read_checkpoint(path, padding).network


def read_checkpoint(path: str | os.PathLike[str], padding: Padding | None = None) -> Checkpoint:
    """Reads a checkpoint of either kind, which its content tells, not its name.

    Args:
        path: safetensors of ours, or a `.pth` state dict, its names with `module.` or without; a
            bundle's folder, for the checkpoint in it; or the word "embedded".
        padding: the padding of the four outer convolutions; None takes what the file says, and "reflect"
            where it says nothing.

    Raises:
        CheckpointError: the file is missing, unreadable, truncated, holds objects other than
            tensors (it is never unpickled beyond tensors), or tensors of another network.
    """
    file, bundle = _find(path)
    metadata: dict[str, str] = {}
    with file.open("rb") as stream:
        head = stream.read(16)
    if head[:2] == b"PK" or head[:1] == b"\x80":
        tensors = _read_pth(file)
    elif head[8:9] == b"{":
        tensors, metadata = _read_safetensors(file)
    else:
        raise CheckpointError(
            f"{file} is neither safetensors nor a torch file: give a checkpoint of the enhancement network"
        )
    stated = metadata.get("padding", "reflect")
    if padding is None:
        if stated not in PADDINGS:
            raise CheckpointError(f"{file} states padding {stated!r}, one of {', '.join(PADDINGS)} is needed")
        padding = stated
    try:
        provenance = json.loads(metadata.get("provenance", "{}"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} states a provenance that is not JSON: {reason_of(error)}") from error
    if not isinstance(provenance, dict):
        raise CheckpointError(f"{file} states a provenance that is not a JSON object")
    network = _build(file, tensors, padding)
    if bundle is None:
        return Checkpoint(network, provenance, _training_size_px(provenance))
    if (network.channels, stated) != (bundle.network.channels, bundle.network.padding):
        raise CheckpointError(
            f"{file} is not what the bundle's graphs were made from: it has {network.channels} channels and "
            f"padding {stated!r}, they {bundle.network.channels} and {bundle.network.padding!r}"
        )
    return Checkpoint(network, provenance, bundle.working_size_px)


def _training_size_px(provenance: dict[str, Any]) -> int:
    size = provenance.get("training_size_px")
    if isinstance(size, int) and not isinstance(size, bool):
        return max(size, MIN_WORKING_SIZE_PX)
    return PUBLISHED_TRAINING_SIZE_PX


def save_checkpoint(
    network: EnhancementNetwork,
    path: str | os.PathLike[str],
    provenance: dict[str, Any] | None = None,
) -> None:
    """Writes a checkpoint: safetensors, or upstream's format where the name ends in `.pth`.

    The file appears whole or not at all. A `.pth` loads in upstream's scripts (which cut seven
    characters off each name) and holds neither padding nor provenance.

    Args:
        network: the network; it must have the published width for a `.pth` that upstream is to read.
        path: `.safetensors` or `.pth`.
        provenance: JSON values to keep beside the weights, such as method, data and steps.

    Raises:
        CheckpointError: another ending.
        OSError: it cannot be written, such as on a full disk.
    """
    file = Path(path)
    tensors = {
        name: value.detach().cpu().float().contiguous() for name, value in network.state_dict().items()
    }
    if file.suffix == ".pth":
        named = {UPSTREAM_PREFIX + name: value for name, value in tensors.items()}
        write_whole(file, torch_file(named))
    elif file.suffix == ".safetensors":
        metadata = {
            "format": _FORMAT,
            "padding": network.padding,
            "provenance": json.dumps(provenance or {}, sort_keys=True),
        }
        write_whole(file, safetensors_file(tensors, metadata))
    else:
        raise CheckpointError(f"{file} must end in .safetensors (ours) or .pth (upstream's)")


def _find(path: str | os.PathLike[str]) -> tuple[Path, Manifest | None]:
    """The file of a checkpoint, and the manifest of the bundle that it is in."""
    file = Path(path)
    if file.is_file():
        return file, None
    best = file / "checkpoints" / "best.safetensors"
    if best.is_file():
        raise CheckpointError(f"{file} is a run of rave-train: give the checkpoint in it, {best}")
    if not (os.fspath(path) and (file.is_dir() or os.fspath(path) == EMBEDDED)):
        raise CheckpointError(
            f"{path} does not exist: a checkpoint (.safetensors or .pth), a bundle or "
            f"the word {EMBEDDED} is needed"
        )
    try:
        bundle = read_bundle(path)
        if bundle.manifest.checkpoint is None:
            raise CheckpointError(f"{file} is a bundle without its checkpoint: give the checkpoint itself")
        bundle.read_file(bundle.manifest.checkpoint)  # checks its hash
    except BundleError as error:
        raise CheckpointError(str(error)) from error
    return bundle.folder / bundle.manifest.checkpoint.file, bundle.manifest


def _read_pth(file: Path) -> dict[str, Tensor]:
    """Reads the tensors of a `.pth` file, and nothing else of it."""
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
                    raise ValueError("its numbers are compressed, which torch never does")
        with warnings.catch_warnings():  # torch warns of what is refused here
            warnings.simplefilter("ignore")
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file} holds Python objects other than tensors, which are never run: "
            "save its state_dict() and give that"
        ) from error
    except Exception as error:  # a damaged file makes torch stumble over anything
        reason = reason_of_loading(error)
        raise CheckpointError(
            f"{file} is truncated or not a torch file ({reason}): copy or download it again"
        ) from error
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    ):
        raise CheckpointError(
            f"{file} is not a state dict (names to tensors): save the network's state_dict()"
        )
    return {name.removeprefix(UPSTREAM_PREFIX): value for name, value in loaded.items()}


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(file, framework="pt") as opened:
            names = list(opened.keys())
            _check_names(file, names)  # first, since another model's numbers may be many
            return {name: opened.get_tensor(name) for name in names}, opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file} is truncated or not a safetensors file ({reason_of(error)}): copy or download it again"
        ) from error


def _build(file: Path, tensors: dict[str, Tensor], padding: Padding) -> EnhancementNetwork:
    """The network of a checkpoint, built only once all its tensors are known to be there in full."""
    _check_names(file, list(tensors))
    first = tensors["cond1.weight"]
    if first.ndim != 4 or first.shape[0] % 4 or not first.shape[0]:
        raise CheckpointError(
            f"{file} is a checkpoint of another network: cond1.weight is {list(first.shape)}, "
            "such as [32, 3, 3, 3] is needed"
        )
    with torch.device("meta"):
        expected = EnhancementNetwork(first.shape[0], padding).state_dict()
    for name, value in expected.items():
        tensor = tensors[name]
        if tensor.shape != value.shape or tensor.dtype not in _FLOATS:
            raise CheckpointError(
                f"{file} is a checkpoint of another network: {name} is {list(tensor.shape)} {tensor.dtype}, "
                f"{list(value.shape)} floating point is needed"
            )
        if not _is_plain(tensor):
            raise CheckpointError(f"{file}: {name} does not store all its numbers: save it as a plain tensor")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{file}: {name} has NaN or infinite values, since its training diverged: give another"
            )
    network = EnhancementNetwork(first.shape[0], padding)
    network.load_state_dict(tensors)
    return network.eval()


def _is_plain(tensor: Tensor) -> bool:
    """Whether every number of a tensor is stored: not so in sparse, meta and expanded ones."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return False
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()


def _check_names(file: Path, names: list[str]) -> None:
    """Raises CheckpointError unless the names are those of the enhancement network's tensors."""
    with torch.device("meta"):
        expected = set(EnhancementNetwork(PUBLISHED_CHANNELS).state_dict())
    if "cond1.weight" not in names:
        raise CheckpointError(
            f"{file} is a checkpoint of another network: cond1.weight [32, 3, 3, 3] is not in it "
            f"(it holds {_some(sorted(names))})"
        )
    missing, unknown = sorted(expected - set(names)), sorted(set(names) - expected)
    if missing or unknown:
        raise CheckpointError(
            f"{file} is a checkpoint of another network: missing {_some(missing)}; unknown {_some(unknown)}"
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "nothing"
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
