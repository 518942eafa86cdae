"""Writes the web page: the graph of the normal way, onnxruntime for browsers, and a page around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from rave_export.errors import InputError
from rave_export.graphs.normal_way import normal_way
from rave_export.web.onnxruntime_web import place_runtime
from rave_export.whole_folders import Kind, check_replaceable, new_folder
from rave_runtime.arrays import Picture
from rave_runtime.backends.graph_check import read_graph
from rave_runtime.backends.privacy import import_onnxruntime
from rave_runtime.bundle import Bundle
from rave_runtime.serve.page import PAGE_FILES
from rave_runtime.version import __version__

PAGE: Final = Kind("a web page of rave-export", "rave-web.json", '"rave-export ')
"""By what such a page's folder is recognised."""

MODEL_NAME: Final = "model.onnx"
_ASSETS: Final = Path(__file__).with_name("assets")
_OF_THE_SERVICE: Final = ("canvases.js", "downloads.js", "dropping.js", "zip.js")
"""Modules that the page shares with that of `rave-serve`."""

_PROBE_PX: Final = (40, 256)
"""Height and width of the picture with which the page checks what the browser computes."""


def check_page(target: Path, force: bool) -> None:
    """Refuses a folder that exists, unless it is a page of rave-export and may be replaced.

    Raises:
        InputError: the folder exists and must not be replaced.
    """
    check_replaceable(target, force, PAGE)


def require_working_size(size_px: int | None) -> int:
    """The size, unless a model estimates the light at full size, which browsers have no memory for.

    Raises:
        InputError: the size is None.
    """
    if size_px is None:
        raise InputError(
            "--web estimates the light on a reduced picture, this model at full size: "
            "give --working-size as well"
        )
    return size_px


def write_page(bundle: Bundle, target: Path, package: bytes, force: bool = False) -> None:
    """Writes a static folder that enhances photographs in the browser of whoever opens it.

    Args:
        bundle: the bundle; it must have a working size.
        target: folder to make.
        package: onnxruntime for browsers, of `rave_export.web.onnxruntime_web.read_package`.
        force: replace a page that is there.

    Raises:
        ExportError: the target exists or cannot be written, or the bundle is for full size.
        BundleError: a graph of the bundle is damaged, or holds parts that no bundle needs.
    """
    check_page(target, force)
    model = page_graph(bundle)
    with new_folder(target) as folder:
        place_runtime(folder, package)
        content = model.SerializeToString()
        (folder / MODEL_NAME).write_bytes(content)
        picture = probe(*_PROBE_PX)
        (folder / "probe.bin").write_bytes(picture.tobytes() + _enhance(content, picture).tobytes())
        for asset in sorted(_ASSETS.iterdir()):
            (folder / asset.name).write_bytes(asset.read_bytes())
        for name in _OF_THE_SERVICE:
            (folder / name).write_bytes(PAGE_FILES[f"/{name}"].content)
        height, width = _PROBE_PX
        facts = {"exporter": f"rave-export {__version__}", "probe": {"height": height, "width": width}}
        (folder / PAGE.mark).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


def page_graph(bundle: Bundle) -> onnx.ModelProto:
    """The float32 graph of the normal way, made from the bundle's tiling graphs.

    Raises:
        InputError: the bundle is for full size.
        BundleError: a graph of the bundle is damaged, or holds what no bundle needs.
    """
    manifest = bundle.manifest
    size_px = require_working_size(manifest.working_size_px)
    context, enhance = (
        onnx.load_model_from_string(read_graph(bundle, graph))
        for graph in (manifest.graph("context", "fp32", "uint8"), manifest.graph("enhance", "fp32"))
    )
    return normal_way(context, enhance, size_px)


def probe(height: int, width: int) -> Picture:
    """A small picture that holds every 8-bit value, [height, width, 3] uint8."""
    y, x, c = np.mgrid[:height, :width, :3]
    values: Picture = ((3 * y + 5 * x * (1 + c) + 40 * c) % 256 * (0.25 + 0.75 * (x > width // 2))).astype(
        np.uint8
    )
    return values


def _enhance(model: bytes, picture: Picture) -> Picture:
    """The picture enhanced by a graph of the normal way, on onnxruntime on this machine's CPU."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = {"image": picture[None], "strength": np.array(1, np.float32)}
    enhanced: Picture = session.run(["enhanced"], inputs)[0][0]
    return enhanced
