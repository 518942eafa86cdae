"""A network whose graphs are not files yet, run as the runtime runs those of a bundle."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from rave_runtime.backends.privacy import import_onnxruntime
from rave_runtime.bundle import NetworkFacts

Array = NDArray[np.float32]


class Runnable(Protocol):
    """A graph that can be run."""

    def run(self, inputs: dict[str, Any]) -> list[Any]:
        """Arrays by input name -> every output, in the order of the graph."""


class Session:
    """A model on plain onnxruntime, holding no more memory than it needs."""

    def __init__(self, model: onnx.ModelProto) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, inputs: dict[str, Any]) -> list[Any]:
        """See `Runnable.run`."""
        results: list[Any] = self._session.run(None, inputs)
        return results


class NetworkInMemory:
    """A `Network` of a context graph, for uint8 images, and an enhance graph."""

    def __init__(self, facts: NetworkFacts, context: Runnable, enhance: Runnable) -> None:
        self.facts: Final = facts
        self._context: Final = context
        self._enhance: Final = enhance

    def pool(self, images: Any, pool_rows: Array, pool_cols: Array) -> Array:
        """See `Network.pool`."""
        pooled: Array = self._features(images, pool_rows, pool_cols)[1]
        return pooled

    def illuminate(self, images: Any, pooled: Array, rows: Array, cols: Array) -> Array:
        """See `Network.illuminate`."""
        unused = np.zeros_like(rows.transpose(0, 2, 1)), np.zeros_like(cols.transpose(0, 2, 1))
        return self._light(self._features(images, *unused)[0], pooled, rows, cols)

    def illuminate_whole(
        self, images: Any, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array
    ) -> Array:
        """See `Network.illuminate_whole`."""
        features, pooled = self._features(images, pool_rows, pool_cols)
        return self._light(features, pooled, rows, cols)

    def _features(self, images: Any, rows: Array, cols: Array) -> list[Array]:
        return self._context.run({"image": images, "rows": rows, "cols": cols})

    def _light(self, features: Array, pooled: Array, rows: Array, cols: Array) -> Array:
        light: Array
        (light,) = self._enhance.run({"features": features, "pooled": pooled, "rows": rows, "cols": cols})
        return light
