"""Calls of several threads share one call of the network, and each gets what is its own."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime import Enhancer
from rave_runtime.backends.devices import choose_device
from rave_runtime.backends.gathering import GatheringNetwork
from rave_runtime.backends.onnx_network import OnnxNetwork
from rave_runtime.bundle import embedded_bundle, read_bundle
from rave_runtime.errors import DeviceError
from rave_runtime.light.tiled import tiled_light
from tests.runtime.pictures import MakePicture


class Watched(OnnxNetwork):
    """The embedded network, which notes how many windows each call had and takes its time."""

    def __init__(self) -> None:
        super().__init__(read_bundle(embedded_bundle()), "fp32", choose_device("cpu"), 1)
        self.calls: list[tuple[str, int]] = []
        self.within = 0
        self.poison: float | None = None
        self.limit = 99

    def _note(self, name: str, images: Any) -> None:
        self.calls.append((name, len(images)))
        self.within += 1
        assert self.within == 1, "two calls at a time"
        time.sleep(0.02)
        self.within -= 1
        if len(images) > self.limit or (
            self.poison is not None and (images == self.poison).all((1, 2, 3)).any()
        ):
            raise DeviceError(f"no room for {len(images)} windows")

    def pool(self, images: Any, *rest: Any) -> Any:
        self._note("pool", images)
        return super().pool(images, *rest)

    def illuminate(self, images: Any, *rest: Any) -> Any:
        self._note("illuminate", images)
        return super().illuminate(images, *rest)

    def illuminate_whole(self, images: Any, *rest: Any) -> Any:
        self._note("illuminate_whole", images)
        return super().illuminate_whole(images, *rest)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def lights(network: Any, picture: NDArray[np.uint8], tile_px: int | None, fixed: bool) -> NDArray[np.float32]:
    result = np.zeros(picture.shape[:2], np.float32)
    for tile, light in tiled_light(network, picture, tile_px, batch=2, fixed=fixed):
        rows, cols = tile.rows, tile.cols
        result[rows.core_start : rows.core_stop, cols.core_start : cols.core_stop] = light[
            rows.core_start - rows.start : rows.core_stop - rows.start,
            cols.core_start - cols.start : cols.core_stop - cols.start,
        ]
    return result


@pytest.mark.parametrize("tile_px", [64, None])
def test_photographs_of_different_sizes_share_calls_and_keep_their_own_light(
    watched: Watched, picture: MakePicture, tile_px: int | None
) -> None:
    sizes = [(100, 90), (90, 120), (80, 80)] if tile_px else [(60, 80), (60, 80), (50, 80)]
    pictures = [picture(*size, seed=i) for i, size in enumerate(sizes)] * 3
    gathering = GatheringNetwork(watched, max_windows=6)
    with ThreadPoolExecutor(9) as pool:
        found = list(pool.map(lambda p: lights(gathering, p, tile_px, fixed=True), pictures))
    assert max(windows for _, windows in watched.calls) > 2  # more than one photograph's own group
    assert max(windows for _, windows in watched.calls) <= 6
    for image, light in zip(pictures, found, strict=True):
        np.testing.assert_allclose(light, lights(watched, image, None, fixed=False), atol=2e-5)


def test_a_caller_alone_waits_for_nobody(watched: Watched, picture: MakePicture) -> None:
    gathering = GatheringNetwork(watched, max_windows=8)
    started = time.perf_counter()
    lights(gathering, picture(40, 40), None, fixed=True)
    assert time.perf_counter() - started < 5
    assert watched.calls == [("illuminate_whole", 1)]
    assert gathering.facts == watched.facts


def test_what_is_too_much_together_runs_alone(watched: Watched, picture: MakePicture) -> None:
    watched.limit = 1
    gathering = GatheringNetwork(watched, max_windows=8)
    pictures = [picture(40, 50, seed=i) for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda p: lights(gathering, p, None, fixed=True), pictures))
    assert len(found) == 6
    assert any(windows > 1 for _, windows in watched.calls)


def test_a_failure_is_its_own_callers_alone(watched: Watched, picture: MakePicture) -> None:
    watched.poison = 0
    gathering = GatheringNetwork(watched, max_windows=8)
    pictures = [picture(40, 50, seed=i) for i in range(5)]
    pictures.insert(2, np.zeros((40, 50, 3), np.uint8))

    def attempt(image: NDArray[np.uint8]) -> str:
        try:
            lights(gathering, image, None, fixed=True)
        except DeviceError as error:
            return str(error)
        return "done"

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(attempt, pictures))
    assert [outcome == "done" for outcome in found] == [True, True, False, True, True, True]


def test_many_threads_never_wait_for_ever(picture: MakePicture) -> None:
    """A network of no time at all, so that threads meet at every moment."""

    class Instant:
        facts = read_bundle(embedded_bundle()).manifest.network

        def pool(self, images: Any, rows: Any, cols: Any) -> Any:
            return images.sum((1, 2, 3), keepdims=True).astype(np.float32)

    gathering = GatheringNetwork(Instant(), max_windows=5)  # type: ignore[arg-type]
    image = np.ones((1, 2, 2, 3), np.uint8)
    empty = np.zeros((1, 1, 1), np.float32)
    wrong = []

    def work(index: int) -> None:
        for turn in range(200):
            value = (index + turn) % 20
            if gathering.pool(image * value, empty, empty).item() != 12 * value:
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong


def test_the_enhancer_gathers_where_it_batches(picture: MakePicture, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU; here one is played by the CPU, whose results must be the same."""
    plain = Enhancer(precision="fp32", device="cpu", working_size=None, tile_size=64, threads=1)
    monkeypatch.setattr("rave_runtime.enhancer.GPUS", ("cpu",))
    gathering = Enhancer(precision="fp32", device="cpu", working_size=None, tile_size=64, threads=1)
    assert isinstance(gathering.network, GatheringNetwork)
    pictures = [picture(90 + 7 * i, 110, seed=i) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(gathering.enhance, pictures))
    for image, result in zip(pictures, found, strict=True):
        assert np.abs(result.astype(int) - plain.enhance(image)).max() <= 1
