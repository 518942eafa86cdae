"""A bundle's graphs through OpenVINO, the fastest way on a CPU.

OpenVINO's own Python package is used rather than its plug-in for onnxruntime, which offers itself on
Intel processors only; the package runs on AMD and Arm as well.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any, Final

import numpy as np

from rave_runtime.bundle import Bundle, GraphFile, ImageType, Precision
from rave_runtime.cache import keep, recall
from rave_runtime.errors import BundleError, DeviceError
from rave_runtime.network import Array, Image, usable_processors

_CONVERTER: Final = "openvino.tools.ovc"


def _import_openvino() -> Any:
    """OpenVINO without its telemetry and its converter; it can do without either.

    On import it would report its use to a web service, from a forked process. Nobody who enhances
    photographs has agreed to that. The converter of other formats takes half the time of the import; who
    wants it beside this package imports it by its own name.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    unwanted = _CONVERTER not in sys.modules
    if unwanted:
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if unwanted:
            del sys.modules[_CONVERTER]
    return openvino


openvino: Final = _import_openvino()


class OpenVinoNetwork:
    """See `rave_runtime.network.Network`. Graphs are compiled when first needed.

    Args:
        bundle: where the graphs come from.
        precision: which of them; the bundle must hold it.
        threads: of each call; as many calls run at once as all processors allow.
    """

    def __init__(self, bundle: Bundle, precision: Precision, threads: int = 1) -> None:
        self.facts: Final = bundle.manifest.network
        self._precision = precision
        self._bundle = bundle
        self._core = openvino.Core()
        # Its first call fills a table of C++ that asks for Python's lock: two threads that make it at
        # once wait for each other for ever.
        openvino.Type.f32.to_dtype()
        self._properties = {
            "INFERENCE_NUM_THREADS": usable_processors(),
            "NUM_STREAMS": max(1, usable_processors() // threads),
            # Some processors would compute float32 graphs in bfloat16, 40 dB away, without a word.
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled: dict[str, Any] = {}
        self._locks = {graph.file: threading.Lock() for graph in bundle.manifest.graphs}
        self._requests = threading.local()
        bundle.manifest.graph("enhance", precision)

    def prepare(self) -> None:
        """See `LoadedNetwork.prepare`."""
        self._model(self._bundle.manifest.graph("context", self._precision, "uint8"))
        self._model(self._bundle.manifest.graph("enhance", self._precision))

    def pool(self, images: Image, pool_rows: Array, pool_cols: Array) -> Array:
        """See `Network.pool`."""
        return self._context(images, pool_rows, pool_cols)[1].copy()

    def illuminate(self, images: Image, pooled: Array, rows: Array, cols: Array) -> Array:
        """See `Network.illuminate`."""
        no_rows, no_cols = np.zeros_like(rows.swapaxes(1, 2)), np.zeros_like(cols.swapaxes(1, 2))
        features, _ = self._context(images, np.ascontiguousarray(no_rows), np.ascontiguousarray(no_cols))
        return self._enhance(features, pooled, rows, cols)

    def illuminate_whole(
        self, images: Image, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array
    ) -> Array:
        """See `Network.illuminate_whole`."""
        features, pooled = self._context(images, pool_rows, pool_cols)
        return self._enhance(features, pooled, rows, cols)

    def _context(self, images: Image, rows: Array, cols: Array) -> tuple[Array, Array]:
        image_type: ImageType = "uint8" if images.dtype == np.uint8 else "float32"
        graph = self._bundle.manifest.graph("context", self._precision, image_type)
        results = self._run(graph, {"image": images, "rows": rows, "cols": cols})
        return results["features"], results["pooled"]

    def _enhance(self, features: Array, pooled: Array, rows: Array, cols: Array) -> Array:
        graph = self._bundle.manifest.graph("enhance", self._precision)
        inputs = {"features": features, "pooled": pooled, "rows": rows, "cols": cols}
        light: Array = self._run(graph, inputs)["light"].copy()
        return light

    def _run(self, graph: GraphFile, inputs: dict[str, Any]) -> dict[str, Any]:
        """Results live in the calling thread's request until its next run of the same graph."""
        request = self._request(graph)
        try:
            request.infer(inputs, share_inputs=True)
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            message = str(error).strip().splitlines()[-1]
            raise DeviceError(
                f"OpenVINO failed on {graph.file}: {message} "
                "(a smaller --tile-size or --working-size needs less memory)"
            ) from error
        return {output.name: request.get_tensor(output.name).data for output in graph.outputs}

    def _request(self, graph: GraphFile) -> Any:
        requests: dict[str, Any] = self._requests.__dict__
        if graph.file not in requests:
            requests[graph.file] = self._model(graph).create_infer_request()
        return requests[graph.file]

    def _model(self, graph: GraphFile) -> Any:
        with self._locks[graph.file]:
            if graph.file not in self._compiled:
                self._compiled[graph.file] = self._compile(graph)
            return self._compiled[graph.file]

    def _compile(self, graph: GraphFile) -> Any:
        content = self._bundle.read_graph(graph)
        # Compiling takes several times as long as reading what was compiled before.
        key = f"openvino {openvino.__version__} {self._processor()} {self._properties} {graph.sha256}"
        compiled = recall(key)
        if compiled is not None:
            with contextlib.suppress(Exception):  # of another build of OpenVINO, for one
                return self._core.import_model(compiled, "CPU", self._properties)
        try:
            made = self._core.compile_model(self._core.read_model(content), "CPU", self._properties)
        except Exception as error:
            message = str(error).strip().splitlines()[-1]
            raise BundleError(
                f"{self._bundle.folder / graph.file} cannot be loaded by OpenVINO "
                f"{openvino.__version__}: {message}"
            ) from error
        with contextlib.suppress(Exception):  # it runs, whether it can be kept or not
            keep(key, made.export_model().getvalue())
        return made

    def _processor(self) -> str:
        return " ".join(
            str(self._core.get_property("CPU", name))
            for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
        )
