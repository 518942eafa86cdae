"""The interface between tiling and the libraries that run a bundle's graphs.

A bundle's context graph gives features and their share of the pooled grids; its enhance graph turns
features and pooled grids into the illumination map. The code that tiles photographs uses only the three
calls of `Network`, so that another library is supported by another class beside
`rave_runtime.backends.onnx_network`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.bundle import NetworkFacts

Image = NDArray[np.uint8] | NDArray[np.float32]
Call = Literal["pool", "illuminate", "illuminate_whole"]


class Network(Protocol):
    """A network that estimates light, in one call or in two. Several threads may call it at once.

    Images are [n, h, w, 3] uint8 in [0, 255] or float32 in [0, 1], C-contiguous. Matrices are those of
    `rave_runtime.light.tiling`, float32, one per image of the batch; `bins` in their shapes is the length of
    the stacked grids (12).
    """

    @property
    def facts(self) -> NetworkFacts:
        """The facts that tiling needs, such as halo, bins and padding."""

    def pool(self, images: Image, pool_rows: Array, pool_cols: Array) -> Array:
        """Computes the share of the pooled grids that each window contributes.

        Args:
            images: batch of windows.
            pool_rows: [n, bins, h], made by `pooling_matrix`.
            pool_cols: [n, bins, w], made by `pooling_matrix`.

        Returns:
            [n, channels, bins, bins] float32. The sum over all tiles of an image is its pooled grids.
        """

    def illuminate(self, images: Image, pooled: Array, rows: Array, cols: Array) -> Array:
        """Computes the illumination maps of windows from the pooled grids of their whole images.

        Args:
            images: batch of windows.
            pooled: [n, channels, bins, bins] float32, the pooled grids of each window's image.
            rows: [n, h, bins], made by `interpolation_matrix`.
            cols: [n, w, bins], made by `interpolation_matrix`.

        Returns:
            [n, h, w] float32, at least 0.
        """

    def illuminate_whole(
        self, images: Image, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array
    ) -> Array:
        """Pools and illuminates whole images in one call, with their features computed once.

        Arguments are as for `pool` and `illuminate`; returns [n, h, w] float32, at least 0.
        """


class LoadedNetwork(Network, Protocol):
    """A network whose graphs come from files and are loaded when first needed, or earlier by `prepare`."""

    def prepare(self, *, whole: bool) -> None:
        """Loads the graphs that the first 8-bit picture needs; may run while pictures are decoded.

        Args:
            whole: whether to prepare `illuminate_whole`; otherwise `pool` and `illuminate`.

        Raises:
            BundleError: a graph is missing, damaged or cannot be loaded.
            DeviceError: the device cannot be used.
        """


class NetworkAround(ABC):
    """A network that hands its calls to another one, by way of `call`.

    Args:
        network: the other network.
    """

    def __init__(self, network: LoadedNetwork) -> None:
        self.network: Final = network

    @abstractmethod
    def call(self, name: Call, *arrays: NDArray[Any]) -> Array:
        """Returns the result of a call of the other network."""

    @property
    def facts(self) -> NetworkFacts:
        """See `Network.facts`."""
        return self.network.facts

    def prepare(self, *, whole: bool) -> None:
        """See `LoadedNetwork.prepare`."""
        self.network.prepare(whole=whole)

    def pool(self, images: Image, pool_rows: Array, pool_cols: Array) -> Array:
        """See `Network.pool`."""
        return self.call("pool", images, pool_rows, pool_cols)

    def illuminate(self, images: Image, pooled: Array, rows: Array, cols: Array) -> Array:
        """See `Network.illuminate`."""
        return self.call("illuminate", images, pooled, rows, cols)

    def illuminate_whole(
        self, images: Image, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array
    ) -> Array:
        """See `Network.illuminate_whole`."""
        return self.call("illuminate_whole", images, pool_rows, pool_cols, rows, cols)
