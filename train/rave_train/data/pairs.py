"""Matching backlit photographs with their well-lit partners by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rave_train.data.photographs import Photograph
from rave_train.errors import DataError

_ROLE_WORDS: Final = re.compile(r"^(low|normal|high|input|gt)[_-]?(?=\d)|[_-](low|normal|high|input|gt)$")
"""What data sets add to a scene's name to tell its two pictures apart (LOL-v2: low00001, normal00001)."""


@dataclass(frozen=True)
class Pairing:
    """Which pictures found a partner.

    Attributes:
        pairs: (backlit, well-lit), sorted by name.
        backlit_alone: names of backlit pictures without a partner.
        well_lit_alone: likewise of well-lit ones.
    """

    pairs: tuple[tuple[Photograph, Photograph], ...]
    backlit_alone: tuple[str, ...]
    well_lit_alone: tuple[str, ...]

    def describe(self) -> str:
        """What matched and what did not, a line each, at most ten names."""
        lines = [f"{len(self.pairs)} pairs matched by name"]
        for role, alone in (("backlit", self.backlit_alone), ("well-lit", self.well_lit_alone)):
            if alone:
                more = f" and {len(alone) - 10} more" if len(alone) > 10 else ""
                lines.append(f"{len(alone)} {role} without a partner: {', '.join(alone[:10])}{more}")
        return "\n".join(lines)


def match_pairs(backlit: Sequence[Photograph], well_lit: Sequence[Photograph]) -> Pairing:
    """Pairs pictures whose names agree, endings and role words aside.

    Raises:
        DataError: two pictures of one side claim the same scene.
    """
    left, right = _by_scene(backlit), _by_scene(well_lit)
    shared = sorted(left.keys() & right.keys())
    return Pairing(
        tuple((left[scene], right[scene]) for scene in shared),
        tuple(left[scene].file.name for scene in sorted(left.keys() - right.keys())),
        tuple(right[scene].file.name for scene in sorted(right.keys() - left.keys())),
    )


def require_pairs(backlit: Sequence[Photograph], well_lit: Sequence[Photograph]) -> Pairing:
    """`match_pairs`, with at least two pairs.

    Raises:
        DataError: fewer than two pairs.
    """
    pairing = match_pairs(backlit, well_lit)
    if len(pairing.pairs) < 2:
        raise DataError(
            f"{pairing.describe()}\n"
            "at least 2 pairs are needed: give partners the same name, or train --unpaired"
        )
    return pairing


def _by_scene(photographs: Sequence[Photograph]) -> dict[str, Photograph]:
    scenes: dict[str, Photograph] = {}
    for photograph in photographs:
        scene = scene_name(photograph.file)
        if scene in scenes:
            raise DataError(
                f"{scenes[scene].file.name} and {photograph.file.name} name the same scene {scene!r}: "
                "keep one of them"
            )
        scenes[scene] = photograph
    return scenes


def scene_name(file: Path) -> str:
    """A file's name without ending and role words, lower case."""
    return _ROLE_WORDS.sub("", file.stem.lower())
