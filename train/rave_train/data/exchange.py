"""Notices folders given in the wrong order, with which a network would learn to darken, for hours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from rave_train.data.photographs import Photograph, load_squares

_PICTURES: Final = 16
"""Most pictures of each set that are compared. Whole pictures would not tell, since skies count in them."""

_SIDE_PX: Final = 32


def describe_exchange(backlit: Sequence[Photograph], well_lit: Sequence[Photograph]) -> str | None:
    """Asks whether the folders are exchanged, where the shade of backlit pictures is the brighter one.

    Args:
        backlit: what was given as backlit pictures.
        well_lit: what was given as well-lit pictures; partners in the same order where there are any.

    Returns:
        A line for the user, or None where the sets are as they should be.
    """
    backlit_shade, well_lit_shade = _shade(backlit), _shade(well_lit)
    if backlit_shade <= well_lit_shade:
        return None
    return (
        "in its darkest third, a backlit picture should be darker than a well-lit one, and is brighter here "
        f"(on average {backlit_shade:.0f} and {well_lit_shade:.0f} of 255): are the folders exchanged?"
    )


def _shade(photographs: Sequence[Photograph]) -> float:
    """Mean value, from 0 to 255, of the darkest third of some pictures of a set."""
    some = photographs[:: -(-len(photographs) // _PICTURES)]
    values = np.stack([square.mean(2).ravel() for square in load_squares(some, _SIDE_PX)])
    return float(np.sort(values, 1)[:, : values.shape[1] // 3].mean())
