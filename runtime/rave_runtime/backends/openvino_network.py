"""Runs a bundle's graphs by OpenVINO, the fastest way on a CPU.

OpenVINO's own Python package is used rather than its plug-in for onnxruntime, which offers itself on
Intel processors only; the package runs on AMD and Arm as well.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from typing import Any, Final

from rave_runtime.arrays import Array
from rave_runtime.backends.compiled_cache import keep, recall
from rave_runtime.backends.graph_check import read_graph
from rave_runtime.backends.limits import usable_processors
from rave_runtime.backends.network import Image
from rave_runtime.backends.split import ContextOutput, Part, SplitNetwork, image_type
from rave_runtime.bundle import Bundle, GraphFile, ImageType, Precision
from rave_runtime.errors import BundleError, DeviceError
from rave_runtime.version import __version__

_CONVERTER: Final = "openvino.tools.ovc"

_CHANGES: Final = "join, round once"
"""A name for the changes made to graphs before they are compiled. It is part of the cache's key, so that
graphs that were compiled with other changes are not used."""

_KEPT_KERNELS: Final = 100
"""How many kernels a stream keeps; each is made for one size of picture. With OpenVINO's own 5000, memory
grows with every size of photograph. Folders of photographs have few sizes, for which 100 are enough."""

_OF_ENHANCE: Final = "_of_enhance"
"""Suffix of the names of the enhance graph's inputs after both graphs were joined."""


@functools.cache
def import_openvino() -> Any:
    """Imports OpenVINO without its telemetry and its model converter, neither of which it needs.

    On import it would report its use to a web service, from a forked process. Nobody who enhances
    photographs has agreed to that. The converter takes half the time of the import; a program that needs it
    can still import it by name.

    Returns:
        The module.

    Raises:
        DeviceError: it cannot be imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    hides_converter = _CONVERTER not in sys.modules
    if hides_converter:
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise DeviceError(f"OpenVINO cannot be imported: {error}") from error
    finally:
        if hides_converter:
            del sys.modules[_CONVERTER]
    return openvino


class OpenVinoNetwork(SplitNetwork):
    """Runs a bundle through OpenVINO, which is imported when the first graph is compiled: see `Network`.

    Args:
        bundle: the bundle with the graphs.
        precision: the precision of the graphs to run, which the bundle must hold.
        threads: how many threads each call uses; as many calls run at once as all processors allow.

    Raises:
        BundleError: the bundle does not hold the precision.
    """

    def __init__(self, bundle: Bundle, precision: Precision, threads: int = 1) -> None:
        self.facts = bundle.manifest.network
        self._precision = precision
        self._bundle = bundle
        self._core: Any = None
        self._properties = {
            "INFERENCE_NUM_THREADS": usable_processors(),
            "NUM_STREAMS": max(1, usable_processors() // threads),
            # Otherwise OpenVINO silently computes in bfloat16 on some processors: 40 dB PSNR from float32.
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": _KEPT_KERNELS,
        }
        self._compiled: dict[str, Any] = {}
        self._loading = threading.Lock()
        self._requests = threading.local()
        bundle.manifest.graph("enhance", precision)

    def prepare(self, *, whole: bool) -> None:
        """See `LoadedNetwork.prepare`."""
        context, enhance = self._graphs("uint8")
        if whole:
            self._model(context, enhance)
        else:
            self._model(context)
            self._model(enhance)

    def graph_file(self, part: Part, images: Image) -> str:
        """See `SplitNetwork.graph_file`."""
        context, enhance = self._graphs(image_type(images))
        return str(self._bundle.folder / (context if part == "context" else enhance).file)

    def run_context(
        self, images: Image, pool_rows: Array, pool_cols: Array, outputs: tuple[ContextOutput, ...]
    ) -> dict[str, Array]:
        """See `SplitNetwork.run_context`."""
        del outputs  # the graph gives both anyway
        context, _ = self._graphs(image_type(images))
        return self._run({"image": images, "rows": pool_rows, "cols": pool_cols}, context)

    def run_enhance(self, features: Any, pooled: Any, rows: Array, cols: Array) -> Array:
        """See `SplitNetwork.run_enhance`."""
        enhance = self._bundle.manifest.graph("enhance", self._precision)
        inputs = {"features": features, "pooled": pooled, "rows": rows, "cols": cols}
        light: Array = self._run(inputs, enhance)["light"].copy()
        return light

    def fetch(self, pooled: Any) -> Array:
        """See `SplitNetwork.fetch`."""
        result: Array = pooled.copy()
        return result

    def run_whole(self, images: Image, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array) -> Array:
        """See `SplitNetwork.run_whole`: both graphs are joined and run as one."""
        inputs = {"image": images, "rows": pool_rows, "cols": pool_cols}
        inputs |= {"rows" + _OF_ENHANCE: rows, "cols" + _OF_ENHANCE: cols}
        light: Array = self._run(inputs, *self._graphs(image_type(images)))["light"].copy()
        return light

    def _graphs(self, image_type: ImageType) -> tuple[GraphFile, GraphFile]:
        manifest = self._bundle.manifest
        return manifest.graph("context", self._precision, image_type), manifest.graph(
            "enhance", self._precision
        )

    def _run(self, inputs: dict[str, Any], *graphs: GraphFile) -> dict[str, Any]:
        """Runs graphs; the results stay valid until the calling thread runs the same graphs again."""
        request = self._request(graphs)
        try:
            request.infer(inputs, share_inputs=True)
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            raise DeviceError(
                f"OpenVINO failed on {_names(graphs)}: {_reason(error)} "
                "(a smaller --tile-size or --working-size needs less memory)"
            ) from error
        return {output.name: request.get_tensor(output.name).data for output in graphs[-1].outputs}

    def _request(self, graphs: tuple[GraphFile, ...]) -> Any:
        requests: dict[str, Any] = self._requests.__dict__
        if _names(graphs) not in requests:
            requests[_names(graphs)] = self._model(*graphs).create_infer_request()
        return requests[_names(graphs)]

    def _model(self, *graphs: GraphFile) -> Any:
        """Returns one graph, or the context graph joined to the enhance graph, compiled."""
        with self._loading:
            if _names(graphs) not in self._compiled:
                self._compiled[_names(graphs)] = self._compile(graphs)
            return self._compiled[_names(graphs)]

    def _compile(self, graphs: tuple[GraphFile, ...]) -> Any:
        """Compiles graphs that run as one, or loads what an earlier run compiled and kept."""
        openvino = import_openvino()
        if self._core is None:
            try:
                core = openvino.Core()
                core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the CPU plug-in, which may fail
            except Exception as error:  # OpenVINO raises RuntimeError for everything
                raise DeviceError(
                    f"OpenVINO {openvino.__version__} cannot be used: {_reason(error)} (use --device cpu)"
                ) from error
            self._core = core
            # The first call of `to_dtype` fills a table in C++ that needs Python's lock: two threads that
            # make that call at once would wait for each other for ever. Here only one thread makes it.
            openvino.Type.f32.to_dtype()
        contents = [read_graph(self._bundle, graph) for graph in graphs]
        # Compiling takes several times as long as reading what was compiled before.
        hashes = " ".join(graph.sha256 for graph in graphs)
        versions = f"openvino {openvino.__version__} rave-backlit {__version__} {_CHANGES}"
        key = f"{versions} {self._processor()} {self._properties} {hashes}"
        compiled = recall(key)
        if compiled is not None:
            with contextlib.suppress(Exception):  # for instance where another build of OpenVINO compiled it
                return self._core.import_model(compiled, "CPU", self._properties)
        try:
            models = [self._core.read_model(content) for content in contents]
            model = _join(*models) if len(models) == 2 else models[0]
            _round_once(model)
            executable = self._core.compile_model(model, "CPU", self._properties)
        except Exception as error:
            raise BundleError(
                f"{self._bundle.folder / _names(graphs)} cannot be loaded by OpenVINO "
                f"{openvino.__version__}: {_reason(error)}"
            ) from error
        with contextlib.suppress(Exception):  # it runs, whether it can be kept or not
            keep(key, executable.export_model().getvalue())
        return executable

    def _processor(self) -> str:
        return " ".join(
            str(self._core.get_property("CPU", name))
            for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
        )


def _join(context: Any, enhance: Any) -> Any:
    """Joins both graphs into one model, in which features keep OpenVINO's inner layout and type.

    Its inputs are those of the context graph, and the enhance graph's rows and columns, renamed.
    """
    context_outputs = {name: result for result in context.outputs for name in result.names}
    parameters = list(context.get_parameters())
    for parameter in enhance.get_parameters():
        name = parameter.friendly_name
        if name in context_outputs:
            source = context_outputs[name].node.input_value(0)
            for reader in parameter.output(0).get_target_inputs():
                reader.replace_source_output(source)
        else:
            parameter.output(0).get_tensor().set_names({name + _OF_ENHANCE})
            parameters.append(parameter)
    return import_openvino().Model([result.node for result in enhance.outputs], parameters, "whole")


_ROUNDING: Final = ("Multiply", "Subtract", "Convert", "Convert", "FakeQuantize")
"""The operations by which an INT8 graph rounds a value to bytes and back to floats, the last one first."""


def _round_once(model: Any) -> None:
    """Removes the rounding between a convolution and the addition or activation that follows it.

    onnxruntime adds and activates bytes, so exported INT8 graphs round before each of these steps. OpenVINO
    does both in the same pass as the convolution, in float32, and needs to round only for the next
    convolution. With the earlier rounding it makes two more passes, which took a fifth of the time, and the
    result is further from float32.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("Add", "PRelu"):
            for reader in node.inputs():
                source = _before_rounding(reader.get_source_output())
                if source is not None and source.node.get_type_name() in ("Convolution", "Add"):
                    reader.replace_source_output(source)


def _before_rounding(output: Any) -> Any | None:
    """Returns the value before its rounding; None if it was not rounded or has other readers as well."""
    for kind in _ROUNDING:
        if output.node.get_type_name() != kind or len(output.get_target_inputs()) != 1:
            return None
        output = output.node.input_value(0)
    return output


def _reason(error: Exception) -> str:
    """Returns the last line of OpenVINO's message: those before it name places in its code."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _names(graphs: tuple[GraphFile, ...]) -> str:
    return " with ".join(graph.file for graph in graphs)
