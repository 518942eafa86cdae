"""A bundle's two graphs as one network, through onnxruntime.

The context graph gives features and their share of the pooled grids; the enhance graph turns features
and pooled grids into the illumination map. Everything above this module (tiling, batching) speaks in
the three calls of `Network`, so that another way of running the graphs is another class here.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Final, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from rave_runtime.bundle import Bundle, GraphFile, ImageType, NetworkFacts, Precision
from rave_runtime.devices import Device, session_options
from rave_runtime.errors import BundleError, DeviceError

Array = NDArray[np.float32]
Image = NDArray[np.uint8] | NDArray[np.float32]


class Network(Protocol):
    """What tiling needs of a model. Images are [n, h, w, 3] uint8 in [0, 255] or float32 in [0, 1].

    Matrices are those of `rave_runtime.tiling`, one per image of the batch; bins is the length of the
    stacked grids (12).
    """

    @property
    def facts(self) -> NetworkFacts:
        """Halo, bins, padding."""

    def pool(self, images: Image, pool_rows: Array, pool_cols: Array) -> Array:
        """Shares of the pooled grids.

        Args:
            images: batch of windows.
            pool_rows: [n, bins, h], pool_cols: [n, bins, w], of `pooling_matrix`.

        Returns:
            [n, channels, bins, bins]: add up over the tiles of one image.
        """

    def illuminate(self, images: Image, pooled: Array, rows: Array, cols: Array) -> Array:
        """Illumination maps of windows whose whole images' pooled grids are given.

        Args:
            images: batch of windows.
            pooled: [n, channels, bins, bins].
            rows: [n, h, bins], cols: [n, w, bins], of `interpolation_matrix`.

        Returns:
            [n, h, w], at least 0.
        """

    def illuminate_whole(
        self, images: Image, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array
    ) -> Array:
        """Both at once for whole images, whose features are computed once. Returns [n, h, w]."""


class OnnxNetwork:
    """A bundle's graphs in onnxruntime sessions, made when first needed. Safe to share by threads.

    Args:
        bundle: where the graphs come from.
        precision: which of them; the bundle must hold it.
        device: provider and options, of `rave_runtime.devices.choose_device`.
        threads: of each session; 0 takes all processors this process may use.
    """

    def __init__(self, bundle: Bundle, precision: Precision, device: Device, threads: int = 0) -> None:
        self.facts: Final = bundle.manifest.network
        self.precision: Final = precision
        self.device: Final = device
        self._bundle = bundle
        self._threads = threads or usable_processors()
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._lock = threading.Lock()
        bundle.manifest.graph("enhance", precision)

    def pool(self, images: Image, pool_rows: Array, pool_cols: Array) -> Array:
        """See `Network.pool`."""
        pooled: Array
        (pooled,) = self._context(images, pool_rows, pool_cols, ["pooled"])
        return pooled

    def illuminate(self, images: Image, pooled: Array, rows: Array, cols: Array) -> Array:
        """See `Network.illuminate`."""
        unused_rows = np.zeros(rows.transpose(0, 2, 1).shape, np.float32)
        unused_cols = np.zeros(cols.transpose(0, 2, 1).shape, np.float32)
        (features,) = self._context(images, unused_rows, unused_cols, ["features"])
        return self._enhance(features, pooled, rows, cols)

    def illuminate_whole(
        self, images: Image, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array
    ) -> Array:
        """See `Network.illuminate_whole`."""
        features, pooled = self._context(images, pool_rows, pool_cols, ["features", "pooled"])
        return self._enhance(features, pooled, rows, cols)

    def _context(self, images: Image, rows: Array, cols: Array, outputs: list[str]) -> list[Any]:
        image_type: ImageType = "uint8" if images.dtype == np.uint8 else "float32"
        graph = self._bundle.manifest.graph("context", self.precision, image_type)
        return self._run(graph, outputs, {"image": images, "rows": rows, "cols": cols})

    def _enhance(self, features: Any, pooled: Array, rows: Array, cols: Array) -> Array:
        graph = self._bundle.manifest.graph("enhance", self.precision)
        inputs = {"features": features, "pooled": pooled, "rows": rows, "cols": cols}
        (light,) = self._run(graph, ["light"], inputs)
        result: Array = light
        return result

    def _run(self, graph: GraphFile, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
        session = self._session(graph)
        try:
            result: list[Any] = session.run(outputs, inputs)
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            message = str(error).splitlines()[0]
            height, width = inputs["rows"].shape[-1], inputs["cols"].shape[-1]
            raise DeviceError(
                f"{self.device.provider} failed on {graph.file} for a tile of about {height} x {width}: "
                f"{message} (a smaller --tile-size needs less memory)"
            ) from error
        return result

    def _session(self, graph: GraphFile) -> onnxruntime.InferenceSession:
        with self._lock:
            if graph.file not in self._sessions:
                options, providers = session_options(self.device, self._threads)
                content = self._bundle.read_graph(graph)
                try:
                    session = onnxruntime.InferenceSession(content, options, providers=providers)
                except Exception as error:
                    message = str(error).splitlines()[0]
                    raise BundleError(
                        f"{self._bundle.folder / graph.file} cannot be loaded by onnxruntime "
                        f"{onnxruntime.__version__}: {message}"
                    ) from error
                self._sessions[graph.file] = session
            return self._sessions[graph.file]


def usable_processors() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
