"""The bundle, a folder with `manifest.json` and the graphs it names: its schema, reading and writing.

The exporter writes manifests and the runtime reads them; both use this module, so the schema is defined
only here. An unknown key is an error: in a manifest of a newer version it may change the meaning of the
keys that this version knows.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from rave_runtime.bundle.limits import (
    MAX_FILE_BYTES,
    MAX_MANIFEST_BYTES,
    check_manifest,
    parse_manifest,
    read_content,
)
from rave_runtime.bundle.records import build_record, shorten
from rave_runtime.errors import BundleError, reason_of

FORMAT: Final = 1
"""Version of the manifest's schema. Raised when its meaning changes."""

MANIFEST_NAME: Final = "manifest.json"

EMBEDDED: Final = "embedded"
"""The name of the bundle that comes with this package, unless a file or bundle has that name."""

MIN_WORKING_SIZE_PX: Final = 32
"""Shortest long side on which the light can be estimated: smaller pictures show too little."""

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)

Part = Literal["context", "enhance", "whole", "normal"]
ImageType = Literal["uint8", "float32"]
Flavour = Literal["tensorrt", "tensorrt-rtx"]


@dataclass(frozen=True)
class NetworkFacts:
    """The facts about the network that a runtime needs to tile it exactly.

    Attributes:
        channels: how many planes of features the context graph gives.
        bins: side lengths of the pooling grids.
        context_halo_px: how far the pooled features look around a pixel.
        halo_px: how far the illumination map looks around a pixel, pooling aside.
        padding: how the four outer convolutions continue the image beyond its borders.
    """

    channels: int
    bins: tuple[int, ...]
    context_halo_px: int
    halo_px: int
    padding: Literal["reflect", "zeros"]


@dataclass(frozen=True)
class TensorSpec:
    """A graph's input or output: its name, dtype, and axes as numbers or names of free sizes."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphFile:
    """One ONNX graph of the bundle.

    Attributes:
        file: its name inside the bundle's folder.
        sha256: the hash of its bytes, in hexadecimal.
        part: "context" (image tile -> features, pooled), "enhance" (features, pooled -> light), or "normal"
            or "whole" (image -> enhanced image, light; at working or full size), for use in other programs.
        precision: the precision of its weights and arithmetic.
        image: dtype of the image that a context graph takes: uint8 in [0, 255] or float32 in
            [0, 1]; None for enhance graphs, which take features.
        fits_16_bits: whether the sum of any two of an INT8 graph's products fits into 16 bits, in which
            processors without VNNI add them.
    """

    file: str
    sha256: str
    part: Part
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    image: ImageType | None = None
    fits_16_bits: bool = False


@dataclass(frozen=True)
class EngineFile:
    """One TensorRT engine, built from one graph. All fields but the first two are its key.

    Attributes:
        file, sha256: as for a graph.
        graph: file of the ONNX graph that it was built from.
        gpu: name of the GPU model on which it was built.
        compute_capability: the compute capability of that GPU, such as "9.0".
        tensorrt_version: the version of the library that built it.
        precision: the graph's precision, which the engine keeps (it is strongly typed).
        tile_px: longest side of a window, in pixels; the engine is tuned for windows of exactly this size.
        batch: how many windows it takes per run, at most.
        hardware: which other GPUs may run it: "none", "ampere_plus" or "same_compute_capability".
        version_compatible: whether TensorRT of the same major version may run it, with code in the engine.
        flavour: which library built it and runs it.
        targets: compute capabilities that run an engine of TensorRT for RTX; its `gpu` is then empty.
    """

    file: str
    sha256: str
    graph: str
    gpu: str
    compute_capability: str
    tensorrt_version: str
    precision: Precision
    tile_px: int
    batch: int
    hardware: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    version_compatible: bool = False
    flavour: Flavour = "tensorrt"
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckpointFile:
    """The checkpoint that the graphs were exported from, for further training, export and comparison.

    The runtime never reads it.

    Attributes:
        file, sha256: as for a graph.
    """

    file: str
    sha256: str


BundleFile = GraphFile | EngineFile | CheckpointFile


@dataclass(frozen=True)
class Parity:
    """How far the tiled graphs were from the reference network at export, for one size of picture.

    Attributes:
        precision, provider: what was run, such as "fp32" on "CPUExecutionProvider".
        reference: what it was compared with, such as "torch float32, whole image".
        height_px, width_px, tile_px: sizes of the picture and its tiles; tile_px None is untiled.
        max_abs_error, mean_abs_error: the error of the illumination map.
        psnr_db: PSNR of the enhanced picture, in dB; None where it is identical.
        label: what was special about the picture, such as "mixed batch".
    """

    precision: Precision
    provider: str
    reference: str
    height_px: int
    width_px: int
    tile_px: int | None
    max_abs_error: float
    mean_abs_error: float
    psnr_db: float | None
    label: str = ""


@dataclass(frozen=True)
class Manifest:
    """The contents of a bundle.

    Attributes:
        format: version of this schema.
        network: facts for tiling.
        graphs: every graph file.
        parity: what was measured at export.
        engines: TensorRT engines built from the graphs.
        checkpoint: what the graphs were made from; None in bundles that do not hold it.
        working_size_px: recommended long side on which the light is estimated; None is full size.
        provenance: how the weights were made, JSON values.
        exporter: name and version of the program that wrote the bundle.
    """

    format: int
    network: NetworkFacts
    graphs: tuple[GraphFile, ...]
    parity: tuple[Parity, ...] = ()
    engines: tuple[EngineFile, ...] = ()
    checkpoint: CheckpointFile | None = None
    working_size_px: int | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    exporter: str = ""

    def graph(self, part: Part, precision: Precision, image: ImageType | None = None) -> GraphFile:
        """Returns the graph of that part, precision and image type.

        Raises:
            BundleError: the bundle holds none.
        """
        for graph in self.graphs:
            if (graph.part, graph.precision, graph.image) == (part, precision, image):
                return graph
        held = ", ".join(self.precisions())
        raise BundleError(
            f"the bundle has no {precision} {part} graph (it holds {held}): export it with that precision"
        )

    @functools.cached_property
    def model_hash(self) -> str:
        """A name of the model: a hash of its graphs, in 16 hexadecimal digits."""
        graphs = sorted(graph.sha256 for graph in self.graphs)
        return hashlib.sha256("".join(graphs).encode()).hexdigest()[:16]

    def running_files(self) -> tuple[GraphFile | EngineFile, ...]:
        """Returns the files that the runtime may need: graphs and engines."""
        return (*self.graphs, *self.engines)

    def files(self) -> tuple[BundleFile, ...]:
        """Returns all files of the bundle except its manifest."""
        checkpoint = () if self.checkpoint is None else (self.checkpoint,)
        return (*self.running_files(), *checkpoint)

    def precisions(self) -> tuple[Precision, ...]:
        """Returns the precisions of the graphs that the bundle holds."""
        graph_precisions = {graph.precision for graph in self.graphs}
        return tuple(precision for precision in PRECISIONS if precision in graph_precisions)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk: its folder and its checked manifest."""

    folder: Path
    manifest: Manifest

    def read_file(self, item: BundleFile) -> bytes:
        """Returns a file's bytes, checked against the manifest's hash.

        Raises:
            BundleError: the file is missing or not the one that was exported.
        """
        path = self.folder / item.file
        try:
            content = read_content(path, MAX_FILE_BYTES)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or reason_of(error)
            raise BundleError(f"{path} is named by the manifest but cannot be read: {reason}") from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != item.sha256:
            raise BundleError(
                f"{path} is not the file that was exported (SHA-256 {digest[:12]}…, "
                f"the manifest says {item.sha256[:12]}…): copy or export the bundle again"
            )
        return content


def embedded_bundle() -> Path:
    """Returns the folder of the bundle that comes with this package."""
    return Path(__file__).parents[1] / "models" / "default"


def read_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Reads and checks a bundle's manifest and that its graphs and engines are there.

    Hashes are checked when a graph is read, since most runs read only two of the graphs.

    Args:
        folder: the bundle's folder, or `EMBEDDED`.

    Raises:
        BundleError: it is not a bundle, lacks a file, or its manifest is damaged or of another version.
    """
    path = Path(folder)
    if os.fspath(folder) == EMBEDDED and not (path.is_file() or (path / MANIFEST_NAME).is_file()):
        path = embedded_bundle()
    file = path / MANIFEST_NAME
    try:
        content = parse_manifest(read_content(file, MAX_MANIFEST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        missing = "pack rave_runtime with its data (PyInstaller: --collect-all rave_runtime)"
        advice = missing if path == embedded_bundle() else "make one with rave-export"
        kind = f"is not a bundle, which is a folder with a {MANIFEST_NAME}"
        raise BundleError(f"{path} {kind}; {advice}") from None
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BundleError(
            f"{file} is damaged ({reason_of(error)}): copy or export the bundle again"
        ) from error
    if not isinstance(content, dict) or "format" not in content:
        raise BundleError(f"{file} is not a manifest of a bundle: it states no format")
    if content["format"] != FORMAT or isinstance(content["format"], bool):
        raise BundleError(
            f"{path} has bundle format {shorten(content['format'])}, this runtime reads {FORMAT}: "
            "export its checkpoint.safetensors with rave-export of this version"
        )
    try:
        manifest = build_record(Manifest, content, "manifest")
        check_manifest(manifest)
    except ValueError as error:
        raise BundleError(f"{file} is damaged: {error}; copy or export the bundle again") from error
    for item in manifest.running_files():
        if not (path / item.file).is_file():
            raise BundleError(f"{path} lacks {item.file}, which its manifest names: copy the whole folder")
    return Bundle(path, manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `manifest.json` as indented text, with keys in the order of the schema."""
    text = json.dumps(asdict(manifest), indent=1, allow_nan=False)
    (folder / MANIFEST_NAME).write_text(text + "\n", "utf-8")
