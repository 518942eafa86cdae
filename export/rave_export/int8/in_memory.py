"""Runs a network whose graphs are not files yet, as the runtime runs those of a bundle."""

from __future__ import annotations

from typing import Any, Final, Protocol

import onnx

from rave_runtime.arrays import Array
from rave_runtime.backends.network import Image
from rave_runtime.backends.onnx_network import session_options
from rave_runtime.backends.privacy import import_onnxruntime
from rave_runtime.backends.split import ContextOutput, Part, SplitNetwork
from rave_runtime.bundle import NetworkFacts


class Runnable(Protocol):
    """A graph that can be run."""

    def run(self, inputs: dict[str, Any]) -> list[Any]:
        """Runs the graph on arrays by input name; returns every output in the order of the graph."""


class Session:
    """A model on onnxruntime on the CPU, with options that keep its memory small."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = session_options()
        options.enable_cpu_mem_arena = False
        self._session = import_onnxruntime().InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, inputs: dict[str, Any]) -> list[Any]:
        """See `Runnable.run`."""
        results: list[Any] = self._session.run(None, inputs)
        return results


class NetworkInMemory(SplitNetwork):
    """A context graph, for uint8 images, and an enhance graph: see `rave_runtime.backends.network`."""

    def __init__(self, facts: NetworkFacts, context: Runnable, enhance: Runnable) -> None:
        self.facts = facts
        self._context: Final = context
        self._enhance: Final = enhance

    def graph_file(self, part: Part, images: Image) -> str:
        """See `SplitNetwork.graph_file`: there is no file, so this is the part's name."""
        del images
        return f"the {part} graph in memory"

    def run_context(
        self, images: Image, pool_rows: Array, pool_cols: Array, outputs: tuple[ContextOutput, ...]
    ) -> dict[str, Array]:
        """See `SplitNetwork.run_context`."""
        del outputs  # the graph always gives both
        results = self._context.run({"image": images, "rows": pool_rows, "cols": pool_cols})
        return dict(zip(("features", "pooled"), results, strict=True))

    def run_enhance(self, features: Array, pooled: Array, rows: Array, cols: Array) -> Array:
        """See `SplitNetwork.run_enhance`."""
        light: Array
        (light,) = self._enhance.run({"features": features, "pooled": pooled, "rows": rows, "cols": cols})
        return light
