"""What tiling needs of a model, whoever runs its graphs.

A bundle's context graph gives features and their share of the pooled grids; its enhance graph turns
features and pooled grids into the illumination map. Everything above this module speaks in the three
calls of `Network`, so that another way of running the graphs is another class beside
`rave_runtime.onnx_network`.
"""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rave_runtime.bundle import Bundle, NetworkFacts, Precision
from rave_runtime.devices import Device

Array = NDArray[np.float32]
Image = NDArray[np.uint8] | NDArray[np.float32]


class Network(Protocol):
    """Images are [n, h, w, 3] uint8 in [0, 255] or float32 in [0, 1], C-contiguous.

    Matrices are those of `rave_runtime.tiling`, one per image of the batch; bins is the length of the
    stacked grids (12). Implementations may be called by several threads at once.
    """

    @property
    def facts(self) -> NetworkFacts:
        """Halo, bins, padding."""

    def pool(self, images: Image, pool_rows: Array, pool_cols: Array) -> Array:
        """Shares of the pooled grids.

        Args:
            images: batch of windows.
            pool_rows: [n, bins, h], of `pooling_matrix`.
            pool_cols: [n, bins, w], likewise.

        Returns:
            [n, channels, bins, bins] float32: add up over the tiles of one image.
        """

    def illuminate(self, images: Image, pooled: Array, rows: Array, cols: Array) -> Array:
        """Illumination maps of windows whose whole images' pooled grids are given.

        Args:
            images: batch of windows.
            pooled: [n, channels, bins, bins].
            rows: [n, h, bins], of `interpolation_matrix`.
            cols: [n, w, bins], likewise.

        Returns:
            [n, h, w] float32, at least 0.
        """

    def illuminate_whole(
        self, images: Image, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array
    ) -> Array:
        """Both at once for whole images, whose features are computed once. Returns [n, h, w]."""


class LoadedNetwork(Network, Protocol):
    """A network whose graphs come from files and are loaded when first needed, or before."""

    def prepare(self, *, whole: bool) -> None:
        """Loads what the first 8-bit picture would wait for; may run while others are decoded.

        Args:
            whole: for `illuminate_whole`; otherwise for `pool` and `illuminate`.

        Raises:
            BundleError: a graph is missing, damaged or cannot be loaded.
            DeviceError: the device cannot be used.
        """


def load_network(bundle: Bundle, precision: Precision, device: Device, threads: int = 0) -> LoadedNetwork:
    """The bundle's network on a device.

    Args:
        bundle: where the graphs come from.
        precision: which of them.
        device: of `rave_runtime.devices.choose_device`.
        threads: for each call; 0 takes all processors this process may use.

    Raises:
        BundleError: the graphs are missing, damaged or cannot be loaded.
        DeviceError: the device cannot be used.
    """
    threads = threads or usable_processors()
    if device.name == "openvino":
        from rave_runtime.openvino_network import OpenVinoNetwork

        return OpenVinoNetwork(bundle, precision, threads)
    if device.name == "tensorrt":
        from rave_runtime.tensorrt_network import TensorRtNetwork

        return TensorRtNetwork(bundle, precision)
    from rave_runtime.onnx_network import OnnxNetwork

    return OnnxNetwork(bundle, precision, device, threads)


def usable_processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
