"""A network that can be told to stop between two calls, so that an interrupt need not wait for a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from numpy.typing import NDArray

from rave_runtime.arrays import Array
from rave_runtime.backends.network import Call, LoadedNetwork, NetworkAround
from rave_runtime.errors import RaveError


class StoppedError(RaveError):
    """The run was interrupted while a picture was in work."""

    def __init__(self) -> None:
        super().__init__("was not finished: the run was interrupted")


class StoppableNetwork(NetworkAround):
    """Passes calls on to another network until it is to stop: see `Network`.

    Args:
        network: the network that runs the calls.
        is_stopped: whether to stop; it is called before each call, by any thread.
    """

    def __init__(self, network: LoadedNetwork, is_stopped: Callable[[], bool]) -> None:
        super().__init__(network)
        self._is_stopped: Final = is_stopped

    def call(self, name: Call, *arrays: NDArray[Any]) -> Array:
        """See `NetworkAround.call`. Raises `StoppedError` when it is to stop."""
        if self._is_stopped():
            raise StoppedError
        result: Array = getattr(self.network, name)(*arrays)
        return result
