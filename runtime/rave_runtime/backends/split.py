"""The three calls of a network, composed once from the two graphs into which a bundle splits it.

A class that runs graphs says only how it runs either of them. The order of the calls, and how a map is
computed without pooling the window's own features, stand here.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from rave_runtime.backends.network import Array, Image

ContextOutput = Literal["features", "pooled"]


class SplitNetwork(ABC):
    """Base of the classes that run a context graph and an enhance graph: see `Network`."""

    @abstractmethod
    def run_context(
        self, images: Image, pool_rows: Array, pool_cols: Array, wanted: tuple[ContextOutput, ...]
    ) -> Mapping[str, Any]:
        """Runs the context graph.

        Args:
            images: batch of windows, as for `Network.pool`.
            pool_rows: [n, bins, h] float32.
            pool_cols: [n, bins, w] float32.
            wanted: the outputs that the caller uses.

        Returns:
            At least the wanted outputs, in whatever form `run_enhance` takes them. They need to last only
            until the next run of the same thread.
        """

    @abstractmethod
    def run_enhance(self, features: Any, pooled: Any, rows: Array, cols: Array) -> Array:
        """Runs the enhance graph.

        Args:
            features: as `run_context` gives them.
            pooled: as `run_context` gives it, or [n, channels, bins, bins] float32.
            rows: [n, h, bins] float32.
            cols: [n, w, bins] float32.

        Returns:
            [n, h, w] float32, an array that nothing else writes to.
        """

    def fetch(self, pooled: Any) -> Array:
        """The pooled grids of `run_context` as an array that nothing else writes to."""
        result: Array = pooled
        return result

    def exclusive(self) -> contextlib.AbstractContextManager[object]:
        """What is held from the first graph of a call to the end of the last one: by default nothing."""
        return contextlib.nullcontext()

    def pool(self, images: Image, pool_rows: Array, pool_cols: Array) -> Array:
        """See `Network.pool`."""
        with self.exclusive():
            return self.fetch(self.run_context(images, pool_rows, pool_cols, ("pooled",))["pooled"])

    def illuminate(self, images: Image, pooled: Array, rows: Array, cols: Array) -> Array:
        """See `Network.illuminate`."""
        # The context graph pools as well: with matrices of zeros, nothing of this window.
        no_rows, no_cols = (np.zeros(np.swapaxes(each, 1, 2).shape, np.float32) for each in (rows, cols))
        with self.exclusive():
            features = self.run_context(images, no_rows, no_cols, ("features",))["features"]
            return self.run_enhance(features, pooled, rows, cols)

    def illuminate_whole(
        self, images: Image, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array
    ) -> Array:
        """See `Network.illuminate_whole`."""
        with self.exclusive():
            context = self.run_context(images, pool_rows, pool_cols, ("features", "pooled"))
            return self.run_enhance(context["features"], context["pooled"], rows, cols)
