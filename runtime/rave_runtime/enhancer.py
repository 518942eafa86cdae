"""The enhancer: arrays in, arrays out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from rave_runtime.bundle import embedded_bundle, read_bundle
from rave_runtime.colour import is_srgb, to_srgb, tone_curve
from rave_runtime.devices import choose_device, choose_precision
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.network import Network, OnnxNetwork
from rave_runtime.photo import Photo, Pixels
from rave_runtime.relight import relight
from rave_runtime.tiling import Tile, interpolation_matrix, plan_tiles, pooling_matrix

Array = NDArray[np.float32]

AnyPixels = TypeVar("AnyPixels", NDArray[np.uint8], NDArray[np.uint16])

DEFAULT_TILE_PX: Final = 512
"""Side of a tile where none is given."""

_STRIP_PX: Final = 1 << 20
"""Pixels divided at once, so that float copies of a large picture never exist whole."""


class Enhancer:
    """Enhances backlit photographs with a bundle's network. Safe to share by threads.

    Args:
        model: folder of a bundle; None is the embedded one.
        precision: "auto", "fp32", "fp16" or "int8".
        device: "auto" or "cpu".
        working_size: long side, in pixels, of the reduction on which the light is estimated;
            "recommended" is what the bundle says, None is full resolution.
        tile_size: side of the tiles in which the network runs, in pixels; "auto" chooses, None takes
            every image whole, at about 1.3 GB of memory per megapixel.
        threads: for the network; 0 takes all processors.

    Raises:
        BundleError: the model cannot be used.
        DeviceError: the device or precision is not to be had.
        UsageError: a size makes no sense.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        precision: str = "auto",
        device: str = "auto",
        working_size: int | Literal["recommended"] | None = "recommended",
        tile_size: int | Literal["auto"] | None = "auto",
        threads: int = 0,
    ) -> None:
        bundle = read_bundle(embedded_bundle() if model is None else model)
        chosen = choose_device(device)
        self.precision: Final = choose_precision(precision, chosen, bundle.manifest)
        self.device: Final = chosen
        self.manifest: Final = bundle.manifest
        self.network: Final[Network] = OnnxNetwork(bundle, self.precision, chosen, threads)
        self.tile_size_px: Final = _check_tile_size(tile_size, bundle.manifest.network.halo_px)

    def enhance(self, image: AnyPixels) -> AnyPixels:
        """The enhanced photograph.

        Args:
            image: [h, w, 3] uint8 or uint16, sRGB.

        Returns:
            Same shape and dtype, a new array.

        Raises:
            PhotoError: another shape or dtype, or no pixels.
            DeviceError: the provider failed.
        """
        _check_image(image)
        out = np.empty_like(image)
        for rows, cols, light in self._light_cores(image):
            relight(image[rows, cols], light, out[rows, cols])
        return out

    def enhance_photo(self, photo: Photo) -> Pixels:
        """The enhanced pixels of a photograph: grey, 16 bits and other colour spaces included.

        Args:
            photo: as read by `rave_runtime.photo.read_photo`.

        Returns:
            Like `photo.pixels`, in the same colour space, a new array.

        Raises:
            DeviceError: the provider failed.
        """
        curve = tone_curve(photo.icc_profile) if photo.pixels.shape[2] == 3 else None
        out = np.empty_like(photo.pixels)
        for rows, cols, light in self._light_cores(_as_seen(photo)):
            relight(photo.pixels[rows, cols], light, out[rows, cols], curve)
        return out

    def illumination(self, image: Pixels) -> Array:
        """The illumination map that `enhance` divides by.

        Args:
            image: [h, w, 3] uint8 or uint16, sRGB.

        Returns:
            [h, w] float32, at least 0, usually below 1.

        Raises:
            PhotoError: another shape or dtype, or no pixels.
            DeviceError: the provider failed.
        """
        _check_image(image)
        result = np.empty(image.shape[:2], np.float32)
        for rows, cols, light in self._light_cores(image):
            result[rows, cols] = light
        return result

    def _light_cores(self, image: NDArray[Any]) -> Iterator[tuple[slice, slice, Array]]:
        """The illumination map in parts: rows, columns and values [rows, columns] of each."""
        height, width = image.shape[:2]
        doubled = np.repeat(image, 2, 0) if height == 1 else image
        doubled = np.repeat(doubled, 2, 1) if width == 1 else doubled
        for tile, light in tiled_light(self.network, doubled, self.tile_size_px):
            rows, cols = tile.rows, tile.cols
            row_stop, col_stop = min(rows.core_stop, height), min(cols.core_stop, width)
            core = light[
                rows.core_start - rows.start : row_stop - rows.start,
                cols.core_start - cols.start : col_stop - cols.start,
            ]
            yield slice(rows.core_start, row_stop), slice(cols.core_start, col_stop), core


def _as_seen(photo: Photo) -> Pixels:
    """The photograph as the network sees it: [h, w, 3], sRGB."""
    pixels, profile = photo.pixels, photo.icc_profile
    if pixels.shape[2] == 1:
        grey: Pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
        return grey
    if profile is None or is_srgb(profile):
        return pixels
    shown: NDArray[Any] = pixels >> 8 if pixels.dtype == np.uint16 else pixels
    return to_srgb(shown.astype(np.uint8, copy=False), profile)


def tiled_light(network: Network, image: NDArray[Any], tile_px: int | None) -> Iterator[tuple[Tile, Array]]:
    """The network's illumination map of an image, window by window, equal to the whole image's.

    Args:
        network: what runs the windows.
        image: [h, w, 3] uint8 or uint16, at least 2 pixels each way.
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
    """A batch of windows as the graphs take it: bytes as they are, 16 bits as float32 in [0, 1]."""
    if window.dtype == np.uint8:
        return np.ascontiguousarray(window)
    return window.astype(np.float32) * np.float32(1 / 65535)


def _check_image(image: NDArray[Any]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
        raise PhotoError(
            f"an image of [h, w, 3] uint8 or uint16 is needed, got {list(image.shape)} {image.dtype}"
        )
    if not image.size:
        raise PhotoError(f"the image has no pixels: its size is {image.shape[1]} x {image.shape[0]}")


def _check_tile_size(tile_size: int | str | None, halo_px: int) -> int | None:
    if tile_size is None:
        return None
    if tile_size == "auto":
        return DEFAULT_TILE_PX
    if isinstance(tile_size, bool) or not isinstance(tile_size, int):
        raise UsageError(f"tile_size must be 'auto', a number of pixels or None, got {tile_size!r}")
    if tile_size <= 2 * halo_px:
        raise UsageError(
            f"tile_size is {tile_size} px; this network looks {halo_px} px around each pixel, "
            f"so at least {2 * halo_px + 1} is needed"
        )
    return tile_size
