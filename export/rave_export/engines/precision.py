"""Checks that an engine kept the precision of its graph, by what TensorRT's inspector says about it.

The inspector's JSON differs between versions: TensorRT 10 describes a tensor by one text ("Format/Datatype":
"Row major linear FP16 format"), TensorRT 11 by a data type ("Half") beside the format.

Source: NVIDIA's migration notes from 10.x to 11.x, IEngineInspector.
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
        information: the inspector's JSON of the whole engine, which was built with detailed verbosity.
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
    layer_types = [(layer, _types(layer)) for layer in layers]
    if not any("half" in types for _, types in layer_types):
        raise ExportError(
            f"fp16 was asked for, but no layer of {name}'s engine is fp16: no engine was written"
        )
    float32_names = [
        str(layer.get("Name", "?"))
        for layer, types in layer_types
        if _convolves(layer) and types == {"float"}
    ]
    allowed = float32_convolutions(graph)
    if len(float32_names) > allowed:
        raise ExportError(
            f"fp16 was asked for, and {len(float32_names)} convolutions of {name}'s engine work in float32 "
            f"({allowed} are meant to), such as {float32_names[0]}: no engine was written"
        )


def check_parsed_precision(trt: Any, network: Any, graph: bytes, name: str) -> None:
    """Fails unless the convolutions of a parsed network have the types of its graph's weights.

    In a strongly typed network the types of the layers are decided when it is parsed, so this needs no GPU.

    Args:
        trt: the library's module.
        network: the parsed network.
        graph: the ONNX file that it was parsed from.
        name: the name of the graph, for the message.

    Raises:
        ExportError: the number of convolutions in float32 is not the graph's.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    convolutions = [layer for layer in layers if layer.type == trt.LayerType.CONVOLUTION]
    count = sum(layer.get_output(0).dtype == trt.DataType.FLOAT for layer in convolutions)
    meant = float32_convolutions(graph)
    if count != meant:
        raise ExportError(
            f"{count} of {len(convolutions)} convolutions of {name} would work in float32, {meant} should: "
            "no engine was written"
        )


def float32_convolutions(graph: bytes) -> int:
    """How many convolutions of an ONNX file have float32 weights."""
    model = onnx.load_model_from_string(graph)
    floats = {item.name for item in model.graph.initializer if item.data_type == TensorProto.FLOAT}
    return sum(node.op_type == "Conv" and node.input[1] in floats for node in model.graph.node)


def _convolves(layer: dict[str, Any]) -> bool:
    """Whether a layer is a convolution."""
    kinds = f"{layer.get('LayerType', '')} {layer.get('ParameterType', '')}".lower()
    return "conv" in kinds


def _types(layer: dict[str, Any]) -> set[str]:
    """Which of "half" and "float" are types of a layer's tensors."""
    types = set()
    for tensor in [*layer.get("Inputs", []), *layer.get("Outputs", [])]:
        if not isinstance(tensor, dict):
            continue
        texts = [str(value) for key, value in tensor.items() if re.search("datatype|format", key, re.I)]
        for text in texts:
            if _HALF.search(text):
                types.add("half")
            elif _FLOAT.search(text):
                types.add("float")
    return types
