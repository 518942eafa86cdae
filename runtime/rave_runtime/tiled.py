"""A network run tile by tile, equal to the same network run on the whole image.

Pass one adds up what every tile contributes to the pooled grids; pass two gives each tile the sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rave_runtime.network import Network
from rave_runtime.tiling import Tile, interpolation_matrix, plan_tiles, pooling_matrix

Array = NDArray[np.float32]


def tiled_light(network: Network, image: NDArray[Any], tile_px: int | None) -> Iterator[tuple[Tile, Array]]:
    """The network's illumination map of an image, window by window, equal to the whole image's.

    Args:
        network: what runs the windows.
        image: [h, w, 3] uint8, uint16 or float32 in [0, 1], at least 2 pixels each way.
        tile_px: side of the windows; None takes the image whole.

    Yields:
        Each tile with the light [h, w] float32 of its window; only its core is right.
    """
    height, width = image.shape[:2]
    bins, side = network.facts.bins, tile_px or max(height, width)
    tiles = plan_tiles(height, width, side, network.facts.halo_px)
    if len(tiles) == 1:
        (tile,) = tiles
        batch = _as_network_input(image[None])
        pool_rows, pool_cols = _pooling(tile, height, width, bins)
        rows, cols = _interpolation(tile, height, width, bins)
        light = network.illuminate_whole(batch, pool_rows, pool_cols, rows, cols)
        yield tile, light[0]
        return
    pooled = pool_image(network, image, side)
    for tile in tiles:
        rows, cols = _interpolation(tile, height, width, bins)
        light = network.illuminate(_as_network_input(_window(image, tile)), pooled, rows, cols)
        yield tile, light[0]


def pool_image(network: Network, image: NDArray[Any], tile_px: int) -> Array:
    """The whole image's pooled grids, [1, channels, bins, bins], summed over its tiles."""
    height, width = image.shape[:2]
    total: NDArray[np.float64] | None = None
    for tile in plan_tiles(height, width, tile_px, network.facts.context_halo_px):
        pool_rows, pool_cols = _pooling(tile, height, width, network.facts.bins)
        share = network.pool(_as_network_input(_window(image, tile)), pool_rows, pool_cols)
        total = share.astype(np.float64) if total is None else total + share
    assert total is not None
    return total.astype(np.float32)


def _window(image: NDArray[Any], tile: Tile) -> NDArray[Any]:
    return image[None, tile.rows.start : tile.rows.stop, tile.cols.start : tile.cols.stop]


def _pooling(tile: Tile, height: int, width: int, bins: tuple[int, ...]) -> tuple[Array, Array]:
    return pooling_matrix(height, tile.rows, bins)[None], pooling_matrix(width, tile.cols, bins)[None]


def _interpolation(tile: Tile, height: int, width: int, bins: tuple[int, ...]) -> tuple[Array, Array]:
    return (
        interpolation_matrix(height, tile.rows, bins)[None],
        interpolation_matrix(width, tile.cols, bins)[None],
    )


def _as_network_input(window: NDArray[Any]) -> NDArray[Any]:
    """A batch of windows as the graphs take it: 16 bits become float32 in [0, 1]."""
    if window.dtype != np.uint16:
        return np.ascontiguousarray(window)
    return window.astype(np.float32) * np.float32(1 / 65535)
