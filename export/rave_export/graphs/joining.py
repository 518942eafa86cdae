"""Puts graphs together from parts that are written as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import onnx
from onnx import compose, parser

_HEADER: Final = '<ir_version: {ir_version}, opset_import: ["" : {opset}]>'


@dataclass(frozen=True)
class Versions:
    """The versions of a model's format and of ONNX's operators in it."""

    ir_version: int
    opset: int


def versions_of(model: onnx.ModelProto) -> Versions:
    """The versions that parts must have so that they can be joined with a model."""
    opset = next(item.version for item in model.opset_import if not item.domain)
    return Versions(model.ir_version, opset)


def parse_part(name: str, text: str, versions: Versions, **values: object) -> onnx.ModelProto:
    """Parses a part from ONNX's text syntax, and puts its name and "_" before the names of its tensors.

    Args:
        name: the name of the part.
        text: the text of a graph as a template of `str.format`; ONNX's own braces are doubled.
        versions: the versions of the model's format and operators.
        values: the values of the template.
    """
    model = parser.parse_model((_HEADER + text).format(**asdict(versions), **values))
    return compose.add_prefix(model, f"{name}_")


def rename_tensors(model: onnx.ModelProto, names: dict[str, str], shaped: str = "") -> onnx.ModelProto:
    """Gives the inputs and outputs of a joined graph their public names, and keeps no other inputs.

    Args:
        model: the joined graph, which is changed.
        names: public name of each tensor, by the name that joining gave it.
        shaped: beginning of the names of tensors whose stated shapes stay; runtimes reuse a tensor's memory
            for another only if they know that the two have one shape.

    Returns:
        The same model, checked.
    """
    graph = model.graph
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for item in (*graph.input, *graph.output):
        item.name = names.get(item.name, item.name)
    public = set(names.values())
    inputs = {item.name: item for item in graph.input if item.name in public}
    shapes = [item for item in graph.value_info if item.name.startswith(shaped)] if shaped else []
    del graph.input[:], graph.value_info[:]
    graph.input.extend(inputs.values())
    graph.value_info.extend(shapes)
    graph.name = "rave_backlit"
    del model.opset_import[1:]  # joining repeats it for every part
    model.producer_name = "rave-export"
    onnx.checker.check_model(model, full_check=True)
    return model
