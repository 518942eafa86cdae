"""Proves graphs against the torch network: tiled graphs against the whole image in torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from rave_runtime.bundle import Bundle, Parity, Precision
from rave_runtime.devices import Device
from rave_runtime.enhancer import tiled_light
from rave_runtime.network import Network, OnnxNetwork
from rave_runtime.relight import relight
from rave_train.network import EnhancementNetwork

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Tolerance:
    """What a precision must reach at every size: an error of the light map, or a PSNR of the result."""

    max_abs_error: float | None = None
    min_psnr_db: float | None = None


TOLERANCES: Final[dict[Precision, Tolerance]] = {
    "fp32": Tolerance(max_abs_error=1e-4),
    "fp16": Tolerance(min_psnr_db=45.0),
    "int8": Tolerance(min_psnr_db=45.0),
}


@dataclass(frozen=True)
class Case:
    """One picture size and how it is tiled (None: whole)."""

    height_px: int
    width_px: int
    tile_px: int | None


CASES: Final = (
    Case(96, 120, None),  # divisible by 6, the largest pooling grid
    Case(97, 131, None),  # not divisible
    Case(2, 2, None),
    Case(2, 61, 64),
    Case(60, 40, 64),  # smaller than a tile
    Case(173, 101, 64),  # portrait
    Case(101, 173, 64),  # landscape
    Case(300, 7, 48),  # tall
    Case(210, 300, 48),  # many tiles
)


def probe_picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A backlit-looking picture: bright above, dark below, edges and grain. [h, w, 3] uint8."""
    rng = np.random.default_rng([seed, height, width])
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    sky = 1 / (1 + np.exp((y - 0.4 - 0.1 * np.sin(9 * x)) * 30))
    base = 0.08 + 0.8 * sky + 0.08 * np.sin(25 * x + 9 * y) * (1 - sky)
    colour = base[..., None] * rng.uniform(0.7, 1.0, 3) + rng.normal(0, 0.02, (height, width, 3))
    return np.asarray(np.clip(colour, 0, 1) * 255, np.uint8)


def reference_light(network: EnhancementNetwork, image: NDArray[np.uint8]) -> Array:
    """The torch network's illumination map of the whole image, [h, w] float32."""
    planes = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        light: Array = network(planes)[0, 0].numpy()
    return light


def graph_light(network: Network, image: NDArray[np.uint8], tile_px: int | None) -> Array:
    """The graphs' illumination map, put together from tiles, [h, w] float32."""
    result = np.empty(image.shape[:2], np.float32)
    for tile, light in tiled_light(network, image, tile_px):
        rows, cols = tile.rows, tile.cols
        result[rows.core_start : rows.core_stop, cols.core_start : cols.core_stop] = light[
            rows.core_start - rows.start : rows.core_stop - rows.start,
            cols.core_start - cols.start : cols.core_stop - cols.start,
        ]
    return result


def measure_parity(
    bundle: Bundle,
    precision: Precision,
    device: Device,
    reference: EnhancementNetwork,
    cases: Iterable[Case] = CASES,
) -> list[Parity]:
    """Runs a bundle's graphs on every case and compares them with the torch network.

    Raises:
        BundleError, DeviceError: the graphs do not load or run.
    """
    network = OnnxNetwork(bundle, precision, device)
    return [
        compare(
            network, reference, probe_picture(case.height_px, case.width_px), case.tile_px, precision, device
        )
        for case in cases
    ]


def compare(
    network: Network,
    reference: EnhancementNetwork,
    image: NDArray[np.uint8],
    tile_px: int | None,
    precision: Precision,
    device: Device,
) -> Parity:
    """One picture's figures."""
    expected = reference_light(reference, image)
    found = graph_light(network, image, tile_px)
    error = np.abs(found - expected)
    if not np.isfinite(found).all():
        error = np.full_like(error, np.inf)
    return Parity(
        precision=precision,
        provider=device.provider,
        reference="torch float32, whole image",
        height_px=image.shape[0],
        width_px=image.shape[1],
        tile_px=tile_px,
        max_abs_error=float(min(error.max(), 1e9)),
        mean_abs_error=float(min(error.mean(), 1e9)),
        psnr_db=_psnr_db(_relit(image, found), _relit(image, expected)),
    )


def over_tolerance(parity: Parity) -> str | None:
    """Why a measurement fails its precision's tolerance, or None."""
    tolerance = TOLERANCES[parity.precision]
    where = f"{parity.width_px}x{parity.height_px}, tile {parity.tile_px or 'whole'}, {parity.provider}"
    if tolerance.max_abs_error is not None and not parity.max_abs_error <= tolerance.max_abs_error:
        return (
            f"{parity.precision} at {where}: the light map is off by {parity.max_abs_error:.2g}, "
            f"{tolerance.max_abs_error:.2g} is allowed"
        )
    psnr = parity.psnr_db
    if tolerance.min_psnr_db is not None and psnr is not None and not psnr >= tolerance.min_psnr_db:
        return f"{parity.precision} at {where}: {psnr:.1f} dB, {tolerance.min_psnr_db:.0f} dB is needed"
    return None


def _relit(image: NDArray[np.uint8], light: Array) -> NDArray[Any]:
    out = np.empty_like(image)
    relight(image, np.nan_to_num(light, nan=0.0), out)
    return out


def _psnr_db(found: NDArray[Any], expected: NDArray[Any]) -> float | None:
    error = np.mean((found.astype(np.float64) - expected) ** 2)
    return None if error == 0 else float(10 * np.log10(255**2 / error))
