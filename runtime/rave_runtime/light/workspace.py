"""Arrays that are used again for every strip of a photograph.

Memory from the system may cost more time than the computation in it: the system clears every page that it
hands out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Workspace:
    """Memory by name, kept from one strip to the next. Only one thread may use a workspace at a time."""

    def __init__(self) -> None:
        self._memory: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Returns an array of unknown contents. Earlier arrays of the same name share its memory.

        Args:
            name: the name of the array's use.
            shape: the shape of the array.
            dtype: the dtype of its values.
        """
        kind = np.dtype(dtype)
        size = kind.itemsize
        for length in shape:
            size *= length
        memory = self._memory.get(name)
        if memory is None or memory.size < size:
            memory = self._memory[name] = np.empty(size, np.uint8)
        return memory[:size].view(kind).reshape(shape)
