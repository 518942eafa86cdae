"""A network that can be told to stop between two calls, so that an interrupt need not wait for a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rave_runtime.arrays import Array
from rave_runtime.backends.network import Image, LoadedNetwork
from rave_runtime.bundle import NetworkFacts
from rave_runtime.errors import RaveError


class StoppedError(RaveError):
    """The run was interrupted while a picture was in work."""

    def __init__(self) -> None:
        super().__init__("was not finished: the run was interrupted")


class StoppableNetwork:
    """Passes calls on to another network until it is to stop: see `Network`.

    Args:
        network: the network that runs the calls.
        is_stopped: whether to stop; it is called before each call, by any thread.
    """

    def __init__(self, network: LoadedNetwork, is_stopped: Callable[[], bool]) -> None:
        self._network: Final = network
        self._is_stopped: Final = is_stopped

    @property
    def facts(self) -> NetworkFacts:
        """See `Network.facts`."""
        return self._network.facts

    def prepare(self, *, whole: bool) -> None:
        """See `LoadedNetwork.prepare`."""
        self._network.prepare(whole=whole)

    def pool(self, images: Image, pool_rows: Array, pool_cols: Array) -> Array:
        """See `Network.pool`. Raises `StoppedError` when it is to stop."""
        return self._going_on().pool(images, pool_rows, pool_cols)

    def illuminate(self, images: Image, pooled: Array, rows: Array, cols: Array) -> Array:
        """See `Network.illuminate`. Raises `StoppedError` when it is to stop."""
        return self._going_on().illuminate(images, pooled, rows, cols)

    def illuminate_whole(
        self, images: Image, pool_rows: Array, pool_cols: Array, rows: Array, cols: Array
    ) -> Array:
        """See `Network.illuminate_whole`. Raises `StoppedError` when it is to stop."""
        return self._going_on().illuminate_whole(images, pool_rows, pool_cols, rows, cols)

    def _going_on(self) -> LoadedNetwork:
        if self._is_stopped():
            raise StoppedError
        return self._network
