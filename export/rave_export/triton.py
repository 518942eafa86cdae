"""Writes a model repository for Triton Inference Server.

Each model has a folder of its name. That folder holds `config.pbtxt` and a folder per version, named by a
number above 0, with `model.onnx` for the backend onnxruntime or `model.plan` for tensorrt. With
`max_batch_size` above 0 the first axis of every tensor is the batch and is left out of `dims`.

Source: Triton's documentation, "Model Repository" and "Model Configuration".
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import onnx

from rave_export.errors import ExportError
from rave_export.whole_folders import Kind, check_replaceable, new_folder
from rave_runtime.backends.graph_check import read_graph
from rave_runtime.bundle import Bundle, EngineFile, GraphFile, TensorSpec

_TYPES: Final = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32", "float16": "TYPE_FP16"}

_TITLE: Final = "A Triton model repository of rave-export"

REPOSITORY: Final = Kind("a model repository of rave-export", "README.md", _TITLE)
"""By what such a repository is recognised; Triton looks at folders only."""

MAX_BATCH: Final = 4
"""Most requests of one shape that the server joins for an ONNX model; an engine has a limit from its build. A
photograph of 12 megapixels takes half a gigabyte, so larger batches would cost memory and save no time."""

_WHOLE_BATCH: Final = 1
"""The same for a graph at full resolution, which takes 0.5 to 1.5 GB for each megapixel of each picture."""

MAX_DELAY_US: Final = 2000
"""How long a request may wait for others to join it, in microseconds."""

_WARM_PX: Final = {"normal": (1080, 1920), "whole": (144, 256)}
"""Height and width of the picture that is run once before the server says that it is ready. At full
resolution, 1080 x 1920 would take 1 to 3 GB for each model."""


def write_triton_repository(bundle: Bundle, target: Path, force: bool = False) -> list[str]:
    """Writes a model repository that serves a bundle.

    Graphs of the whole picture become models that take and return photographs. These are the graphs of the
    normal way, or where there are none those at full resolution. Every TensorRT engine becomes a model of
    tiles, for clients that tile as `rave_runtime.light.tiling` does, and so do the tiling graphs of a bundle
    that has no whole-picture graph.

    Args:
        bundle: the bundle to serve.
        target: folder to make.
        force: replace a repository that is there.

    Returns:
        Names of the models.

    Raises:
        ExportError: the target exists, or cannot be written.
        BundleError: a file of the bundle is damaged.
    """
    check_repository(target, force)
    graphs = {graph.file: graph for graph in bundle.manifest.graphs}
    with new_folder(target) as folder:
        names = [
            _write_model(folder, bundle, graph, graph, "onnxruntime", _batch_of(graph))
            for graph in _served_graphs(bundle)
        ]
        names += [
            _write_model(folder, bundle, engine, graphs[engine.graph], "tensorrt", engine.batch)
            for engine in bundle.manifest.engines
            if engine.flavour == "tensorrt"  # the server has no backend for others
        ]
        (folder / REPOSITORY.mark).write_text(_readme(names, bundle), "utf-8")
    return names


def _served_graphs(bundle: Bundle) -> list[GraphFile]:
    """The graphs that become models: those of the normal way, else of whole pictures, else of tiles."""
    for part in ("normal", "whole"):
        graphs = [graph for graph in bundle.manifest.graphs if graph.part == part]
        if graphs:
            return graphs
    return list(bundle.manifest.graphs)


def _batch_of(graph: GraphFile) -> int:
    """Returns how many requests are joined for a graph, at most."""
    return _WHOLE_BATCH if graph.part == "whole" else MAX_BATCH


def check_repository(target: Path, force: bool) -> None:
    """Refuses a folder that exists, unless it is a repository of rave-export and may be replaced.

    Raises:
        InputError: the folder exists and must not be replaced.
    """
    check_replaceable(target, force, REPOSITORY)


def _write_model(
    folder: Path, bundle: Bundle, file: GraphFile | EngineFile, graph: GraphFile, backend: str, batch: int
) -> str:
    """Writes one model of the repository with its configuration; returns its name."""
    suffix = ".plan" if backend == "tensorrt" else ".onnx"
    name = "rave_" + graph.file.removesuffix(".onnx") + ("_trt" if backend == "tensorrt" else "")
    if (folder / name).exists():
        raise ExportError(
            f"the bundle holds two engines of {graph.file}: Triton loads one per model, export with one"
        )
    version = folder / name / "1"
    version.mkdir(parents=True)
    content = read_graph(bundle, file) if isinstance(file, GraphFile) else bundle.read_file(file)
    inputs = graph.inputs
    if graph.part == "normal":
        content = with_strengths(content)
        inputs = tuple(
            replace(spec, shape=("batch",)) if spec.name == "strength" else spec for spec in inputs
        )
    (version / f"model{suffix}").write_bytes(content)
    config = model_config(name, backend, batch, inputs, graph.outputs)
    if graph.part in _WARM_PX:
        config += _warm_up(inputs, *_WARM_PX[graph.part])
    (folder / name / "config.pbtxt").write_text(config, "utf-8")
    return name


def with_strengths(content: bytes) -> bytes:
    """A graph of the normal way that takes a strength per picture instead of one for all.

    The server joins requests along the first axis of every input, so that each must have one.

    Args:
        content: the ONNX file.

    Returns:
        The same graph; its input `strength` is [batch] float32.
    """
    model = onnx.load_model_from_string(content)
    (strength,) = [item for item in model.graph.input if item.name == "strength"]
    strength.CopyFrom(onnx.helper.make_tensor_value_info("strength", onnx.TensorProto.FLOAT, ["batch"]))
    onnx.checker.check_model(model, full_check=True)
    served: bytes = model.SerializeToString()
    return served


def _warm_up(inputs: tuple[TensorSpec, ...], height: int, width: int) -> str:
    """The text of `model_warmup`, by which the server runs a model once before it says that it is ready.

    onnxruntime prepares its kernels and memory in the first run.
    """
    dims = {"image": f"{height}, {width}, 3", "strength": "1"}
    lines = ["model_warmup [ {", '  name: "one_picture"', "  batch_size: 1"]
    for spec in inputs:
        value = f"data_type: {_TYPES[spec.dtype]}, dims: [ {dims[spec.name]} ], zero_data: true"
        lines.append(f'  inputs {{ key: "{spec.name}" value: {{ {value} }} }}')
    return "\n".join([*lines, "} ]"]) + "\n"


def model_config(
    name: str, backend: str, batch: int, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> str:
    """The text of a `config.pbtxt`, with dynamic batching of requests of equal shape, on any number of GPUs.

    Args:
        name: the name of the model, equal to its folder's.
        backend: "onnxruntime" or "tensorrt".
        batch: most requests that are joined, at least 1.
        inputs: the inputs of the graph, whose first axis is the batch.
        outputs: the outputs of the graph, whose first axis is the batch.
    """
    kind = "KIND_GPU" if backend == "tensorrt" else "KIND_AUTO"
    lines = [
        f'name: "{name}"',
        f'backend: "{backend}"',
        f"max_batch_size: {batch}",
        *_tensors("input", inputs),
        *_tensors("output", outputs),
        f"instance_group [ {{ count: 1, kind: {kind} }} ]",
        f"dynamic_batching {{ max_queue_delay_microseconds: {MAX_DELAY_US} }}",
    ]
    return "\n".join(lines) + "\n"


def _tensors(field: str, specs: tuple[TensorSpec, ...]) -> list[str]:
    """The lines of `config.pbtxt` that describe the inputs or outputs."""
    entries = []
    for spec in specs:
        dims = ", ".join(str(size) if isinstance(size, int) else "-1" for size in spec.shape[1:])
        # A number per picture is [batch] in the graph; the server wants a dimension beside the batch.
        shape = f"dims: [ {dims} ]" if dims else "dims: [ 1 ], reshape: { shape: [ ] }"
        entries.append(f'  {{ name: "{spec.name}", data_type: {_TYPES[spec.dtype]}, {shape} }}')
    return [f"{field} [", ",\n".join(entries), "]"]


def _server_options(bundle: Bundle) -> str:
    """What the server needs beside the folder: it loads engines with code in them only where it may."""
    any_version = any(
        engine.version_compatible for engine in bundle.manifest.engines if engine.flavour == "tensorrt"
    )
    return " --backend-config=tensorrt,version-compatible=true" if any_version else ""


_NORMAL: Final = """`rave_normal_*` do what `rave-run` does. They take `image` [height, width, 3] uint8 (sRGB,
upright) and `strength` [1] float32 (0 changes nothing, 1 is the model, up to 2). They give `enhanced`, of the
shape and type of the image, and `light` [height, width] float32, the map that was divided by. The light is
estimated at a long side of {size} pixels. Ask for `enhanced` alone where the light is not needed. A request
needs 50 bytes per pixel.
"""

_WHOLE: Final = """`rave_whole_*` run the network on every pixel: for research. With 16 to 32 channels
a megapixel takes 0.5 to 1.5 GB of memory and 3 to 11 s of a processor. They take `image` [height, width, 3]
uint8 and give `enhanced`, of its shape and type, and `light` [height, width] float32. For photographs export
with `--single-graph`, whose graphs do what `rave-run` does.
"""

_TILES: Final = """`rave_context_*` and `rave_enhance_*` take tiles and matrices, for clients that tile as
`rave_runtime/light/tiling.py` does.
"""


def _readme(names: list[str], bundle: Bundle) -> str:
    """The text of README.md: what the models take and return, how to run them, how large pictures may be."""
    models = "\n".join(f"- `{name}`" for name in names)
    kinds = {
        "rave_normal": _NORMAL.format(size=bundle.manifest.working_size_px),
        "rave_whole": _WHOLE,
        "rave_context": _TILES,
        "rave_enhance": "" if any(name.startswith("rave_context") for name in names) else _TILES,
    }
    texts = [text for kind, text in kinds.items() if text and any(name.startswith(kind) for name in names)]
    return (
        f"# {_TITLE}\n\n"
        f"    tritonserver --model-repository=THIS_FOLDER{_server_options(bundle)}\n\n"
        f"{models}\n\n" + "\n".join(texts) + "\n"
        "Requests of one shape are joined, up to `max_batch_size` in the model's `config.pbtxt`, and wait\n"
        f"at most {MAX_DELAY_US / 1000:g} ms for each other. The server sets no limit to the size of\n"
        "a picture: refuse what is too large in front of it. More instances of a model serve more\n"
        "requests at a time: `instance_group` in its `config.pbtxt`.\n"
    )
