"""Measures how far graphs are from a reference, on pictures of difficult sizes, and how far they may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array, Pixels
from rave_runtime.backends.devices import MIN_INT8_SIDE_PX
from rave_runtime.backends.network import Network
from rave_runtime.bundle import EngineFile, GraphFile, Parity, Precision
from rave_runtime.errors import PhotoError
from rave_runtime.light.relight import relight
from rave_runtime.light.tiled import tiled_light
from rave_runtime.light.tiling import interpolation_matrix, plan_tiles, pooling_matrix

SINGLE_GRAPH: Final = "single graph"
"""Label of measurements of a whole-image graph."""

NORMAL_WAY: Final = "normal way"
"""Label of measurements of a graph that does what `rave-run` does."""

TENSORRT: Final = "TensorRT"
"""Name that stands for the provider in measurements of engines, which onnxruntime does not run."""


@dataclass(frozen=True)
class Tolerance:
    """What a precision must reach at every size.

    Attributes:
        max_abs_error: largest allowed error of the light map; None does not limit it.
        min_psnr_db: least allowed PSNR of the enhanced picture, in dB; None does not limit it.
    """

    max_abs_error: float | None = None
    min_psnr_db: float | None = None


TOLERANCES: Final[dict[Precision, Tolerance]] = {
    "fp32": Tolerance(max_abs_error=1e-4),
    "fp16": Tolerance(min_psnr_db=45.0),
    "int8": Tolerance(min_psnr_db=45.0),
}


NORMAL_TOLERANCE: Final = Tolerance(min_psnr_db=55.0)
"""How near a graph of the normal way must be to what `rave-run` makes in the same precision."""


@dataclass(frozen=True)
class Case:
    """Pictures that are run at once, and in what tiles.

    Attributes:
        pictures: [h, w, 3] uint8 or uint16 each; several share a batch, see `mixed_batch_lights`.
        tile_px: largest side of the tiles; None runs the picture whole.
        label: what is special about the case, for the table.
    """

    pictures: tuple[Pixels, ...]
    tile_px: int | None
    label: str = ""


@dataclass(frozen=True)
class Reference:
    """What graphs are compared with.

    Attributes:
        name: its name in measurements, such as "torch float32, whole image".
        light: the function from a picture [h, w, 3] uint8 or uint16 to its light map [h, w] float32.
    """

    name: str
    light: Callable[[Pixels], Array]


class Candidate(Protocol):
    """Something that enhances pictures and is to be proven."""

    @property
    def precision(self) -> Precision:
        """The precision whose tolerance counts."""

    @property
    def provider(self) -> str:
        """What it runs on, as measurements name it."""

    @property
    def label(self) -> str:
        """What distinguishes it from others of its precision and provider; empty if there are none."""

    def run(self, case: Case) -> list[tuple[Array, Pixels]] | None:
        """The light map and the enhanced picture of each picture; None if it cannot run such a case."""


@dataclass(frozen=True)
class SplitGraphs:
    """The context and enhance graphs of one precision, tiled."""

    network: Network
    precision: Precision
    provider: str
    label: str = ""

    def run(self, case: Case) -> list[tuple[Array, Pixels]]:
        """See `Candidate.run`."""
        try:
            if len(case.pictures) > 1:
                assert case.tile_px is not None
                lights = mixed_batch_lights(self.network, case.pictures, case.tile_px)
            else:
                lights = [split_light(self.network, case.pictures[0], case.tile_px)]
        except PhotoError:  # the light is not a number: in fp16, sums may overflow
            lights = [np.full(picture.shape[:2], np.nan, np.float32) for picture in case.pictures]
        return [(light, relit(picture, light)) for light, picture in zip(lights, case.pictures, strict=True)]


def probe_cases(seed: int = 0) -> list[Case]:
    """The built-in cases: small, narrow and ordinary sizes, many tiles, 16 bits, and a mixed batch."""

    def case(height: int, width: int, tile_px: int | None, label: str = "") -> Case:
        return Case((probe_picture(height, width, seed),), tile_px, label)

    deep = probe_picture(97, 131, seed).astype(np.uint16) * 257
    return [
        case(96, 120, None),  # divisible by 6, the largest pooling grid
        case(97, 131, None),  # not divisible
        case(2, 2, None),
        case(2, 61, 64),
        case(60, 40, 64),  # smaller than a tile
        case(173, 101, 64),  # portrait
        case(101, 173, 64),  # landscape
        case(300, 7, 48, "tall"),
        case(134, 150, 48, "many tiles"),
        Case((deep,), 64, "16 bits"),
        Case((probe_picture(87, 76, seed + 1), probe_picture(88, 75, seed + 2)), 64, "mixed batch"),
    ]


def probe_picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Draws a picture that looks backlit, bright above and dark below, with edges and grain.

    Returns:
        [height, width, 3] uint8.
    """
    rng = np.random.default_rng([seed, height, width])
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    sky = 1 / (1 + np.exp((y - 0.4 - 0.1 * np.sin(9 * x)) * 30))
    base = 0.08 + 0.8 * sky + 0.08 * np.sin(25 * x + 9 * y) * (1 - sky)
    colour = base[..., None] * rng.uniform(0.7, 1.0, 3) + rng.normal(0, 0.02, (height, width, 3))
    return np.asarray(np.clip(colour, 0, 1) * 255, np.uint8)


def split_light(network: Network, picture: Pixels, tile_px: int | None) -> Array:
    """The light map [h, w] float32 of a picture, put together from tiles as in the runtime."""
    result = np.empty(picture.shape[:2], np.float32)
    for tile, light in tiled_light(network, picture, tile_px):
        result[tile.core] = tile.core_of(light)
    return result


def mixed_batch_lights(network: Network, pictures: Sequence[Pixels], tile_px: int) -> list[Array]:
    """Light maps of pictures of different sizes, computed from all their tiles in one batch.

    Args:
        network: the network that runs the batch.
        pictures: [h, w, 3] uint8 each, of sizes whose windows have one shape, such as 87 and 88 px at 64.
        tile_px: side of the tiles.

    Returns:
        [h, w] float32 each.
    """
    bins = network.facts.bins
    owners: list[int] = []
    windows, rows, cols = [], [], []
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        for tile in plan_tiles(height, width, tile_px, network.facts.context_halo_px, fixed=True):
            owners.append(index)
            windows.append(picture[tile.rows.start : tile.rows.stop, tile.cols.start : tile.cols.stop])
            rows.append(pooling_matrix(height, tile.rows, bins))
            cols.append(pooling_matrix(width, tile.cols, bins))
    shares = network.pool(np.stack(windows), np.stack(rows), np.stack(cols))
    pooled = [shares[np.equal(owners, index)].sum(0) for index in range(len(pictures))]

    places = []
    windows, rows, cols = [], [], []
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        for tile in plan_tiles(height, width, tile_px, network.facts.halo_px, fixed=True):
            places.append((index, tile))
            windows.append(picture[tile.rows.start : tile.rows.stop, tile.cols.start : tile.cols.stop])
            rows.append(interpolation_matrix(height, tile.rows, bins))
            cols.append(interpolation_matrix(width, tile.cols, bins))
    contexts = np.stack([pooled[index] for index, _ in places])
    lights = network.illuminate(np.stack(windows), contexts, np.stack(rows), np.stack(cols))
    results = [np.empty(picture.shape[:2], np.float32) for picture in pictures]
    for (index, tile), light in zip(places, lights, strict=True):
        results[index][tile.core] = tile.core_of(light)
    return results


def measure_parity(
    candidates: Iterable[Candidate], reference: Reference, cases: Iterable[Case]
) -> list[Parity]:
    """Runs every candidate on every case; the reference runs each picture once, whole.

    Args:
        candidates: what to measure; an iterator that opens them one at a time has only one in memory.
        reference: what counts as right.
        cases: pictures to run.

    Returns:
        The measurements, ordered by candidate, then by case.

    Raises:
        BundleError, DeviceError: the graphs do not load or run.
    """
    expected_lights = [(case, [reference.light(picture) for picture in case.pictures]) for case in cases]
    rows = []
    for candidate in candidates:
        for case, lights in expected_lights:
            results = candidate.run(case) or []
            for picture, expected, (light, enhanced) in zip(case.pictures, lights, results, strict=False):
                rows.append(_compare(candidate, reference, case, picture, light, enhanced, expected))
    return rows


def _compare(
    candidate: Candidate,
    reference: Reference,
    case: Case,
    picture: Pixels,
    light: Array,
    enhanced: Pixels,
    expected: Array,
) -> Parity:
    """Returns how far one picture's light and result are from the reference's."""
    error = np.abs(light - expected)
    if not np.isfinite(light).all():
        error = np.full_like(error, np.inf)
    return Parity(
        precision=candidate.precision,
        provider=candidate.provider,
        reference=reference.name,
        height_px=picture.shape[0],
        width_px=picture.shape[1],
        tile_px=case.tile_px,
        max_abs_error=float(min(error.max(), 1e9)),
        mean_abs_error=float(min(error.mean(), 1e9)),
        psnr_db=psnr_db(enhanced, relit(picture, expected)),
        label=", ".join(filter(None, [candidate.label, case.label])),
    )


def is_of(parity: Parity, item: GraphFile | EngineFile) -> bool:
    """Whether a measurement was made with a certain graph or engine of a bundle."""
    part = item.part if isinstance(item, GraphFile) else ""
    return (
        parity.precision == item.precision
        and parity.label.startswith(SINGLE_GRAPH) == (part == "whole")
        and parity.label.startswith(NORMAL_WAY) == (part == "normal")
        and (parity.provider == TENSORRT) == isinstance(item, EngineFile)
    )


def is_too_small(parity: Parity) -> bool:
    """Whether a picture was so small that a run would not take int8 for it."""
    return parity.precision == "int8" and min(parity.height_px, parity.width_px) < MIN_INT8_SIDE_PX


def over_tolerance(parity: Parity) -> str | None:
    """A sentence if a measurement exceeds its precision's tolerance, else None."""
    if is_too_small(parity):
        return None
    tolerance = NORMAL_TOLERANCE if parity.label.startswith(NORMAL_WAY) else TOLERANCES[parity.precision]
    where = f"{parity.width_px}x{parity.height_px}, tile {parity.tile_px or 'whole'}, {parity.provider}"
    if parity.label:
        where += f", {parity.label}"
    if tolerance.max_abs_error is not None and not parity.max_abs_error <= tolerance.max_abs_error:
        return (
            f"{parity.precision} at {where}: the light map is off by {parity.max_abs_error:.2g}, "
            f"{tolerance.max_abs_error:.2g} is allowed"
        )
    psnr = parity.psnr_db
    if tolerance.min_psnr_db is not None and psnr is not None and not psnr >= tolerance.min_psnr_db:
        return f"{parity.precision} at {where}: {psnr:.1f} dB, {tolerance.min_psnr_db:.0f} dB is needed"
    return None


def relit(picture: Pixels, light: Array) -> Pixels:
    """The picture enhanced by a light map [h, w], in a new array like `picture`; light of NaN counts as 0."""
    out = np.empty_like(picture)
    relight(picture, np.nan_to_num(light, nan=0.0), out)
    return out


def psnr_db(result: Pixels, expected: Pixels) -> float | None:
    """Peak signal-to-noise ratio in dB of two pictures of one integer dtype; None if they are equal."""
    error = np.mean((result.astype(np.float64) - expected) ** 2)
    return None if error == 0 else float(10 * np.log10(float(np.iinfo(expected.dtype).max) ** 2 / error))
