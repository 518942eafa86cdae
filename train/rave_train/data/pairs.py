"""Matching backlit photographs with their well-lit partners by name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rave_train.data.photographs import Photograph
from rave_train.data.shapes import why_not_compared
from rave_train.errors import DataError

_ROLES: Final = (
    "backlit|back|well[_-]?lit|low|normal|high|input|output|gt|lq|hq|source|target|dark|bright|under|over|"
    "before|after|reference|ref|truth|expert|edited|original|enhanced"
)
_ROLE_WORDS: Final = re.compile(
    rf"^(?:{_ROLES})(?=\d)"  # LOL-v2: low00001 and normal00001
    rf"|^(?:{_ROLES})[_-]+"  # input_street and gt_street
    rf"|[_-]+(?:{_ROLES})$"  # street_lq and street_hq
)
"""Words that data sets add to a scene's name to tell its two pictures apart."""

_COPY_NUMBER: Final = re.compile(r" ?\(\d+\)$")
"""BAID has several backlit pictures of one scene: 0152(1) and 0152(2), whose truth is 0152."""


@dataclass(frozen=True)
class Pairing:
    """Which pictures found a partner.

    Attributes:
        pairs: (backlit, well-lit), sorted by name. Several backlit pictures may share a well-lit one.
        backlit_alone: names of backlit pictures without a partner.
        well_lit_alone: names of well-lit pictures without a partner.
        ambiguous: a line for each two pictures of one side that name the same scene and were left out.
    """

    pairs: tuple[tuple[Photograph, Photograph], ...]
    backlit_alone: tuple[str, ...]
    well_lit_alone: tuple[str, ...]
    ambiguous: tuple[str, ...] = ()

    def describe(self) -> str:
        """What matched and what did not, a line each, at most ten names."""
        lines = [f"{len(self.pairs)} pairs matched by name"]
        for role, alone in (("backlit", self.backlit_alone), ("well-lit", self.well_lit_alone)):
            if alone:
                more = f" and {len(alone) - 10} more" if len(alone) > 10 else ""
                lines.append(f"{len(alone)} {role} without a partner: {', '.join(alone[:10])}{more}")
        return "\n".join([*lines, *self.ambiguous])


def match_pairs(backlit: Sequence[Photograph], well_lit: Sequence[Photograph]) -> Pairing:
    """Pairs pictures by name: first those of equal names, then those that differ in role words only.

    Endings, capital letters and the way in which accents are stored never matter. Backlit pictures that are
    still without a partner are then matched without their copy number, as 0152(1) with 0152.
    """
    partners: dict[int, Photograph] = {}
    matched_ids: set[int] = set()
    ambiguous: list[str] = []
    for key_of, one_to_one in ((plain_name, True), (scene_name, True), (_without_copy_number, False)):
        unmatched = [
            photograph
            for photograph in backlit
            if id(photograph) not in partners
            and (one_to_one or _COPY_NUMBER.search(plain_name(photograph.file)))
        ]
        candidates = [
            photograph for photograph in well_lit if not one_to_one or id(photograph) not in matched_ids
        ]
        truths = _by_key(candidates, scene_name if key_of is _without_copy_number else key_of)
        for key, pictures in _by_key(unmatched, key_of).items():
            others = truths.get(key, [])
            if not others:
                continue
            if len(others) > 1 or (one_to_one and len(pictures) > 1):
                doubled = others if len(others) > 1 else pictures
                names = " and ".join(picture.file.name for picture in doubled[:2])
                ambiguous.append(f"{names} name the same scene {key!r}: keep one of them")
                continue
            matched_ids.add(id(others[0]))
            partners |= {id(picture): others[0] for picture in pictures}
    pairs = [(picture, partners[id(picture)]) for picture in backlit if id(picture) in partners]
    return Pairing(
        tuple(sorted(pairs, key=lambda pair: scene_name(pair[0].file))),
        tuple(sorted(picture.file.name for picture in backlit if id(picture) not in partners)),
        tuple(sorted(picture.file.name for picture in well_lit if id(picture) not in matched_ids)),
        tuple(dict.fromkeys(ambiguous)),
    )


def require_pairs(
    backlit: Sequence[Photograph], well_lit: Sequence[Photograph], otherwise: str = "", least: int = 2
) -> Pairing:
    """`match_pairs`, with enough pairs, and none that could be another.

    Args:
        backlit: pictures of one side.
        well_lit: pictures of the other side.
        otherwise: what else could be done where they do not match, as the end of a sentence.
        least: how many pairs are needed.

    Raises:
        DataError: there are fewer pairs, or two pictures of one side claim the same scene.
    """
    pairing = match_pairs(backlit, well_lit)
    if pairing.ambiguous:
        raise DataError("\n".join(pairing.ambiguous) + otherwise)
    if len(pairing.pairs) < least:
        needed = "at least 1 pair is needed" if least == 1 else f"at least {least} pairs are needed"
        raise DataError(f"{pairing.describe()}\n{needed}: give partners the same name{otherwise}")
    return pairing


def leave_out_other_shapes(pairing: Pairing) -> tuple[Pairing, list[str]]:
    """Leaves out pairs whose pictures cannot be compared, since one is cropped or turned.

    Returns:
        The other pairs, and a line for each that is left out.
    """
    pairs, lines = [], []
    for left, right in pairing.pairs:
        reason = why_not_compared(left.size_px, right.file, right.size_px)
        if reason is None:
            pairs.append((left, right))
        else:
            lines.append(f"skipped {left.file}: {reason}")
    return replace(pairing, pairs=tuple(pairs)), lines


def require_one_shape(pairing: Pairing) -> tuple[Pairing, list[str]]:
    """`leave_out_other_shapes`, with at least two pairs left.

    Raises:
        DataError: fewer are left.
    """
    pairing, lines = leave_out_other_shapes(pairing)
    if len(pairing.pairs) < 2:
        needed = "at least 2 pairs of one shape are needed: crop and turn both pictures of a pair alike"
        raise DataError("\n".join([*lines, needed]))
    return pairing, lines


def scene_name(file: Path) -> str:
    """A file's name without ending and role words, in lower case."""
    return _ROLE_WORDS.sub("", plain_name(file)) or plain_name(file)


def plain_name(file: Path) -> str:
    """A file's name without ending, alike on every file system: lower case, accents composed."""
    return unicodedata.normalize("NFC", file.stem).casefold()


def _without_copy_number(file: Path) -> str:
    """A file's scene name without the copy number at its end."""
    return _ROLE_WORDS.sub("", _COPY_NUMBER.sub("", plain_name(file)))


def _by_key(photographs: Sequence[Photograph], key_of: Callable[[Path], str]) -> dict[str, list[Photograph]]:
    """Groups photographs by a key of their files."""
    groups: dict[str, list[Photograph]] = {}
    for photograph in photographs:
        groups.setdefault(key_of(photograph.file), []).append(photograph)
    return groups
