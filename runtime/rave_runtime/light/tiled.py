"""Runs a network tile by tile, with the same result as on the whole image.

The first pass adds up what every tile contributes to the pooled grids; the second pass gives the sums to each
tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.backends.network import Network
from rave_runtime.errors import PhotoError
from rave_runtime.light.tiling import Tile, interpolation_matrix, plan_tiles, pooling_matrix

LightPart = tuple[slice, slice, Array]
"""Rows, columns and the light [rows, columns] of one part of an image."""


def full_light(
    network: Network, image: NDArray[Any], tile_px: int | None, batch: int = 1
) -> Iterator[LightPart]:
    """Yields the illumination map of an image at its full size, part by part, each pixel once.

    Args:
        network: the network that runs the windows.
        image: [h, w, 3] uint8, uint16 or float32 in [0, 1]. An axis of one pixel is doubled for the network.
        tile_px: greatest side of the windows; None takes the image whole.
        batch: windows per call of the network; with more than one, each has exactly the side `tile_px`.

    Raises:
        PhotoError: all of the light is zero although the image is not black. Some libraries turn NaN into
            zero, and the result would be white.
    """
    height, width = image.shape[:2]
    doubled = np.repeat(image, 2, 0) if height == 1 else image
    doubled = np.repeat(doubled, 2, 1) if width == 1 else doubled
    has_light = False
    for tile, light in tiled_light(network, doubled, tile_px, batch, fixed=batch > 1):
        core = tile.core_of(light)[:height, :width]  # without what was doubled
        has_light = has_light or bool(core.any())
        yield *tile.core, core
    top = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    if not has_light and image.max() > top / 32:
        raise PhotoError(
            "cannot be enhanced with this model: it computed no light at all; "
            "choose another --precision (fp32), or another model"
        )


def whole_light(network: Network, image: NDArray[Any], tile_px: int | None, batch: int = 1) -> Array:
    """Returns the parts of `full_light` as one map, [h, w] float32; arguments and errors are the same."""
    result = np.empty(image.shape[:2], np.float32)
    for rows, cols, light in full_light(network, image, tile_px, batch):
        result[rows, cols] = light
    return result


def tiled_light(
    network: Network, image: NDArray[Any], tile_px: int | None, batch: int = 1, *, fixed: bool = False
) -> Iterator[tuple[Tile, Array]]:
    """Yields the illumination map of an image window by window, equal to the whole image's.

    Args:
        network: the network that runs the windows.
        image: [h, w, 3] uint8, uint16 or float32 in [0, 1], at least 2 pixels each way.
        tile_px: greatest side of the windows; None takes the image whole.
        batch: windows per call of the network, which gains on GPUs only.
        fixed: makes the sides of all windows exactly `tile_px`, so that windows of several images may share
            a call.

    Yields:
        Each tile, and the light of its window, [h, w] float32, which is right only in the tile's core.
    """
    height, width = image.shape[:2]
    side = tile_px or max(height, width)
    tiles = plan_tiles(height, width, side, network.facts.halo_px, fixed=fixed)
    if len(tiles) == 1:
        pooling = _pooling(tiles, height, width, network.facts.bins)
        interpolation = _interpolation(tiles, height, width, network.facts.bins)
        yield tiles[0], network.illuminate_whole(_windows(image, tiles), *pooling, *interpolation)[0]
        return
    pooled = pool_image(network, image, side, batch, fixed=fixed)
    for group in _groups(tiles, batch):
        interpolation = _interpolation(group, height, width, network.facts.bins)
        contexts = np.repeat(pooled, len(group), 0)
        lights = network.illuminate(_windows(image, group), contexts, *interpolation)
        yield from zip(group, lights, strict=True)


def pool_image(
    network: Network, image: NDArray[Any], tile_px: int, batch: int = 1, *, fixed: bool = False
) -> Array:
    """Returns the whole image's pooled grids, [1, channels, bins, bins] float32, summed over its tiles."""
    height, width = image.shape[:2]
    facts = network.facts
    total: NDArray[np.float64] = np.zeros((1, facts.channels, sum(facts.bins), sum(facts.bins)))
    tiles = plan_tiles(height, width, tile_px, facts.context_halo_px, fixed=fixed)
    for group in _groups(tiles, batch):
        shares = network.pool(_windows(image, group), *_pooling(group, height, width, facts.bins))
        total += shares.sum(0, np.float64)
    return total.astype(np.float32)


def _groups(tiles: list[Tile], size: int) -> Iterator[list[Tile]]:
    for start in range(0, len(tiles), size):
        yield tiles[start : start + size]


def _windows(image: NDArray[Any], tiles: list[Tile]) -> NDArray[Any]:
    """Returns the tiles' windows stacked as the graphs take them: 16 bits become float32 in [0, 1]."""
    windows = [image[t.rows.start : t.rows.stop, t.cols.start : t.cols.stop] for t in tiles]
    stacked: NDArray[Any] = np.stack(windows) if len(windows) > 1 else windows[0][None]
    if image.dtype == np.uint16:
        return stacked.astype(np.float32) * np.float32(1 / 65535)
    return np.ascontiguousarray(stacked)


def _pooling(tiles: list[Tile], height: int, width: int, bins: tuple[int, ...]) -> tuple[Array, Array]:
    return (
        np.stack([pooling_matrix(height, tile.rows, bins) for tile in tiles]),
        np.stack([pooling_matrix(width, tile.cols, bins) for tile in tiles]),
    )


def _interpolation(tiles: list[Tile], height: int, width: int, bins: tuple[int, ...]) -> tuple[Array, Array]:
    return (
        np.stack([interpolation_matrix(height, tile.rows, bins) for tile in tiles]),
        np.stack([interpolation_matrix(width, tile.cols, bins) for tile in tiles]),
    )
