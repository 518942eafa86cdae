"""Compares graphs of the normal way with what `rave-run` makes of the same pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rave_export.proof.parity import NORMAL_WAY, over_tolerance, probe_picture, psnr_db
from rave_export.proof.verify import make_session, present_devices
from rave_runtime.arrays import Array, Pixels
from rave_runtime.backends.devices import Device, onnxruntime_providers
from rave_runtime.bundle import Bundle, GraphFile, Parity
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import DeviceError, reason_of

MIN_SHARE: Final = 0.999
"""Least share of a picture's 8-bit values that differ by at most 1."""

_STRENGTHS: Final = (1.0, 0.6)

_SHORT_PX: Final = 512
"""Working size above which the built-in pictures only become longer: they would take gigabytes."""


@dataclass(frozen=True)
class Comparison:
    """One picture as a graph of the normal way made it, and as `rave-run` did.

    Attributes:
        parity: the measurement.
        failure: a sentence if the graph is too far from `rave-run`, else None.
    """

    parity: Parity
    failure: str | None


def compare_normal_way(bundle: Bundle, pictures: Sequence[Pixels] = ()) -> list[Comparison]:
    """Runs a bundle's graphs of the normal way on every provider of onnxruntime that this machine has.

    Args:
        bundle: the bundle, which need not hold such graphs.
        pictures: the pictures to run beside the built-in ones, [h, w, 3] uint8.

    Returns:
        A comparison per graph, provider, strength and picture.

    Raises:
        BundleError, DeviceError: a graph does not load or run.
    """
    graphs = [graph for graph in bundle.manifest.graphs if graph.part == "normal"]
    devices = [device for device in present_devices() if device.provider in onnxruntime_providers()]
    return [
        comparison
        for graph in graphs
        for device in devices
        for comparison in _compare(bundle, graph, device, [*built_in_pictures(bundle), *pictures])
    ]


def built_in_pictures(bundle: Bundle) -> list[Pixels]:
    """Pictures below and above the working size, with and without incomplete boxes, and a line of pixels."""
    side = bundle.manifest.working_size_px or 0
    short = min(side, _SHORT_PX)
    sizes = [
        (side // 2 + 1, side),
        (side + 1, short - 7),
        (2 * side - 5, 2 * short + 9),
        (4 * side + 3, 3 * short),
        (1, 2 * side),
    ]
    return [probe_picture(max(height, 2), width)[:height] for height, width in sizes]


def _compare(
    bundle: Bundle, graph: GraphFile, device: Device, pictures: Sequence[Pixels]
) -> Iterator[Comparison]:
    """Compares a graph of the normal way with `Enhancer` on each picture at each strength."""
    session = make_session(bundle, graph, device)
    for strength in _STRENGTHS:
        enhancer = Enhancer(bundle.folder, precision=graph.precision, device="cpu", strength=strength)
        for picture in pictures:
            inputs = {"image": picture[None], "strength": np.array(strength, np.float32)}
            try:
                enhanced, light = session.run(["enhanced", "light"], inputs)
            except Exception as error:  # onnxruntime's exceptions have no base class in common
                raise DeviceError(f"{device.provider} failed on {graph.file}: {reason_of(error)}") from error
            expected = enhancer.enhance(picture)
            distance = np.abs(light[0] - enhancer.illumination(picture))
            parity = _describe(graph, device, psnr_db(enhanced[0], expected), distance, strength)
            yield Comparison(parity, _too_few_alike(graph, enhanced[0], expected) or over_tolerance(parity))


def _too_few_alike(graph: GraphFile, enhanced: Pixels, expected: Pixels) -> str | None:
    """A sentence unless enough values of a picture differ by at most 1 from the expected ones."""
    steps = np.abs(enhanced.astype(np.int16) - expected)
    share = float((steps <= 1).mean())
    if share >= MIN_SHARE:
        return None
    height, width = expected.shape[:2]
    return (
        f"{graph.file} at {width}x{height}: {share:.2%} of the values are within one step of rave-run's, "
        f"{MIN_SHARE:.1%} are needed"
    )


def _describe(
    graph: GraphFile, device: Device, reached_db: float | None, error: Array, strength: float
) -> Parity:
    """The measurement of one picture; `error` is that of the light map, [h, w]."""
    return Parity(
        precision=graph.precision,
        provider=device.provider,
        reference=f"rave-run in {graph.precision}",
        height_px=error.shape[0],
        width_px=error.shape[1],
        tile_px=None,
        max_abs_error=float(error.max()),
        mean_abs_error=float(error.mean()),
        psnr_db=reached_db,
        label=f"{NORMAL_WAY}, strength {strength:g}",
    )
