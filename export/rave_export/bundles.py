"""Making a bundle: graphs, manifest, proof; whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import onnx

from rave_export.errors import ExportError, ParityError
from rave_export.graphs import OPSET, export_context, export_enhance
from rave_export.parity import measure_parity, over_tolerance
from rave_runtime import __version__
from rave_runtime.bundle import (
    FORMAT,
    MANIFEST_NAME,
    GraphFile,
    ImageType,
    Manifest,
    NetworkFacts,
    Part,
    Precision,
    TensorSpec,
    read_bundle,
    write_manifest,
)
from rave_runtime.devices import choose_device
from rave_train.checkpoint import Checkpoint
from rave_train.network import BINS, CONTEXT_HALO_PX, HALO_PX, EnhancementNetwork

Say = Callable[[str], None]


def export_bundle(
    checkpoint: Checkpoint,
    output: str | os.PathLike[str],
    *,
    working_size_px: int | None = None,
    opset: int = OPSET,
    force: bool = False,
    say: Say = lambda _: None,
) -> Manifest:
    """Exports a checkpoint's network in float32, proves it, and writes the bundle.

    The bundle is made beside `output` and moved there when everything in it has been proven, so that
    a failure of any kind leaves what was there before.

    Args:
        checkpoint: the network and its provenance.
        output: folder to make.
        working_size_px: recommended long side on which the light is estimated; None is full size.
        opset: of the graphs.
        force: replace an existing bundle.
        say: called with a line per stage.

    Raises:
        ExportError: the output exists, is no bundle, or cannot be written; the opset is too low.
        ParityError: the graphs differ from the network by more than their tolerance.
    """
    with new_folder(Path(output), force) as folder:
        network = checkpoint.network
        say("exporting fp32 graphs")
        graphs = write_graphs(folder, network, "fp32", opset)
        manifest = Manifest(
            format=FORMAT,
            network=NetworkFacts(
                channels=network.channels,
                bins=BINS,
                context_halo_px=CONTEXT_HALO_PX,
                halo_px=HALO_PX,
                padding=network.padding,
            ),
            graphs=tuple(graphs),
            working_size_px=working_size_px,
            provenance=checkpoint.provenance,
            exporter=f"rave-export {__version__}",
        )
        write_manifest(folder, manifest)
        say("proving them against torch")
        parity = measure_parity(read_bundle(folder), "fp32", choose_device("cpu"), network)
        failures = [failure for failure in map(over_tolerance, parity) if failure]
        if failures:
            raise ParityError("\n".join(failures))
        manifest = replace(manifest, parity=tuple(parity))
        write_manifest(folder, manifest)
    return manifest


def write_graphs(
    folder: Path, network: EnhancementNetwork, precision: Precision, opset: int
) -> list[GraphFile]:
    """Exports a network's graphs into a folder and describes them."""
    return [
        write_graph(folder, export_context(network, "uint8", opset), "context", precision, "uint8"),
        write_graph(folder, export_context(network, "float32", opset), "context", precision, "float32"),
        write_graph(folder, export_enhance(network, opset), "enhance", precision),
    ]


def write_graph(
    folder: Path, model: onnx.ModelProto, part: Part, precision: Precision, image: ImageType | None = None
) -> GraphFile:
    """Writes one graph, weights inside, and describes it for the manifest."""
    name = "_".join(filter(None, [part, image, precision])) + ".onnx"
    content = model.SerializeToString()
    (folder / name).write_bytes(content)
    return GraphFile(
        file=name,
        sha256=hashlib.sha256(content).hexdigest(),
        part=part,
        precision=precision,
        inputs=tuple(map(_describe, model.graph.input)),
        outputs=tuple(map(_describe, model.graph.output)),
        image=image,
    )


@contextlib.contextmanager
def new_folder(target: Path, force: bool) -> Iterator[Path]:
    """A folder to fill, moved to `target` when the block ends well and removed when it does not.

    Raises:
        ExportError: the target exists and is not to be (or, being no bundle, must not be) replaced;
            or writing failed.
    """
    if target.exists():
        if not force:
            raise ExportError(f"{target} exists: choose another --output, or give --force to replace it")
        if not (target / MANIFEST_NAME).is_file() and any(target.iterdir() if target.is_dir() else [target]):
            raise ExportError(
                f"{target} is not a bundle, so --force does not replace it: choose another --output"
            )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    except OSError as error:
        raise ExportError(f"{target} cannot be made: {error.strerror}") from error
    try:
        yield partial
        partial.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    except OSError as error:
        raise ExportError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _describe(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    shape = tuple(size.dim_param or int(size.dim_value) for size in tensor.shape.dim)
    return TensorSpec(value.name, dtype, shape)
