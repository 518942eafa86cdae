"""Makes a bundle: exports its graphs, writes the manifest and proves both, whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx

from rave_export.errors import InputError, ParityError
from rave_export.graphs.split import OPSET
from rave_export.graphs.variants import Graph, float_graphs, int8_graphs, network_facts, single_graphs
from rave_export.int8.calibration import default_pictures, proof_pictures
from rave_export.int8.equalize import equalize
from rave_export.int8.quantize import fits_16_bits
from rave_export.options import ENOUGH_DB, SingleGraph
from rave_export.pictures import reduce_picture
from rave_export.proof.normal_way import compare_normal_way
from rave_export.proof.parity import over_tolerance
from rave_export.proof.reference import torch_reference
from rave_export.proof.verify import halo_failures, measure_bundle
from rave_export.whole_folders import Kind, check_replaceable, new_folder
from rave_runtime.arrays import Picture
from rave_runtime.bundle import (
    FORMAT,
    MANIFEST_NAME,
    CheckpointFile,
    GraphFile,
    Manifest,
    Parity,
    Precision,
    TensorSpec,
    read_bundle,
    write_manifest,
)
from rave_runtime.version import __version__
from rave_train.checkpoint import Checkpoint, save_checkpoint
from rave_train.network import EnhancementNetwork

Say = Callable[[str], None]

CHECKPOINT_NAME: Final = "checkpoint.safetensors"

BUNDLE: Final = Kind("a bundle", MANIFEST_NAME, '"context_halo_px"')
"""By what a bundle of any version is recognised, also a damaged one; other folders have a manifest, too."""

PROOF_SIDE_PX: Final = 384
"""Longest side of the pictures on which INT8 is proven."""

_PROOF_PHOTOGRAPHS: Final = 6
"""About how many of a user's photographs INT8 is proven on, beside the built-in scenes."""


@dataclass(frozen=True)
class Contents:
    """What a bundle holds beside the float32 graphs, and how it is made.

    Attributes:
        fp16: whether to export fp16 graphs as well.
        int8: whether to export int8 graphs as well.
        calibration: pictures for int8, [h, w, 3] uint8; None takes the built-in scenes.
        photographs: a user's photographs, some of which int8 is proven on beside the built-in scenes.
        every_layer: whether int8 includes the first and the last convolution.
        enough_db: PSNR of the worst calibration picture at which int8 leaves no further layer in float32.
        single_graph: also export a graph of the whole picture for each precision: "normal" does what
            `rave-run` does, "full" runs the network on every pixel; None exports neither.
        opset: the opset of the graphs.
    """

    fp16: bool = False
    int8: bool = False
    calibration: tuple[Picture, ...] | None = None
    photographs: tuple[Picture, ...] = ()
    every_layer: bool = False
    enough_db: float = ENOUGH_DB
    single_graph: SingleGraph | None = None
    opset: int = OPSET


@dataclass(frozen=True)
class Made:
    """What `export_bundle` made.

    Attributes:
        manifest: the bundle's manifest.
        left_out: the precisions whose graphs are not in the bundle, since they were too far from the network;
            for each a sentence per picture, the worst first.
    """

    manifest: Manifest
    left_out: Mapping[Precision, tuple[str, ...]] = field(default_factory=dict)


def export_bundle(
    checkpoint: Checkpoint,
    output: str | os.PathLike[str],
    contents: Contents = Contents(),
    *,
    working_size_px: int | Literal["recommended"] | None = "recommended",
    force: bool = False,
    say: Say = lambda _: None,
) -> Made:
    """Exports a checkpoint's network, proves every graph, and writes the bundle.

    The bundle is made beside `output` and moved there when everything in it has been proven, so that a
    failure of any kind leaves what was there before. FP16 and INT8 graphs that are too far from the network
    are left out without an error, since the other graphs took minutes and are right.

    Args:
        checkpoint: the network and its provenance.
        output: folder to make.
        contents: precisions beside float32, and their options.
        working_size_px: long side on which a run estimates the light unless its options say otherwise; None
            is full size, "recommended" is what the checkpoint recommends.
        force: replace an existing bundle.
        say: called with a line per stage.

    Raises:
        ExportError: the output exists, is not a bundle, or cannot be written; the opset is too low;
            the calibration pictures are unfit.
        ParityError: float32 graphs differ from the network by more than their tolerance.
    """
    target = Path(output)
    check_replaceable(target, force, BUNDLE)
    with new_folder(target) as folder:
        if working_size_px == "recommended":
            working_size_px = checkpoint.working_size_px
        exported_graphs = _graphs(checkpoint.network, contents, working_size_px, say)
        left_out: dict[Precision, tuple[str, ...]] = {}
        if reason := next(filter(None, map(_beyond_fp16, exported_graphs)), None):
            left_out["fp16"] = (reason,)
            exported_graphs = [graph for graph in exported_graphs if graph.precision != "fp16"]
        graphs = [write_graph(folder, graph) for graph in exported_graphs]
        manifest = Manifest(
            format=FORMAT,
            network=network_facts(checkpoint.network),
            graphs=tuple(graphs),
            checkpoint=write_checkpoint(folder, checkpoint),
            working_size_px=working_size_px,
            provenance=checkpoint.provenance,
            exporter=f"rave-export {__version__}",
        )
        write_manifest(folder, manifest)
        say("proving them against torch")
        bundle = read_bundle(folder)
        pictures = _proof_pictures(contents.photographs) if contents.int8 else []
        parity = measure_bundle(bundle, torch_reference(checkpoint.network), pictures)
        proven = _judge(folder, manifest, [(row, over_tolerance(row)) for row in parity])
        if halos := halo_failures(bundle):
            raise ParityError("the graphs are too far from the network:\n" + "\n".join(halos))
        normal = compare_normal_way(read_bundle(folder))
        compared = _judge(folder, proven.manifest, [(one.parity, one.failure) for one in normal])
        left_out |= {**proven.left_out, **compared.left_out}
    for precision, reasons in left_out.items():
        for reason in reasons:
            say(f"{precision} is left out: {reason}")
    return Made(compared.manifest, left_out)


def _judge(folder: Path, manifest: Manifest, judged: Sequence[tuple[Parity, str | None]]) -> Made:
    """Adds measurements to a bundle's manifest, and removes each precision for which one is a failure.

    Args:
        folder: the bundle.
        manifest: its manifest so far.
        judged: each measurement with a sentence if it is a failure.

    Raises:
        ParityError: one of them is of float32.
    """
    rows = (*manifest.parity, *(row for row, _ in judged))
    failed = [(row, failure) for row, failure in judged if failure]
    failed.sort(key=lambda pair: np.inf if pair[0].psnr_db is None else pair[0].psnr_db)
    if reasons := [failure for row, failure in failed if row.precision == "fp32"]:
        raise ParityError("the graphs are too far from the network:\n" + "\n".join(reasons))
    left_out = {
        precision: tuple(failure for row, failure in failed if row.precision == precision)
        for precision in dict.fromkeys(row.precision for row, _ in failed)
    }
    for graph in manifest.graphs:
        if graph.precision in left_out:
            (folder / graph.file).unlink()
    manifest = replace(
        manifest,
        graphs=tuple(graph for graph in manifest.graphs if graph.precision not in left_out),
        parity=tuple(row for row in rows if row.precision not in left_out),
    )
    write_manifest(folder, manifest)
    return Made(manifest, left_out)


def _beyond_fp16(graph: Graph) -> str | None:
    """A sentence if a weight of an fp16 graph is infinite, since float32 has larger numbers; else None."""
    if graph.precision != "fp16":
        return None
    for tensor in graph.model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float16 and not np.isfinite(values).all():
            return f"{tensor.name} holds numbers beyond 65504, the largest one of fp16"
    return None


def _proof_pictures(photographs: Sequence[Picture]) -> list[Picture]:
    """The pictures on which INT8 is proven beside the smallest, at about the size of light estimation."""
    step = max(1, len(photographs) // _PROOF_PHOTOGRAPHS)
    return [reduce_picture(picture, PROOF_SIDE_PX) for picture in (*proof_pictures(), *photographs[::step])]


def _graphs(
    network: EnhancementNetwork, contents: Contents, working_size_px: int | None, say: Say
) -> list[Graph]:
    """Exports all graphs that the contents ask for, in every precision."""
    if contents.single_graph == "normal" and working_size_px is None:
        raise InputError(
            "--single-graph normal estimates the light on a reduced picture, this model at full size: "
            "give --working-size as well, or --single-graph full"
        )
    say("exporting fp32 graphs")
    float32_graphs = float_graphs(network, "fp32", contents.opset)
    graphs = list(float32_graphs)
    if contents.fp16:
        say("exporting fp16 graphs")
        graphs += float_graphs(network, "fp16", contents.opset)
    if contents.int8:
        pictures = default_pictures() if contents.calibration is None else contents.calibration
        say(f"calibrating int8 graphs on {len(pictures)} pictures")
        evened_graphs = float_graphs(equalize(network, pictures), "fp32", contents.opset)
        graphs += int8_graphs(
            evened_graphs,
            network_facts(network),
            pictures,
            every_layer=contents.every_layer,
            enough_db=contents.enough_db,
            say=say,
        )
    if contents.single_graph is not None:
        say("joining single graphs")
        graphs += single_graphs(graphs, working_size_px if contents.single_graph == "normal" else None)
    return graphs


def write_graph(folder: Path, graph: Graph) -> GraphFile:
    """Writes one graph with its weights into a bundle's folder; returns its entry for the manifest."""
    name = "_".join(filter(None, [graph.part, graph.image, graph.precision])) + ".onnx"
    content = graph.model.SerializeToString()
    (folder / name).write_bytes(content)
    return GraphFile(
        file=name,
        sha256=hashlib.sha256(content).hexdigest(),
        part=graph.part,
        precision=graph.precision,
        inputs=tuple(map(_describe_tensor, graph.model.graph.input)),
        outputs=tuple(map(_describe_tensor, graph.model.graph.output)),
        image=graph.image,
        fits_16_bits=graph.precision == "int8" and fits_16_bits(graph.model),
    )


def _describe_tensor(value: onnx.ValueInfoProto) -> TensorSpec:
    """An input or output of a graph, as the manifest describes it."""
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorSpec(
        value.name, dtype, tuple(size.dim_param or int(size.dim_value) for size in tensor.shape.dim)
    )


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> CheckpointFile:
    """Writes the checkpoint into a bundle's folder; returns its entry for the manifest.

    Raises:
        OSError: it cannot be written.
    """
    file = folder / CHECKPOINT_NAME
    save_checkpoint(checkpoint.network, file, checkpoint.provenance)
    return CheckpointFile(file.name, hashlib.sha256(file.read_bytes()).hexdigest())
