"""Kinds of TIFF that Pillow does not open by itself, and that are read all the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from PIL import TiffImagePlugin

Kind = tuple[object, ...]
"""A key of Pillow's table: byte order, colours, sample format, fill order, bits and extra samples."""

_OPENED: Final[dict[Kind, tuple[str, str]]] = cast(Any, TiffImagePlugin.OPEN_INFO)
_MORE: Final[Mapping[Kind, tuple[str, str]]] = {
    (b"MM", 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    **{
        (order, photometric, (1,), 1, bits, (extra,)): ("LA", "LA")
        for order in (b"II", b"MM")
        for photometric, bits, extras in (
            (1, (16, 16), (0, 1, 2)),
            (0, (8, 8), (0, 2)),
            (0, (16, 16), (0, 2)),
        )
        for extra in extras
    },
}
"""Kinds of TIFF that Pillow's table lacks: big-endian grey of 16 bits with white as 0; and, which Pillow only
opens and tifffile reads, grey (1), or grey with white as 0, beside transparency or a channel of no stated
meaning."""


def add_kinds() -> frozenset[Kind]:
    """Makes Pillow open these kinds in the whole process, and returns those that it did not open before."""
    added = frozenset(_MORE.keys() - _OPENED.keys())
    _OPENED.update({kind: _MORE[kind] for kind in added})
    return added


def remove_kinds(added: frozenset[Kind]) -> None:
    """Undoes what `add_kinds` did, whose result it is given."""
    for kind in added:
        _OPENED.pop(kind, None)
