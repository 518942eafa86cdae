"""Exports the torch network as the two ONNX graphs of a bundle.

The network is split at the pooling block; `rave_runtime.backends.network` tells why. The features go from one
graph to the other, so no weight is stored twice, and an image that fits one window is computed once.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import traceback
import warnings
from collections.abc import Iterator
from typing import Final

import onnx
import torch
from torch import Tensor, nn

from rave_export.errors import ExportError, InputError
from rave_runtime.backends.privacy import import_onnxruntime
from rave_runtime.errors import reason_of
from rave_train.network import EnhancementNetwork, SplitPyramidPooling

OPSET: Final = 18
MIN_OPSET: Final = 18
"""Below this version `Pad` has no input for axes, which torch's exporter writes."""

IR_VERSION: Final = 10
"""The newest version of the file format that all supported runtimes read; onnx would write a newer one."""

_EXPORTERS: Final = ("torch.onnx", "onnx", "ml_dtypes")
"""How the names of the modules begin that write ONNX: torch's own, onnx, onnxscript, onnx_ir."""


class ContextGraph(nn.Module):
    """The module from an image tile to its features, and their share of the pooled grids."""

    def __init__(self, network: EnhancementNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
        """See `rave_runtime.backends.network.Network.pool`; the image is uint8."""
        planes = image.float().permute(0, 3, 1, 2)  # TensorRT takes bytes as the input of a cast only
        features = self.network.features((planes / 255).to(self.network.cond1.weight.dtype))
        pooled = rows.unsqueeze(1) @ features.float() @ cols.unsqueeze(1).transpose(2, 3)
        return features, pooled


class EnhanceGraph(nn.Module):
    """The module from features and the whole image's pooled grids to the illumination map."""

    def __init__(self, network: EnhancementNetwork) -> None:
        super().__init__()
        self.network = network
        self.PPM1 = SplitPyramidPooling(network.PPM1)

    def forward(self, features: Tensor, pooled: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
        """See `rave_runtime.backends.network.Network.illuminate`."""
        fused = self.PPM1(features, pooled, rows, cols)
        return self.network.light(fused)[:, 0].float()


def check_opset(opset: int) -> None:
    """Checks that graphs of an opset can be written here and then be run here.

    Raises:
        InputError: the opset is too low for the graphs, or too new for the installed onnx or onnxruntime.
    """
    if opset < MIN_OPSET:
        raise InputError(f"opset {opset} is too low for these graphs: give at least {MIN_OPSET}")
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise InputError(f"opset {opset} is too new for the installed onnx: give at most {newest}")
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], "probe", values[:1], values[1:]
    )
    versions = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=versions, ir_version=IR_VERSION)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise InputError(
            f"opset {opset} is too new for the installed onnxruntime: give a lower one, {MIN_OPSET} at least"
        ) from error


def export_context(network: EnhancementNetwork, opset: int = OPSET) -> onnx.ModelProto:
    """Exports the context graph for uint8 images, which computes in the dtype of the network's weights.

    Args:
        network: float32 or float16, in eval mode.
        opset: version of the operator set.

    Raises:
        InputError: the opset is too low.
    """
    bins = sum(network.PPM1.bins)
    inputs = {
        "image": torch.zeros(2, 24, 18, 3, dtype=torch.uint8),
        "rows": torch.zeros(2, bins, 24),
        "cols": torch.zeros(2, bins, 18),
    }
    axes = {
        "image": {0: "batch", 1: "height", 2: "width"},
        "rows": {0: "batch", 2: "height"},
        "cols": {0: "batch", 2: "width"},
    }
    return _export(ContextGraph(network), inputs, axes, ["features", "pooled"], opset)


def with_float_image(context: onnx.ModelProto) -> onnx.ModelProto:
    """The context graph for float32 images in [0, 1], made from the one for uint8 images.

    Only the cast and the division by 255 are removed. All other nodes keep their names, so that one
    calibration serves both graphs.
    """
    model = onnx.ModelProto()
    model.CopyFrom(context)
    graph = model.graph
    model_input = next(item for item in graph.input if item.name == "image")
    model_input.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    cast = next(node for node in graph.node if node.op_type == "Cast" and node.input[0] == "image")
    division = next(node for node in graph.node if node.op_type == "Div")
    new_names = {cast.output[0]: "image", division.output[0]: division.input[0]}
    nodes = [node for node in graph.node if node not in (cast, division)]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    for node in graph.node:
        node.input[:] = [new_names.get(name, name) for name in node.input]
    used = {name for node in graph.node for name in node.input}
    constants = [item for item in graph.initializer if item.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    onnx.checker.check_model(model, full_check=True)
    return model


def export_enhance(network: EnhancementNetwork, opset: int = OPSET) -> onnx.ModelProto:
    """Exports the enhance graph, which computes in the dtype of the network's weights.

    Raises:
        InputError: the opset is too low.
    """
    bins = sum(network.PPM1.bins)
    inputs = {
        "features": torch.zeros(2, network.channels, 24, 18, dtype=network.cond1.weight.dtype),
        "pooled": torch.zeros(2, network.channels, bins, bins),
        "rows": torch.zeros(2, 24, bins),
        "cols": torch.zeros(2, 18, bins),
    }
    axes = {
        "features": {0: "batch", 2: "height", 3: "width"},
        "pooled": {0: "batch"},
        "rows": {0: "batch", 1: "height"},
        "cols": {0: "batch", 1: "width"},
    }
    return _export(EnhanceGraph(network), inputs, axes, ["light"], opset)


def _export(
    module: nn.Module,
    inputs: dict[str, Tensor],
    axes: dict[str, dict[int, str]],
    outputs: list[str],
    opset: int,
) -> onnx.ModelProto:
    """Exports a module by torch's exporter with the given axes of any size, and checks the opset.

    Args:
        module: the module to export.
        inputs: example inputs by name.
        axes: for each input, the names of its axes of any size: "batch", "height" or "width".
        outputs: names of the outputs.
        opset: version of the operator set.

    Raises:
        InputError: the opset is too low.
        ExportError: the installed packages cannot export it.
    """
    if opset < MIN_OPSET:
        raise InputError(f"opset {opset} is too low for these graphs: give at least {MIN_OPSET}")
    _require_onnxscript()
    sizes = {
        "batch": torch.export.Dim("batch", min=1),
        "height": torch.export.Dim("height", min=2),
        "width": torch.export.Dim("width", min=2),
    }
    dynamic = {name: {axis: sizes[size] for axis, size in free.items()} for name, free in axes.items()}
    with _quiet(), _errors_in_one_line():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            verbose=False,
            opset_version=opset,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=dynamic,
        )
    assert program is not None
    model = program.model_proto
    written = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if written != opset:
        raise ExportError(
            f"this torch and onnx cannot write opset {opset}, they wrote {written}: give --opset {written}"
        )
    model.ir_version = IR_VERSION
    model.producer_name = "rave-export"
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _require_onnxscript() -> None:
    """Imports onnxscript, since torch's exporter reports a problem with it in dozens of lines.

    Raises:
        ExportError: it is missing, or does not work with the other packages.
    """
    try:
        importlib.import_module("onnxscript")
    except (MemoryError, OSError):
        raise
    except Exception as error:  # versions that do not fit together raise errors of any class
        raise _clash(error) from error


@contextlib.contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Turns errors of torch's exporter, which are dozens of lines, into one that says what to do.

    Packages that do not fit together lack what one asks of another. All other errors have other reasons,
    such as a machine that gives no memory, or a network that was changed, and keep their own words.

    Raises:
        ExportError: the block raised an error, but not one of files.
    """
    try:
        yield
    except (MemoryError, OSError):
        raise
    except Exception as error:
        first = error
        while isinstance(reason := first.__cause__ or first.__context__, Exception):
            first = reason
        if isinstance(first, ImportError) or (
            isinstance(first, (AttributeError, TypeError)) and _module_of(first).startswith(_EXPORTERS)
        ):
            raise _clash(first) from error
        raise ExportError(
            f"torch could not write the network as ONNX: {type(first).__name__}: {reason_of(first)}. Free "
            "memory if that is short; a network that was changed may do what ONNX cannot"
        ) from error


def _clash(error: Exception) -> ExportError:
    """Says which package is missing, or that packages do not go together."""
    if isinstance(error, ModuleNotFoundError) and error.name and "." not in error.name:
        return ExportError(f"{error.name} is missing: pip install 'rave-backlit[export]'")
    return ExportError(
        f"onnxscript does not go with the onnx and torch that are installed ({reason_of(error)}): "
        "pip install --upgrade onnx onnxscript"
    )


def _module_of(error: Exception) -> str:
    """The name of the module in which an error arose."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", "")) if frames else ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the exporter's progress and advice, which users cannot act on."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
