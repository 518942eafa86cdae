"""Pictures to calibrate INT8 on and to prove it on, beside the photographs that a user gives.

`scenes.webp` is a sheet of views into high-dynamic-range panoramas (Poly Haven, CC0), photographed against
the light, each followed by the fusion of its brackets. `rave_export.int8.make_scenes` makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from rave_runtime.arrays import Picture
from rave_runtime.photos.reading import load_rgb

SHEET: Final = Path(__file__).with_name("scenes.webp")

SCENE_PX: Final = (96, 144)
"""Height and width of a scene: about the size on which the embedded model estimates the light."""

COLUMNS: Final = 12
"""Scenes in a row of the sheet."""

PROOF_SCENES: Final = 24
"""Scenes at the sheet's end that INT8 is proven on, of other panoramas than those before them."""

_DARKER: Final = (0.15, 0.3, 0.5)
"""Factors on the values of darkened photographs."""

_DARKENED: Final = 3
"""Every how many-th built-in scene is also darkened: photographs may be darker than any scene, and values
beyond the ranges spoil those most."""


def with_darker(pictures: Sequence[Picture], every: int = 1) -> tuple[Picture, ...]:
    """Returns pictures, and after them some once more, their values multiplied by three factors in turns.

    Most folders hold well-lit photographs, which say little about the ranges that a network needs for the
    dark pictures it is made for.

    Args:
        pictures: [h, w, 3] uint8 each.
        every: 1 darkens all of them, 2 every second one, and so on.
    """
    darker = (
        np.rint(picture * _DARKER[index % len(_DARKER)]).astype(np.uint8)
        for index, picture in enumerate(pictures[::every])
    )
    return (*pictures, *darker)


def default_pictures() -> tuple[Picture, ...]:
    """The built-in scenes to calibrate on, some of them also as a dark exposure."""
    return with_darker(_scenes()[:-PROOF_SCENES], _DARKENED)


def proof_pictures() -> tuple[Picture, ...]:
    """The built-in scenes to prove INT8 on, which are not among those of calibration."""
    return tuple(_scenes()[-PROOF_SCENES:])


def _scenes() -> list[Picture]:
    """The scenes of the sheet, row by row, [96, 144, 3] uint8 each."""
    height, width = SCENE_PX
    sheet = load_rgb(SHEET)
    return [
        sheet[top : top + height, left : left + width]
        for top in range(0, sheet.shape[0], height)
        for left in range(0, sheet.shape[1], width)
    ]
