"""Runs a bundle's graphs by onnxruntime: on the CPU, or on a GPU with features that stay there."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rave_runtime.arrays import Array
from rave_runtime.backends.devices import CUDA_REMEDY, Device, load_cuda_libraries, sums_bytes_exactly
from rave_runtime.backends.network import Image
from rave_runtime.backends.privacy import import_onnxruntime
from rave_runtime.backends.split import ContextOutput, Part, SplitNetwork, image_type
from rave_runtime.bundle import Bundle, GraphFile, Precision
from rave_runtime.errors import BundleError, DeviceError, reason_of

if TYPE_CHECKING:
    import onnxruntime


class OnnxNetwork(SplitNetwork):
    """Runs a bundle through onnxruntime, which is imported when the first session is needed: see `Network`.

    Args:
        bundle: the bundle with the graphs.
        precision: the precision of the graphs to run, which the bundle must hold.
        device: "cpu" or "cuda".
        threads: how many threads each session on the CPU uses.

    Raises:
        BundleError: the bundle does not hold the precision.
    """

    def __init__(self, bundle: Bundle, precision: Precision, device: Device, threads: int = 1) -> None:
        self.facts = bundle.manifest.network
        self.precision: Final = precision
        self.device: Final = device
        self._bundle = bundle
        self._threads = threads
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._locks = {graph.file: threading.Lock() for graph in bundle.manifest.graphs}
        bundle.manifest.graph("enhance", precision)

    def prepare(self, *, whole: bool) -> None:
        """See `LoadedNetwork.prepare`."""
        del whole  # the same two graphs serve both ways
        self._session(self._bundle.manifest.graph("context", self.precision, "uint8"))
        self._session(self._bundle.manifest.graph("enhance", self.precision))

    def graph_file(self, part: Part, images: Image) -> str:
        """See `SplitNetwork.graph_file`."""
        return str(self._bundle.folder / self._graph(part, images).file)

    def run_context(
        self, images: Image, pool_rows: Array, pool_cols: Array, outputs: tuple[ContextOutput, ...]
    ) -> dict[str, Any]:
        """See `SplitNetwork.run_context`. On a GPU its results may stay there."""
        graph = self._graph("context", images)
        inputs = {"image": images, "rows": pool_rows, "cols": pool_cols}
        return dict(zip(outputs, self._run(graph, list(outputs), inputs), strict=True))

    def run_enhance(self, features: Any, pooled: Any, rows: Array, cols: Array) -> Array:
        """See `SplitNetwork.run_enhance`."""
        graph = self._bundle.manifest.graph("enhance", self.precision)
        inputs = {"features": features, "pooled": pooled, "rows": rows, "cols": cols}
        (light,) = self._run(graph, ["light"], inputs)
        result: Array = light
        return result

    def _graph(self, part: Part, images: Image) -> GraphFile:
        kind = image_type(images) if part == "context" else None
        return self._bundle.manifest.graph(part, self.precision, kind)

    def _run(self, graph: GraphFile, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
        session = self._session(graph)
        try:
            if self.device.name == "cuda":
                return _run_on_gpu(session, outputs, inputs)
            result: list[Any] = session.run(outputs, inputs)
        except Exception as error:  # onnxruntime's exceptions have no base class in common
            raise DeviceError(
                f"{self.device.provider} failed on {graph.file}: {reason_of(error)} "
                "(a smaller --tile-size or --working-size needs less memory)"
            ) from error
        return result

    def _session(self, graph: GraphFile) -> onnxruntime.InferenceSession:
        with self._locks[graph.file]:
            if graph.file not in self._sessions:
                self._sessions[graph.file] = self._make_session(graph)
            return self._sessions[graph.file]

    def _make_session(self, graph: GraphFile) -> onnxruntime.InferenceSession:
        """Makes a session that runs a graph on the device; refuses one that fell back to another provider."""
        from rave_runtime.backends.graph_check import read_graph  # now: photographs are decoded meanwhile

        content = read_graph(self._bundle, graph)
        onnxruntime = import_onnxruntime()
        options = session_options()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        if not (graph.fits_16_bits or sums_bytes_exactly()):
            # Without it, products of bytes are added in 16 bits, which saturates. It is slower than float32.
            options.add_session_config_entry("session.x64quantprecision", "1")
        if self.device.name == "cuda":
            load_cuda_libraries()
        try:
            session = onnxruntime.InferenceSession(
                content,
                options,
                providers=[(self.device.provider, self.device.options)],
                # On the CPU it would only try the same once more, and print four lines about that.
                enable_fallback=int(self.device.name != "cpu"),
            )
        except Exception as error:
            raise BundleError(
                f"{self._bundle.folder / graph.file} cannot be loaded by onnxruntime "
                f"{onnxruntime.__version__}: {reason_of(error)}"
            ) from error
        if session.get_providers()[0] != self.device.provider:
            raise DeviceError(
                f"onnxruntime fell back from {self.device.provider} to {session.get_providers()[0]}: "
                f"its libraries or the driver are missing; {CUDA_REMEDY}"
            )
        return session


def session_options() -> onnxruntime.SessionOptions:
    """Returns the options that every session of this project has."""
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = 3  # only errors
    # With free shapes, planned buffers took twice the memory and saved no time.
    options.enable_mem_pattern = False
    # Idle threads must not spin: photographs that are decoded or encoded need the processors.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _run_on_gpu(
    session: onnxruntime.InferenceSession, outputs: list[str], inputs: dict[str, Any]
) -> list[Any]:
    """Runs a session whose features, and pooled grids beside them, stay on the GPU; the light comes back."""
    binding = session.io_binding()
    for name, value in inputs.items():
        if isinstance(value, np.ndarray):
            binding.bind_cpu_input(name, value)
        else:
            binding.bind_ortvalue_input(name, value)
    on_gpu = {"features"} if outputs != ["features", "pooled"] else {"features", "pooled"}
    for name in outputs:
        binding.bind_output(name, "cuda" if name in on_gpu else "cpu")
    session.run_with_iobinding(binding)
    values = binding.get_outputs()
    return [value if name in on_gpu else value.numpy() for name, value in zip(outputs, values, strict=True)]
