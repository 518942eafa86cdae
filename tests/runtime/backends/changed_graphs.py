"""Graphs of the embedded bundle with something changed in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rave_runtime.bundle import MANIFEST_NAME, GraphFile, embedded_bundle, read_bundle

onnx = pytest.importorskip("onnx", reason="graphs are changed with the onnx package")
helper = onnx.helper
PICTURE = np.full((40, 50, 3), 60, np.uint8)
DEVICES = ["cpu", pytest.param("openvino", marks=pytest.mark.filterwarnings("default"))]


def replace_graph(
    bundle: Path, part: str, content: bytes, precision: str = "fp32", **declared: Any
) -> GraphFile:
    """Puts other bytes in the place of a graph for uint8 pictures; the manifest agrees."""
    manifest = json.loads((bundle / MANIFEST_NAME).read_text())
    (entry,) = [
        graph
        for graph in manifest["graphs"]
        if (graph["part"], graph["precision"]) == (part, precision) and graph["image"] != "float32"
    ]
    (bundle / entry["file"]).write_bytes(content)
    entry |= {"sha256": hashlib.sha256(content).hexdigest(), **declared}
    (bundle / MANIFEST_NAME).write_text(json.dumps(manifest))
    (graph,) = [item for item in read_bundle(bundle).manifest.graphs if item.file == entry["file"]]
    return graph


def load(part: str, precision: str = "fp32") -> Any:
    names = {"context": f"context_uint8_{precision}.onnx", "enhance": f"enhance_{precision}.onnx"}
    return onnx.load(embedded_bundle() / names[part])


def change(part: str, edit: Callable[[Any], object], precision: str = "fp32") -> bytes:
    model = load(part, precision)
    edit(model)
    content: bytes = model.SerializeToString()
    return content


FACTS = read_bundle(embedded_bundle()).manifest.network
