"""Whether an engine kept the precision of its graph, from what TensorRT's inspector says of it.

The inspector's JSON differs: TensorRT 10 describes a tensor by one text ("Format/Datatype": "Row major
linear FP16 format"), 11 by a data type ("Half") apart from the format. Source: NVIDIA's migration
notes from 10.x to 11.x, IEngineInspector.
"""

from __future__ import annotations

import re
from typing import Any, Final

import onnx
from onnx import TensorProto

from rave_export.errors import ExportError

_HALF: Final = re.compile(r"\b(half|fp16|float16)\b", re.IGNORECASE)
_FLOAT: Final = re.compile(r"\b(float|fp32|float32)\b", re.IGNORECASE)


def check_precision(information: dict[str, Any], graph: bytes, name: str) -> None:
    """Fails unless the convolutions of an FP16 graph's engine compute in FP16.

    Args:
        information: the inspector's JSON of the whole engine, made with detailed verbosity.
        graph: the ONNX file that the engine was built from; its float32 convolutions are allowed.
        name: the name of the graph, for the message.

    Raises:
        ExportError: layers are not described, no tensor is half precision, or more convolutions than
            the graph's own work in float32.
    """
    layers = information.get("Layers", [])
    if not layers or not all(isinstance(layer, dict) for layer in layers):
        raise ExportError(
            f"TensorRT does not describe the layers of {name}'s engine, so its precision is unproven: "
            "no engine was written"
        )
    described = [(layer, _types(layer)) for layer in layers]
    if not any("half" in types for _, types in described):
        raise ExportError(
            f"fp16 was asked for, but no layer of {name}'s engine is fp16: no engine was written"
        )
    slow = [
        str(layer.get("Name", "?")) for layer, types in described if _convolves(layer) and types == {"float"}
    ]
    allowed = float32_convolutions(graph)
    if len(slow) > allowed:
        raise ExportError(
            f"fp16 was asked for, and {len(slow)} convolutions of {name}'s engine work in float32 "
            f"({allowed} are meant to), such as {slow[0]}: no engine was written"
        )


def check_parsed_precision(trt: Any, network: Any, graph: bytes, name: str) -> None:
    """Fails unless the convolutions of a parsed network have the types of its graph's weights.

    In a strongly typed network the types of the layers are decided when it is parsed, so this needs no GPU.

    Args:
        trt: the library's module.
        network: as parsed.
        graph: the ONNX file that it was parsed from.
        name: the name of the graph, for the message.

    Raises:
        ExportError: another number of convolutions works in float32 than the graph means to.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    convolutions = [layer for layer in layers if layer.type == trt.LayerType.CONVOLUTION]
    slow = sum(layer.get_output(0).dtype == trt.DataType.FLOAT for layer in convolutions)
    meant = float32_convolutions(graph)
    if slow != meant:
        raise ExportError(
            f"{slow} of {len(convolutions)} convolutions of {name} would work in float32, {meant} should: "
            "no engine was written"
        )


def float32_convolutions(graph: bytes) -> int:
    """How many convolutions of an ONNX file have float32 weights."""
    model = onnx.load_model_from_string(graph)
    floats = {item.name for item in model.graph.initializer if item.data_type == TensorProto.FLOAT}
    return sum(node.op_type == "Conv" and node.input[1] in floats for node in model.graph.node)


def _convolves(layer: dict[str, Any]) -> bool:
    kinds = f"{layer.get('LayerType', '')} {layer.get('ParameterType', '')}".lower()
    return "conv" in kinds


def _types(layer: dict[str, Any]) -> set[str]:
    """ "half" and "float", as far as a layer's tensors are that."""
    found = set()
    for tensor in [*layer.get("Inputs", []), *layer.get("Outputs", [])]:
        if not isinstance(tensor, dict):
            continue
        texts = [str(value) for key, value in tensor.items() if re.search("datatype|format", key, re.I)]
        for text in texts:
            if _HALF.search(text):
                found.add("half")
            elif _FLOAT.search(text):
                found.add("float")
    return found
