"""Arrays that are used again for every strip of a photograph.

To get memory from the system and to give it back may cost more than what is computed in it: the system clears
every page that it hands out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Workspace:
    """Memory by name, kept from one strip to the next. Not for several threads at once."""

    def __init__(self) -> None:
        self._memory: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """An array of unknown contents; what was given for the same name before is overwritten.

        Args:
            name: what it is for.
            shape: of the array.
            dtype: of its values.
        """
        kind = np.dtype(dtype)
        size = kind.itemsize
        for length in shape:
            size *= length
        memory = self._memory.get(name)
        if memory is None or memory.size < size:
            memory = self._memory[name] = np.empty(size, np.uint8)
        return memory[:size].view(kind).reshape(shape)
