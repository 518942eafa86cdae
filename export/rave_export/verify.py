"""Re-proves a bundle: every graph, precision and provider, against torch or its own float32 graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rave_export.parity import (
    Array,
    Candidate,
    Case,
    Picture,
    Reference,
    SplitGraphs,
    measure_parity,
    probe_cases,
    split_light,
)
from rave_runtime.bundle import Bundle, Parity
from rave_runtime.devices import DEVICES, Device, choose_device
from rave_runtime.errors import DeviceError
from rave_runtime.network import load_network

PICTURE_TILE_PX = 256
"""Tiles in which a user's pictures are run, so that even small ones need several."""


def measure_bundle(
    bundle: Bundle, reference: Reference | None = None, pictures: Sequence[Picture] = ()
) -> list[Parity]:
    """Runs every precision of a bundle on every provider of this machine.

    Args:
        bundle: to prove. All its files are checked against their hashes.
        reference: what counts as right; None takes the bundle's float32 graphs, untiled.
        pictures: to run beside the built-in ones, [h, w, 3] uint8.

    Returns:
        A measurement per precision, provider and picture.

    Raises:
        BundleError: a file is missing or not the one that was exported, or does not load.
        DeviceError: a provider failed.
    """
    for graph in bundle.manifest.graphs:
        bundle.read_graph(graph)
    cases = probe_cases() + [Case((picture,), PICTURE_TILE_PX, "given") for picture in pictures]
    return measure_parity(candidates(bundle), reference or graph_reference(bundle), cases)


def candidates(bundle: Bundle) -> Iterator[Candidate]:
    """Everything in a bundle that this machine can run, one at a time."""
    for device in present_devices():
        for precision in bundle.manifest.precisions():
            yield SplitGraphs(load_network(bundle, precision, device), precision, device.provider)


def graph_reference(bundle: Bundle) -> Reference:
    """The bundle's float32 graphs on whole pictures, on the CPU.

    Raises:
        BundleError: the bundle holds no float32 graphs.
    """
    network = load_network(bundle, "fp32", choose_device("cpu"))

    def light(picture: Picture) -> Array:
        return split_light(network, picture, None)

    return Reference("float32 graphs, whole image", light)


def present_devices() -> list[Device]:
    """What this machine can run graphs on."""
    found = []
    for name in DEVICES:
        try:
            found.append(choose_device(name))
        except DeviceError:
            continue
    return found
