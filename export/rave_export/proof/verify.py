"""Runs every graph of a bundle in each precision and on each provider, and compares it with a reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np

from rave_export.errors import InputError
from rave_export.proof.halo import check_halo
from rave_export.proof.parity import (
    SINGLE_GRAPH,
    Candidate,
    Case,
    Reference,
    SplitGraphs,
    measure_parity,
    probe_cases,
    split_light,
)
from rave_runtime.arrays import Array, Pixels
from rave_runtime.backends.devices import (
    DEVICES,
    Device,
    choose_device,
    load_cuda_libraries,
    onnxruntime_providers,
)
from rave_runtime.backends.graph_check import read_graph
from rave_runtime.backends.load import load_network
from rave_runtime.backends.onnx_network import session_options
from rave_runtime.backends.privacy import import_onnxruntime
from rave_runtime.bundle import Bundle, GraphFile, Manifest, Parity
from rave_runtime.errors import BundleError, DeviceError, reason_of

PICTURE_TILE_PX = 256
"""Side of the tiles in which a user's pictures are run, so small that most need several."""


def measure_bundle(
    bundle: Bundle, reference: Reference | None = None, pictures: Sequence[Pixels] = ()
) -> list[Parity]:
    """Runs every precision of a bundle on every provider of this machine.

    Args:
        bundle: the bundle to prove. All its files are checked against their hashes.
        reference: what counts as right; None takes the bundle's float32 graphs, untiled.
        pictures: the pictures to run beside the built-in ones, [h, w, 3] uint8.

    Returns:
        A measurement per precision, provider and picture.

    Raises:
        BundleError: a file is missing or not the one that was exported, does not load, or holds parts that
            no graph of a bundle needs.
        DeviceError: a graph failed to run on a provider.
    """
    for item in bundle.manifest.files():
        if isinstance(item, GraphFile):
            read_graph(bundle, item)
        else:
            bundle.read_file(item)
    cases = probe_cases() + [Case((picture,), PICTURE_TILE_PX, "given") for picture in pictures]
    return measure_parity(candidates(bundle), reference or graph_reference(bundle), cases)


def halo_failures(bundle: Bundle) -> list[str]:
    """A sentence for each halo of a bundle that is too small for its float32 graphs.

    Raises:
        BundleError, DeviceError: the graphs do not load or run.
    """
    return check_halo(load_network(bundle, "fp32", choose_device("cpu")))


def candidates(bundle: Bundle) -> Iterator[Candidate]:
    """Yields the graphs of a bundle that this machine can run, one candidate at a time."""
    for device in present_devices():
        for precision in bundle.manifest.precisions():
            yield SplitGraphs(load_network(bundle, precision, device), precision, device.provider)
        for graph in bundle.manifest.graphs:
            if graph.part == "whole" and device.provider in onnxruntime_providers():
                yield SingleGraph(bundle, graph, device)


class SingleGraph:
    """A whole-image graph, run as another program would run it: bytes in, bytes out.

    Args:
        bundle: the bundle that holds the graph.
        graph: its entry in the manifest.
        device: where to run it.

    Raises:
        BundleError: the file is not the one that was exported, or does not load.
    """

    label: Final = SINGLE_GRAPH

    def __init__(self, bundle: Bundle, graph: GraphFile, device: Device) -> None:
        self.precision: Final = graph.precision
        self.provider: Final = device.provider
        self._session = make_session(bundle, graph, device)

    def run(self, case: Case) -> list[tuple[Array, Pixels]] | None:
        """See `Candidate.run`; None for 16 bits and for mixed sizes, which such a graph does not take."""
        if len(case.pictures) > 1 or case.pictures[0].dtype != np.uint8:
            return None
        try:
            light, enhanced = self._session.run(["light", "enhanced"], {"image": case.pictures[0][None]})
        except Exception as error:
            message = reason_of(error)
            raise DeviceError(f"{self.provider} failed on the single graph: {message}") from error
        return [(light[0], enhanced[0])]


def make_session(bundle: Bundle, graph: GraphFile, device: Device) -> Any:
    """Opens a graph on onnxruntime, as another program would.

    Raises:
        BundleError: the file is not the one that was exported, or does not load.
    """
    onnxruntime = import_onnxruntime()
    content = read_graph(bundle, graph)
    if device.name == "cuda":
        load_cuda_libraries()
    try:
        return onnxruntime.InferenceSession(
            content, session_options(), providers=[(device.provider, device.options)]
        )
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise BundleError(f"{graph.file} cannot be loaded by onnxruntime: {reason_of(error)}") from error


def read_reference(path: Path, padding: str | None, manifest: Manifest) -> Reference:
    """Reads the torch network of a checkpoint as a reference. This needs torch.

    Args:
        path: the path of the checkpoint, or of a bundle that holds it.
        padding: the padding of the outer convolutions; None takes the bundle's, since upstream's files do not
            state theirs.
        manifest: the manifest of the bundle that is to be proven.

    Raises:
        InputError: the file is not a checkpoint, or its network has another width.
    """
    from rave_export.proof.reference import torch_reference
    from rave_train.checkpoint import read_checkpoint
    from rave_train.errors import CheckpointError

    chosen = manifest.network.padding if padding is None else cast(Literal["reflect", "zeros"], padding)
    try:
        network = read_checkpoint(path, chosen).network
    except CheckpointError as error:
        raise InputError(str(error)) from error
    if network.channels != manifest.network.channels:
        raise InputError(
            f"{path} has {network.channels} channels, the bundle's network has "
            f"{manifest.network.channels}: give the checkpoint it was exported from"
        )
    return torch_reference(network)


def graph_reference(bundle: Bundle) -> Reference:
    """A reference that runs the bundle's float32 graphs on whole pictures, on the CPU.

    Raises:
        BundleError: the bundle holds no float32 graphs.
    """
    network = load_network(bundle, "fp32", choose_device("cpu"))

    def light(picture: Pixels) -> Array:
        return split_light(network, picture, None)

    return Reference("float32 graphs, whole image", light)


def present_devices() -> list[Device]:
    """The devices of this machine that run graphs."""
    devices = []
    for name in DEVICES:
        if name == "tensorrt":  # runs engines instead of graphs, see `rave_export.proof.engines`
            continue
        try:
            devices.append(choose_device(name))
        except DeviceError:
            continue
    return devices
