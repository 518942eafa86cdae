"""Finds by measuring which convolutions INT8 must leave in float32; they are few or none.

A layer whose inputs have a few very large values can cost more than all other layers together, since these
values take most of the 256 steps. Which layer that is depends on how a network was trained, so it cannot be
listed beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from rave_export.int8.in_memory import NetworkInMemory
from rave_export.options import ENOUGH_DB
from rave_export.proof.parity import psnr_db, relit, split_light
from rave_runtime.arrays import Array, Pixels
from rave_runtime.light.sizes import DEFAULT_TILE_PX

MAX_LAYERS: Final = 3
"""Most layers that are left in float32; a network that needs more of them should be trained for INT8."""

_WORTH_DB: Final = 0.5
"""Least gain in dB for which a layer is left in float32, where it is several times slower."""

_PICTURES: Final = 4
"""How many pictures, the worst ones of the first measurement, the layers are compared on."""

Build = Callable[[tuple[str, ...]], NetworkInMemory]
"""Makes the INT8 network from the names of the weights that stay float32."""


def lights(network: NetworkInMemory, pictures: Sequence[Pixels]) -> list[Array]:
    """Light maps [h, w] of pictures [h, w, 3] uint8, as the runtime estimates them."""
    return [_light(network, picture) for picture in pictures]


def worst_db(network: NetworkInMemory, pictures: Sequence[Pixels], expected: Sequence[Array]) -> float:
    """Least PSNR in dB between pictures enhanced by a network and by the expected `lights`."""
    return min(_psnr_db(network, *pair) for pair in zip(pictures, expected, strict=True))


def find_float_layers(
    build: Build,
    layers: Sequence[str],
    pictures: Sequence[Pixels],
    expected: Sequence[Array],
    enough_db: float = ENOUGH_DB,
) -> list[tuple[str, float]]:
    """Chooses the layers to leave in float32, the most harmful first.

    Args:
        build: makes the INT8 network that leaves some layers in float32.
        layers: names of the weights of the convolutions that would be in eight bits.
        pictures: the pictures to measure on, [h, w, 3] uint8.
        expected: the `lights` of these pictures by the float32 network.
        enough_db: PSNR of the worst picture at which no further layer is left in float32.

    Returns:
        The name of each with the PSNR of the worst picture, in dB, once it and those before it are left in
        float32. Empty if the PSNR is enough without, or if no single layer helps.
    """

    def distances(float32_layers: tuple[str, ...], indices: Sequence[int]) -> list[float]:
        network = build(float32_layers)
        return [_psnr_db(network, pictures[index], expected[index]) for index in indices]

    first = distances((), range(len(pictures)))
    worst, hard = min(first), [int(index) for index in np.argsort(first)[:_PICTURES]]
    float32_layers: list[tuple[str, float]] = []
    while worst < enough_db and len(float32_layers) < MAX_LAYERS:
        before = tuple(name for name, _ in float32_layers)
        trials = [(min(distances((*before, name), hard)), name) for name in layers if name not in before]
        reached, name = max(trials)
        if reached < worst + _WORTH_DB:
            break
        worst = reached
        float32_layers.append((name, reached))
    return float32_layers


def _light(network: NetworkInMemory, picture: Pixels) -> Array:
    return split_light(network, picture, DEFAULT_TILE_PX)


def _psnr_db(network: NetworkInMemory, picture: Pixels, expected: Array) -> float:
    distance_db = psnr_db(relit(picture, _light(network, picture)), relit(picture, expected))
    return np.inf if distance_db is None else distance_db
