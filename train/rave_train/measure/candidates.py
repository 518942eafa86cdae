"""What can be measured: the pictures as they are, checkpoints at full resolution, and bundles as rave-run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from rave_runtime.arrays import Array, Picture
from rave_runtime.backends.network import Image
from rave_runtime.backends.split import ContextOutput, Part, SplitNetwork
from rave_runtime.bundle import EMBEDDED, NetworkFacts
from rave_runtime.light.relight import relight
from rave_runtime.light.tiled import tiled_light
from rave_train.checkpoint import load_checkpoint
from rave_train.network import BINS, CONTEXT_HALO_PX, HALO_PX, EnhancementNetwork, SplitPyramidPooling

TILE_PX: Final = 512
"""Side of the windows in which a checkpoint runs, since whole pictures take 2 GB per megapixel."""

Enhance = Callable[[Picture], Picture]
"""[h, w, 3] uint8 -> the same shape and dtype."""


@dataclass(frozen=True)
class Candidate:
    """A way of making pictures that are then measured.

    Attributes:
        name: the name of its row in the table.
        enhance: the function that makes a picture from a backlit one.
    """

    name: str
    enhance: Enhance


def open_candidate(name: str) -> Candidate:
    """Opens a checkpoint, to run at full resolution as published, or a bundle, to run as in rave-run.

    Args:
        name: file of a checkpoint, folder of a bundle, or the word "embedded".

    Raises:
        CheckpointError: the checkpoint cannot be read.
        BundleError: the bundle cannot be read.
    """
    if name == EMBEDDED or (Path(name) / "manifest.json").is_file():
        from rave_runtime import Enhancer

        enhancer = Enhancer(None if name == EMBEDDED else name)
        size = enhancer.working_size_px
        how = "full resolution" if size is None else f"light at {size} px"
        return Candidate(f"{name} ({enhancer.precision}, {how})", enhancer.enhance)
    network = load_checkpoint(name)
    return Candidate(f"{name} (full resolution)", lambda pixels: enhance_pixels(network, pixels))


def enhance_pixels(network: EnhancementNetwork, pixels: Picture) -> Picture:
    """Enhances a picture at full resolution, [h, w, 3] uint8 -> the same shape and dtype.

    It is computed tile by tile, with the result of the network on the whole picture.
    """
    light = np.empty(pixels.shape[:2], np.float32)
    for tile, window in tiled_light(TorchNetwork(network), pixels, TILE_PX):
        light[tile.core] = tile.core_of(window)
    enhanced = np.empty_like(pixels)
    relight(pixels, light, enhanced)
    return enhanced


class TorchNetwork(SplitNetwork):
    """An `EnhancementNetwork` as the runtime's tiling takes any network.

    Args:
        network: the network, in eval mode, on the CPU.
    """

    def __init__(self, network: EnhancementNetwork) -> None:
        self.network = network.eval()
        self._pooling = SplitPyramidPooling(network.PPM1)
        self.facts = NetworkFacts(
            channels=network.channels, padding=network.padding, halo_px=HALO_PX,
            context_halo_px=CONTEXT_HALO_PX, bins=BINS,
        )  # fmt: skip

    def graph_file(self, part: Part, images: Image) -> str:
        """See `SplitNetwork.graph_file`."""
        del part, images
        return "the checkpoint"

    @torch.inference_mode()
    def run_context(
        self, images: Image, pool_rows: Array, pool_cols: Array, outputs: tuple[ContextOutput, ...]
    ) -> Mapping[str, Any]:
        """See `SplitNetwork.run_context`."""
        del outputs
        image = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2) / 255
        features = self.network.features(image.contiguous(memory_format=torch.channels_last))
        rows, cols = (torch.from_numpy(each)[:, None] for each in (pool_rows, pool_cols))
        return {"features": features, "pooled": (rows @ features @ cols.transpose(2, 3)).numpy()}

    @torch.inference_mode()
    def run_enhance(self, features: Tensor, pooled: Array, rows: Array, cols: Array) -> Array:
        """See `SplitNetwork.run_enhance`."""
        grids, *weights = (torch.from_numpy(each) for each in (pooled, rows, cols))
        light: Array = self.network.light(self._pooling(features, grids, *weights))[:, 0].numpy()
        return light
