"""The bundle: a folder with `manifest.json` and the graphs it names. Schema, reading, writing.

The exporter writes manifests and the runtime reads them; both do it with this module, so the schema
lives here alone. An unknown key is an error: a manifest that says more than this version understands
may mean something else by what it does understand.
"""

from __future__ import annotations

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
"""The word for the bundle that comes with this package, where no file and no bundle is called so."""

MIN_WORKING_SIZE_PX: Final = 32
"""Below it a reduction shows too little for a light map."""

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)

Part = Literal["context", "enhance", "whole", "normal"]
ImageType = Literal["uint8", "float32"]
Flavour = Literal["tensorrt", "tensorrt-rtx"]


@dataclass(frozen=True)
class NetworkFacts:
    """What a runtime must know of the network to tile it exactly.

    Attributes:
        channels: how many planes of features the context graph gives.
        bins: side lengths of the pooling grids.
        context_halo_px: how far the pooled features look around a pixel.
        halo_px: how far the illumination map looks around a pixel, pooling aside.
        padding: what the four outer convolutions see beyond the image's borders.
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
            or "whole" (image -> enhanced image, light; at working or full size), which others embed.
        precision: what its weights and arithmetic are in.
        image: dtype of the image that a context graph takes: uint8 in [0, 255] or float32 in
            [0, 1]; None for enhance graphs, which take features.
        fits_16_bits: whether an INT8 graph's products of bytes fit into 16 bits by twos; processors without
            VNNI add them so.
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
    """One TensorRT engine, made from one graph. All fields but the first two are its key.

    Attributes:
        file, sha256: as for a graph.
        graph: file of the ONNX graph that it was built from.
        gpu: name of the GPU model on which it was built.
        compute_capability: the compute capability of that GPU, such as "9.0".
        tensorrt_version: the version of the library that built it.
        precision: the graph's, which the engine keeps (it is strongly typed).
        tile_px: longest side of a window; it is tuned for windows of exactly this size.
        batch: how many windows it takes per run, at most.
        hardware: which other GPUs may run it: "none", "ampere_plus" or "same_compute_capability".
        version_compatible: whether other TensorRT versions of the same major may run it, by host code.
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
    """The network that the graphs were made from: to train on, to export again, to prove graphs against.

    The runtime never reads it.

    Attributes:
        file, sha256: as for a graph.
    """

    file: str
    sha256: str


BundleFile = GraphFile | EngineFile | CheckpointFile


@dataclass(frozen=True)
class Parity:
    """How far the graphs, tiled, were from the reference network at one size, at export.

    Attributes:
        precision, provider: what was run, such as "fp32" on "CPUExecutionProvider".
        reference: what it was compared with, such as "torch float32, whole image".
        height_px, width_px, tile_px: sizes of the picture and its tiles; tile_px None is untiled.
        max_abs_error, mean_abs_error: how far the illumination map is off.
        psnr_db: how close the enhanced picture is; None where it is identical.
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
    """What a bundle holds.

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
        """The graph of that part and precision.

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

    @property
    def model_hash(self) -> str:
        """Names the model by its graphs, in 16 hexadecimal digits."""
        graphs = sorted(graph.sha256 for graph in self.graphs)
        return hashlib.sha256("".join(graphs).encode()).hexdigest()[:16]

    def running_files(self) -> tuple[GraphFile | EngineFile, ...]:
        """What the runtime may need of the bundle beside its manifest."""
        return (*self.graphs, *self.engines)

    def files(self) -> tuple[BundleFile, ...]:
        """Everything the bundle holds beside its manifest."""
        checkpoint = () if self.checkpoint is None else (self.checkpoint,)
        return (*self.running_files(), *checkpoint)

    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that the bundle holds."""
        held = {graph.precision for graph in self.graphs}
        return tuple(precision for precision in PRECISIONS if precision in held)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk: its folder and its checked manifest."""

    folder: Path
    manifest: Manifest

    def read_file(self, item: BundleFile) -> bytes:
        """A file's bytes, checked against the manifest's hash.

        Raises:
            BundleError: the file is missing or not the one that was exported.
        """
        path = self.folder / item.file
        try:
            content = read_content(path, MAX_FILE_BYTES)
        except (OSError, ValueError) as error:
            raise BundleError(
                f"{path} is named by the manifest but cannot be read: {reason_of(error)}"
            ) from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != item.sha256:
            raise BundleError(
                f"{path} is not the file that was exported (SHA-256 {digest[:12]}…, "
                f"the manifest says {item.sha256[:12]}…): copy or export the bundle again"
            )
        return content


def embedded_bundle() -> Path:
    """Folder of the bundle that comes with this package."""
    return Path(__file__).parents[1] / "models" / "default"


def read_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Reads and checks a bundle's manifest and that its graphs and engines are there.

    Hashes are checked when a graph is read, since most runs read two of many.

    Args:
        folder: the bundle's folder, or `EMBEDDED`.

    Raises:
        BundleError: the folder is not a bundle, a file is missing, or the manifest is damaged, of another
            version or out of all proportion.
    """
    path = Path(folder)
    if os.fspath(folder) == EMBEDDED and not (path.is_file() or (path / MANIFEST_NAME).is_file()):
        path = embedded_bundle()
    file = path / MANIFEST_NAME
    try:
        content = parse_manifest(read_content(file, MAX_MANIFEST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{path} is not a bundle: it has no {MANIFEST_NAME}; make one with rave-export"
        ) from None
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
            "export it again with rave-export of this version"
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
    """Writes `manifest.json`, readable and in stable order."""
    text = json.dumps(asdict(manifest), indent=1, allow_nan=False)
    (folder / MANIFEST_NAME).write_text(text + "\n", "utf-8")
