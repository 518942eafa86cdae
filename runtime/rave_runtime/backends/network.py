"""What tiling needs of a model, whoever runs its graphs.

A bundle's context graph gives features and their share of the pooled grids; its enhance graph turns
features and pooled grids into the illumination map. Everything above this module speaks in the three
calls of `Network`, so that another way of running the graphs is another class beside
`rave_runtime.backends.onnx_network`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.bundle import NetworkFacts

Image = NDArray[np.uint8] | NDArray[np.float32]


class Network(Protocol):
    """Images are [n, h, w, 3] uint8 in [0, 255] or float32 in [0, 1], C-contiguous.

    Matrices are those of `rave_runtime.light.tiling`, one per image of the batch; bins is the length of the
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
            pool_cols: [n, bins, w], of `pooling_matrix`.

        Returns:
            [n, channels, bins, bins] float32: add up over the tiles of one image.
        """

    def illuminate(self, images: Image, pooled: Array, rows: Array, cols: Array) -> Array:
        """Illumination maps of windows whose whole images' pooled grids are given.

        Args:
            images: batch of windows.
            pooled: [n, channels, bins, bins].
            rows: [n, h, bins], of `interpolation_matrix`.
            cols: [n, w, bins], of `interpolation_matrix`.

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
            whole: whether to prepare `illuminate_whole`; otherwise `pool` and `illuminate`.

        Raises:
            BundleError: a graph is missing, damaged or cannot be loaded.
            DeviceError: the device cannot be used.
        """
