"""A model repository for Triton Inference Server.

Source of the rules: Triton's documentation, "Model Repository" and "Model Configuration": a folder per
model, its name the model's; in it `config.pbtxt` and a folder per version, named by a number above 0;
in that `model.onnx` for the backend onnxruntime and `model.plan` for tensorrt. With `max_batch_size`
above 0 the first axis of every tensor is the batch and is left out of `dims`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rave_export.errors import ExportError
from rave_export.folders import check_replaceable, new_folder
from rave_runtime.bundle import Bundle, EngineFile, GraphFile, TensorSpec

_TYPES: Final = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32", "float16": "TYPE_FP16"}

MARK: Final = "README.md"
"""File by which such a repository is told from any other folder; Triton looks at folders only."""

MAX_BATCH: Final = 8
"""Requests of one shape that the server may join; engines know their own."""

MAX_DELAY_US: Final = 2000
"""How long a request may wait for others to join it."""


def write_triton_repository(bundle: Bundle, target: Path, force: bool = False) -> list[str]:
    """Writes a model repository that serves a bundle.

    Every single graph becomes a model that takes and gives photographs; every TensorRT engine, and the
    graphs where there is no single one, become models of tiles, for clients that tile as
    `rave_runtime.light.tiling` does.

    Args:
        bundle: to serve.
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
    whole = [graph for graph in graphs.values() if graph.part == "whole"]
    with new_folder(target) as folder:
        names = [
            _write_model(folder, bundle, graph, graph, "onnxruntime", MAX_BATCH)
            for graph in whole or graphs.values()
        ]
        names += [
            _write_model(folder, bundle, engine, graphs[engine.graph], "tensorrt", engine.batch)
            for engine in bundle.manifest.engines
        ]
        (folder / MARK).write_text(_readme(names), "utf-8")
    return names


def check_repository(target: Path, force: bool) -> None:
    """Refuses a folder that exists, unless it is a repository of ours and to be replaced.

    Raises:
        ExportError: as said.
    """
    check_replaceable(target, force, MARK, "a model repository of rave-export")


def _write_model(
    folder: Path, bundle: Bundle, file: GraphFile | EngineFile, graph: GraphFile, backend: str, batch: int
) -> str:
    suffix = ".plan" if backend == "tensorrt" else ".onnx"
    name = "rave_" + graph.file.removesuffix(".onnx") + ("_trt" if backend == "tensorrt" else "")
    if (folder / name).exists():
        raise ExportError(
            f"the bundle holds two engines of {graph.file}: Triton loads one per model, export with one"
        )
    version = folder / name / "1"
    version.mkdir(parents=True)
    (version / f"model{suffix}").write_bytes(bundle.read_file(file))
    config = model_config(name, backend, batch, graph.inputs, graph.outputs)
    (folder / name / "config.pbtxt").write_text(config, "utf-8")
    return name


def model_config(
    name: str, backend: str, batch: int, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> str:
    """The text of a `config.pbtxt`: dynamic batching of requests of equal shape, any number of GPUs.

    Args:
        name: of the model, equal to its folder's.
        backend: "onnxruntime" or "tensorrt".
        batch: most requests joined, at least 1.
        inputs, outputs: of the graph, the batch first.
    """
    kind = "KIND_GPU" if backend == "tensorrt" else "KIND_AUTO"
    lines = [
        f'name: "{name}"',
        f'backend: "{backend}"',
        f"max_batch_size: {batch}",
        *_tensors("input", inputs),
        *_tensors("output", outputs),
        f"instance_group [ {{ kind: {kind} }} ]",
        f"dynamic_batching {{ max_queue_delay_microseconds: {MAX_DELAY_US} }}",
    ]
    return "\n".join(lines) + "\n"


def _tensors(field: str, specs: tuple[TensorSpec, ...]) -> list[str]:
    entries = []
    for spec in specs:
        dims = ", ".join(str(size) if isinstance(size, int) else "-1" for size in spec.shape[1:])
        entries.append(f'  {{ name: "{spec.name}", data_type: {_TYPES[spec.dtype]}, dims: [ {dims} ] }}')
    return [f"{field} [", ",\n".join(entries), "]"]


def _readme(names: list[str]) -> str:
    models = "\n".join(f"- `{name}`" for name in names)
    return (
        "# A Triton model repository of rave-export\n\n"
        "    tritonserver --model-repository=THIS_FOLDER\n\n"
        "`rave_whole_*` takes `image` [h, w, 3] uint8 and gives `enhanced`, likewise, and `light` "
        "[h, w] float32.\nContext and enhance models take tiles and matrices, see "
        "`rave_runtime/tiling.py`.\n\n"
        f"{models}\n"
    )
