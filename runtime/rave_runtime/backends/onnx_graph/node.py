"""The nodes of a graph, and the tensors between them, as far as sizes depend on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Attribute = int | float | bytes | tuple[int, ...] | tuple[float, ...] | None
"""The value of a node's attribute; None where sizes cannot depend on it."""

Shape = tuple[int, ...]

MAX_KNOWN_VALUES: Final = 64
"""Tensors up to this size are followed with their values, since they may be sizes, places or axes."""


class Tensor(NamedTuple):
    """A tensor, as far as it is known before the graph runs.

    Attributes:
        shape: its sizes.
        values: its values, if it is small and they depend on nothing but sizes; otherwise None.
    """

    shape: Shape
    values: NDArray[np.generic] | None = None

    @property
    def size(self) -> int:
        """How many values it has."""
        product = 1
        for side in self.shape:
            product *= side
        return product


Inputs = Sequence[Tensor | None]
"""What a node gets; None stands for an input that is left out."""


@dataclass(frozen=True)
class Node:
    """One node of a graph.

    Attributes:
        operator: its operator, such as "Conv".
        inputs: the names of its inputs; "" stands for one that is left out.
        outputs: the names of its outputs.
        attributes: its attributes by name.
        constant: the tensor that it holds, if it is a Constant.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    constant: Tensor | None = None

    def integer(self, name: str, default: int) -> int:
        """Returns an attribute that is one whole number."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise ValueError(f"a {self.operator} node has no whole number as its {name}")
        return value

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Returns an attribute that is a list of whole numbers."""
        value = self.attributes.get(name, default)
        if not isinstance(value, tuple) or not all(isinstance(each, int) for each in value):
            raise ValueError(f"a {self.operator} node has no whole numbers as its {name}")
        return tuple(int(each) for each in value)
